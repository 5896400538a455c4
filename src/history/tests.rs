//! Records on the disk: what is kept, what is passed over, and what is refused.
#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::*;

fn record(run: &str, wall_seconds: f64) -> Record {
    let at = Timestamp::from_unix_seconds(1_795_442_760);
    Record {
        record_version: RECORD_VERSION.into(),
        run_id: run.into(),
        key: "game".into(),
        kind: None,
        stage: "pack".into(),
        size_class: "b20".into(),
        host_class: "linux-x86_64-c2".into(),
        gate_verdict: Some(GateVerdict::Ok),
        started_at: at,
        finished_at: at.plus_seconds(2),
        outcome: Outcome::Passed,
        host: Host::default(),
        workload: None,
        system: None,
        metrics: Metrics {
            wall_seconds: Some(wall_seconds),
            ..Metrics::default()
        },
        budget: None,
    }
}

fn acceptance(run: &str) -> Entry {
    Entry::Acceptance(Acceptance {
        accepts: run.into(),
        reason: "a slower codec, agreed".into(),
        actor: "ada".into(),
        at: Timestamp::from_unix_seconds(1_795_442_800),
    })
}

#[test]
fn what_is_appended_is_read_back_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("state/history");
    assert_eq!(read(&directory, "game").unwrap(), Past::default());
    let first = [Entry::Record(record("a", 1.5))];
    let second = [Entry::Record(record("b", 2.0)), acceptance("b")];
    append(&directory, "game", &first).unwrap();
    append(&directory, "game", &second).unwrap();
    let past = read(&directory, "game").unwrap();
    let wanted: Vec<&Entry> = first.iter().chain(&second).collect();
    assert_eq!(past.entries().collect::<Vec<_>>(), wanted);
    assert_eq!(past.notes, []);
    assert_eq!(past.records().count(), 2);
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let paths = files(&directory).unwrap();
    assert_eq!(paths, [directory.join(file_name("game"))]);
    assert_eq!((mode(&directory), mode(&paths[0])), (0o700, 0o600));
    assert_eq!(read(&directory, "other").unwrap(), Past::default());
}

#[test]
fn passes_over_what_cannot_be_believed_and_names_the_line() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path();
    append(directory, "game", &[Entry::Record(record("a", 1.5))]).unwrap();
    let path = directory.join(file_name("game"));
    let good = fs::read_to_string(&path).unwrap();
    let with = |from: &str, to: &str| good.replace(from, to);
    let cases = [
        ("nonsense\n".into(), "not a record"),
        ("[]\n".into(), "not a record"),
        ("{\"accepts\":\"a\"}\n".into(), "missing field `reason`"),
        (with("1.5", "-1"), "`metrics.wall_seconds`: expected 0 to"),
        (
            with("1.5", "1e300"),
            "`metrics.wall_seconds`: expected 0 to",
        ),
        (with("1.5", "NaN"), "not a record"),
        (with("1.5", "\"fast\""), "not a record"),
        (with("\"1.0\"", "\"2.0\""), "`record_version`: expected 1.x"),
        (with("\"game\"", "\"\""), "`key`: expected 1 to"),
        (with("T14", "T99"), "not a record"),
        (
            format!("{}\n", "x".repeat(LINE_BYTES_MAX)),
            "longer than a line",
        ),
        (good[..40].to_owned(), "torn"),
    ];
    for (line, wanted) in cases {
        assert_ne!(line, good, "the case `{wanted}` changes nothing");
        fs::write(&path, format!("{good}\n{line}")).unwrap();
        let past = read(directory, "game").unwrap();
        assert_eq!(past.lines.len(), 1, "{wanted}");
        assert_eq!(past.notes.len(), 1, "{wanted}");
        assert_eq!(
            (past.notes[0].line, &past.notes[0].path),
            (3, &path),
            "{wanted}"
        );
        assert!(past.notes[0].message.contains(wanted), "{:?}", past.notes);
    }
    // Not UTF-8, and what later versions add.
    fs::write(&path, [good.as_bytes(), b"\xff\n"].concat()).unwrap();
    assert_eq!(read(directory, "game").unwrap().notes.len(), 1);
    let later = with(
        "{\"record_version\":\"1.0\"",
        "{\"new\":1,\"record_version\":\"1.7\"",
    );
    fs::write(&path, &later).unwrap();
    let past = read(directory, "game").unwrap();
    assert_eq!((past.lines.len(), past.notes.len()), (1, 0));
    assert_eq!(past.lines[0].text, later.trim_end());
}

#[test]
fn an_append_ends_a_torn_line_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path();
    append(directory, "game", &[Entry::Record(record("a", 1.5))]).unwrap();
    let path = directory.join(file_name("game"));
    let good = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("{good}{}", &good[..50])).unwrap();
    append(directory, "game", &[Entry::Record(record("b", 1.5))]).unwrap();
    let past = read(directory, "game").unwrap();
    let runs: Vec<&str> = past
        .records()
        .map(|record| record.run_id.as_str())
        .collect();
    assert_eq!(runs, ["a", "b"]);
    assert_eq!(past.notes.len(), 1);
    assert_eq!(past.notes[0].line, 2);
    // A whole line that only lacks its newline counts.
    fs::write(&path, good.trim_end()).unwrap();
    assert_eq!(read(directory, "game").unwrap().lines.len(), 1);
}

