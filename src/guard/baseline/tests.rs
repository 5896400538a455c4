//! What a baseline reads, accepts and writes.
#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use super::*;
use crate::guard::rule::Pack;

const HEADER: &str = r#"{"baseline_version":"1.0","salt":"00ff","salt_id":"ID"}"#;

fn salt() -> Salt {
    Salt::kept(&[0, 0xff], SaltOrigin::Baseline).unwrap()
}

fn header() -> String {
    HEADER.replace("ID", &salt().id())
}

/// An entry for a fingerprint of one repeated digit.
fn entry(path: &str, digit: char, more: &str) -> String {
    let fingerprint = digit.to_string().repeat(fingerprint::DIGITS);
    format!(r#"{{"path":"{path}","rule":"a.b","fingerprint":"{fingerprint}"{more}}}"#)
}

fn parse(lines: &[String]) -> Result<Baseline, BaselineError> {
    Baseline::parse(&lines.join("\n"))
}

fn pack() -> Pack {
    let mut pack = Pack::default();
    pack.add(include_str!("../rules/suppression.toml")).unwrap();
    pack
}

fn found(path: &str, digit: char) -> Found {
    let place = Place {
        shown: path,
        ..Place::default()
    };
    let mut found = Found::by_check(&pack().checks[UNUSED], &place, "x");
    let detail = found.finding.detail.as_mut().unwrap();
    detail.fingerprint = Some(digit.to_string().repeat(fingerprint::DIGITS));
    detail.rule_id = "a.b".into();
    found
}

fn meet<T>(targets: &[&str], act: impl FnOnce(&Meeting<'_>) -> T) -> T {
    let targets: Vec<&Path> = targets.iter().map(Path::new).collect();
    act(&Meeting {
        places: &Places::new(None).unwrap(),
        targets: &targets,
        now: Timestamp::parse("2027-01-31T12:00:00Z").unwrap(),
    })
}

#[test]
fn lines_that_are_nothing_are_told_with_their_number() {
    for (lines, expected) in [
        (vec![], "ok 0"),
        (vec![header()], "ok 0"),
        (vec![header(), String::new(), entry("p", 'a', "")], "ok 1"),
        (
            vec![entry("p", 'a', ""), header(), header(), entry("p", 'a', "")],
            "ok 1",
        ),
        (
            vec![entry("p", 'a', "")],
            "there is no header with the salt of the fingerprints",
        ),
        (
            vec![header(), "<<<<<<< ours".into()],
            "line 2: it is a mark that an unfinished merge left behind",
        ),
        (
            vec![header(), "[1]".into()],
            "line 2: it is no entry of a baseline: invalid type: integer `1`, expected a string",
        ),
        (
            vec![header(), entry("p", 'a', r#","line":3"#)],
            "line 2: it is no entry of a baseline: unknown field `line`, expected one of `path`, `member`, `rul",
        ),
        (
            vec![header(), entry("p", 'G', "")],
            "line 2: its `fingerprint` is not 32 lower-case hex digits",
        ),
        (
            vec![header(), entry("p", 'a', r#","expires":"2027-02-30""#)],
            "line 2: its `expires` is `2027-02-30`, not a day of the form `2027-01-31`",
        ),
        (
            vec![header(), header().replace("00ff", "00fe")],
            "line 2 has another salt than line 1, so that half of the fingerprints mean nothing",
        ),
        (
            vec![header().replace("1.0", "2.0")],
            "line 1: its version is `2.0`, and this program reads `1.0`",
        ),
        (
            vec![header().replace("00ff", "xy")],
            "line 1: its `salt` is not a text of hex digits",
        ),
    ] {
        let told = match parse(&lines) {
            Ok(baseline) => format!("ok {}", baseline.len()),
            Err(error) => error.to_string(),
        };
        assert_eq!(told, expected, "{lines:?}");
    }
}

#[test]
fn the_salt_is_the_headers_or_the_environments_if_that_is_the_one() {
    let own = parse(&[header()]).unwrap();
    assert_eq!(own.salt(None).unwrap(), Some(salt()));
    assert_eq!(Baseline::default().salt(None), Ok(None));
    let elsewhere = parse(&[header().replace("\"00ff\"", "null")]).unwrap();
    assert_eq!(elsewhere.salt(None), Err(BaselineError::NoSalt));
    let environment = |bytes: &[u8]| Salt::kept(bytes, SaltOrigin::Environment);
    let right = environment(&[0, 0xff]);
    assert_eq!(elsewhere.salt(right.as_ref()), Ok(right));
    let wrong = environment(b"x");
    assert_eq!(
        elsewhere.salt(wrong.as_ref()),
        Err(BaselineError::OtherSalt)
    );
    let forged = parse(&[header().replace(&salt().id(), "0123456789abcdef")]).unwrap();
    assert_eq!(forged.salt(None), Err(BaselineError::OtherSalt));
}

#[test]
fn an_entry_accepts_what_has_its_path_and_fingerprint_until_its_day_is_over() {
    for (more, digit, path, expected) in [
        (r#","reason":"why""#, 'a', "in/p", "Baseline why; "),
        (
            "",
            'a',
            "in/p",
            "Baseline -; 2 suppression.unexplained the entry for `a.b` in `in/p` says no reason",
        ),
        (
            r#","reason":"why""#,
            'b',
            "in/p",
            "Open -; 2 suppression.unused the entry for `a.b` in `in/p` accepts nothing that is there",
        ),
        (
            r#","reason":"why","owner":"me""#,
            'a',
            "in/q",
            "Open -; 2 suppression.unused the entry for `a.b` in `in/p` accepts nothing that is there, owner me",
        ),
        (
            r#","reason":"why","expires":"2027-01-31""#,
            'a',
            "in/p",
            "Baseline why; ",
        ),
        (
            r#","reason":"why","expires":"2027-01-30""#,
            'a',
            "in/p",
            "Open -; 2 suppression.expired the entry for `a.b` in `in/p` has expired",
        ),
    ] {
        let baseline = parse(&[header(), entry("in/p", 'a', more)]).unwrap();
        let mut found = [found(path, digit)];
        let faults = meet(&["in"], |meeting| {
            baseline.apply(&mut found, meeting, ("b.jsonl", &pack()))
        });
        let detail = found[0].finding.detail.as_ref().unwrap();
        let faults: Vec<String> = faults
            .iter()
            .map(|fault| {
                let finding = &fault.finding;
                assert_eq!(finding.path.as_deref(), Some("b.jsonl"));
                let rule = &finding.detail.as_ref().unwrap().rule_id;
                format!("{} {rule} {}", finding.line.unwrap(), finding.message)
            })
            .collect();
        let reason = detail.reason.as_deref().unwrap_or("-");
        let told = format!("{:?} {reason}; {}", detail.state, faults.join(", "));
        assert_eq!(told, expected);
    }
}

#[test]
fn what_was_not_looked_at_is_neither_unused_nor_dropped() {
    let lines = [header(), entry("in/p", 'a', ""), entry("out/p", 'b', "")];
    let baseline = parse(&lines).unwrap();
    let faults = meet(&["in"], |meeting| {
        baseline.apply(&mut [], meeting, ("b.jsonl", &pack()))
    });
    assert_eq!(faults.len(), 1);
    let updated = meet(&["in"], |meeting| {
        baseline.updated(&[], meeting, (&salt(), REASON))
    });
    assert_eq!(updated.text(), format!("{}\n{}\n", header(), lines[2]));
}

#[test]
fn taking_it_again_changes_nothing_and_keeps_what_people_wrote() {
    let written = r#","reason":"ours","expires":"2028-01-01","owner":"me""#;
    let lines = [
        header(),
        entry("in/p", 'a', written),
        entry("in/gone", 'c', ""),
    ];
    let found = [found("in/q", 'b'), found("in/p", 'a'), found("./in/p", 'a')];
    let once = meet(&["in"], |meeting| {
        parse(&lines)
            .unwrap()
            .updated(&found, meeting, (&salt(), "new"))
    });
    let expected = [
        header(),
        entry("in/p", 'a', written),
        entry("in/q", 'b', r#","reason":"new""#),
    ];
    assert_eq!(once.text(), expected.join("\n") + "\n");
    let again = Baseline::parse(&once.text()).unwrap();
    let twice = meet(&["in"], |meeting| {
        again.updated(&found, meeting, (&salt(), "other"))
    });
    assert_eq!(twice.text(), once.text());
}

#[test]
fn of_entries_that_a_merge_left_behind_the_one_that_accepts_longest_counts() {
    let lines = [
        header(),
        entry("p", 'a', r#","reason":"x","expires":"2026-01-01""#),
        entry("p", 'a', r#","reason":"y","expires":"2028-01-01""#),
        entry("p", 'a', r#","expires":"2028-01-01""#),
    ];
    let mut found = [found("p", 'a')];
    let baseline = parse(&lines).unwrap();
    let faults = meet(&["."], |meeting| {
        baseline.apply(&mut found, meeting, ("b.jsonl", &pack()))
    });
    assert!(faults.is_empty(), "{faults:?}");
    let detail = found[0].finding.detail.as_ref().unwrap();
    assert_eq!(detail.reason.as_deref(), Some("y"));
}