#[test]
fn refuses_to_record_what_it_would_not_believe() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path();
    for absurd in [f64::NAN, f64::INFINITY, -0.5, 1e12] {
        let entries = [
            Entry::Record(record("a", 1.0)),
            Entry::Record(record("b", absurd)),
        ];
        let refused = append(directory, "game", &entries).unwrap_err();
        assert!(
            refused.to_string().contains("metrics.wall_seconds"),
            "{refused}"
        );
    }
    let mut empty = record("", 1.0);
    assert!(append(directory, "game", &[Entry::Record(empty.clone())]).is_err());
    empty.run_id = "a".into();
    empty.metrics.peak_memory_bytes = Some(u64::MAX);
    assert!(append(directory, "game", &[Entry::Record(empty)]).is_err());
    let mut silent = acceptance("a");
    if let Entry::Acceptance(acceptance) = &mut silent {
        acceptance.reason = "  ".into();
    }
    assert!(append(directory, "game", &[silent]).is_err());
    assert_eq!(files(directory).unwrap(), Vec::<std::path::PathBuf>::new());
}

#[test]
fn refuses_links_in_the_place_of_its_files() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("history");
    fs::create_dir(&directory).unwrap();
    let path = directory.join(file_name("game"));
    let target = folder.path().join("elsewhere");
    std::os::unix::fs::symlink(&target, &path).unwrap();
    let entry = [Entry::Record(record("a", 1.0))];
    let refused = append(&directory, "game", &entry).unwrap_err();
    assert!(format!("{:#}", anyhow::Error::new(refused)).contains("symbolic link"));
    assert!(read(&directory, "game").is_err());
    assert!(!target.exists());
    let linked = folder.path().join("linked");
    std::os::unix::fs::symlink(&directory, &linked).unwrap();
    assert!(append(&linked, "game", &entry).is_err());
}

#[test]
fn writers_at_the_same_time_lose_no_record() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("history");
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let directory = &directory;
            scope.spawn(move || {
                for run in 0..10 {
                    let record = record(&format!("{writer}-{run}"), 1.0);
                    append(directory, "game", &[Entry::Record(record)]).unwrap();
                    let request = CompactRequest { runs_kept: 1000 };
                    let path = directory.join(file_name("game"));
                    rewrite(directory, &path, |lines| compact(lines, &request)).unwrap();
                }
            });
        }
    });
    let past = read(&directory, "game").unwrap();
    assert_eq!((past.lines.len(), past.notes.len()), (40, 0));
}

#[test]
fn compaction_keeps_the_newest_runs_of_each_series_and_their_acceptances() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path();
    let mut entries = Vec::new();
    for run in ["a", "b", "c"] {
        for wall_seconds in [1.0, 2.0] {
            entries.push(Entry::Record(record(run, wall_seconds)));
        }
        entries.push(acceptance(run));
    }
    let mut rare = record("a", 9.0);
    rare.stage = "rare".into();
    entries.insert(0, Entry::Record(rare.clone()));
    append(directory, "game", &entries).unwrap();
    let path = directory.join(file_name("game"));
    let mut text = fs::read_to_string(&path).unwrap();
    text.push_str("rubbish\n");
    fs::write(&path, text).unwrap();
    let request = CompactRequest { runs_kept: 2 };
    let counts = rewrite(directory, &path, |lines| compact(lines, &request)).unwrap();
    assert_eq!(counts, (11, 8));
    let past = read(directory, "game").unwrap();
    assert_eq!(past.notes, []);
    // The acceptance of `a` stays, since its record of the rare stage does.
    let kept: Vec<Entry> = past.entries().cloned().collect();
    let mut wanted = vec![Entry::Record(rare), acceptance("a")];
    wanted.extend_from_slice(&entries[4..]);
    assert_eq!(kept, wanted);
    let before = fs::read(&path).unwrap();
    let counts = rewrite(directory, &path, |lines| compact(lines, &request)).unwrap();
    assert_eq!(counts, (8, 8));
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn classes_span_what_may_be_compared() {
    let size = |bytes| {
        size_class(Some(&Workload {
            bytes,
            ..Workload::default()
        }))
    };
    let sizes = [0, 1, 3, 4, 1 << 20, (1 << 22) - 1, 1 << 22, u64::MAX].map(size);
    let wanted = ["4^0", "4^0", "4^0", "4^1", "4^10", "4^10", "4^11", "4^31"];
    assert_eq!(sizes, wanted);
    assert_eq!(size_class(None), "any");
    let host = |cpus, memory_bytes| {
        let host = Host {
            cpus,
            memory_bytes,
            ..Host::default()
        };
        host_class("linux", "x86_64", &host)
    };
    assert_eq!(host(Some(8), Some(33_300_000_000)), "linux-x86_64-8c-32g");
    assert_eq!(host(Some(2), Some(400 << 20)), "linux-x86_64-2c-1g");
    assert_eq!(host(None, None), "linux-x86_64-?c-?g");
}
