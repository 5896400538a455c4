//! Where the metrics and the operational log of a run go, and what becomes of them when they cannot.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::Value;

use super::harness::{Place, Ran, codes, skip};

const VERIFY: [&str; 3] = ["verify", "--manifest", "tree/integrity_manifest.json"];

fn with<'a>(flags: &[&'a str]) -> Vec<&'a str> {
    [&VERIFY, flags].concat()
}

/// Every line of the log, each an object.
fn log(ran: &Ran) -> Vec<Value> {
    let lines = ran.stderr.lines();
    let read = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    lines.map(read).collect()
}

#[test]
fn every_run_leaves_its_metrics_beside_those_of_other_commands() {
    let place = Place::new();
    place.signed_tree();
    for (flags, code) in [(&[][..], 0), (&["--only", "nothing"], 2), (&["--bogus"], 2)] {
        let ran = place.run(with(flags).iter().chain(&["--metrics-file", "agp.prom"]));
        assert_eq!(ran.code, code, "{ran:?}");
        let text = place.read("agp.prom");
        let line = format!("agp_run_exit_code{{command=\"verify\"}} {code}\n");
        assert!(text.contains(&line), "{text}");
        assert!(
            text.contains("agp_last_success_timestamp_seconds{command=\"verify\"}"),
            "{text}"
        );
    }
    let ran = place.run([
        "guard",
        "--target",
        "tree",
        "--metrics-file=agp.prom",
        "--report",
        "prometheus=-",
    ]);
    let text = place.read("agp.prom");
    assert!(text.contains("{command=\"verify\"}") && text.contains("{command=\"guard\"}"));
    assert!(
        !ran.stdout.contains("command=\"verify\"") && ran.stdout.contains("agp_guard_findings{")
    );
    let mode = std::fs::metadata(place.at("agp.prom"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o644);
    let names = place
        .path()
        .read_dir()
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    let left: Vec<_> = names
        .filter(|name| name.to_string_lossy().contains("agp-new"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn the_policy_says_where_metrics_go_only_if_it_was_named() {
    let place = Place::new();
    place.signed_tree();
    let policy = r#"{"metrics": {"textfile": "agp.prom", "labels": {"team": "assets"}}}"#;
    place.write("config/assets_quality_policy.json", policy);
    let ran = place.run(with(&["--json"]));
    assert_eq!(
        (ran.code, codes(&ran.json())),
        (0, vec!["policy.ignored".into()])
    );
    assert!(!place.at("agp.prom").exists());
    let named = ["--config", "config/assets_quality_policy.json"];
    assert_eq!(place.run(with(&named)).code, 0);
    let line = "agp_run_exit_code{command=\"verify\",team=\"assets\"} 0\n";
    assert!(place.read("agp.prom").contains(line));
    // The flag's file takes the place of the policy's.
    let before = place.read("agp.prom");
    let flags = [&named[..], &["--metrics-file", "other.prom"]].concat();
    assert_eq!(place.run(with(&flags)).code, 0);
    assert!(place.read("agp.prom") == before && place.read("other.prom").contains(line));
}

#[test]
fn metrics_that_cannot_be_left_are_a_warning_and_change_no_answer() {
    let place = Place::new();
    place.signed_tree();
    place.write("notes", "mine\n");
    place.write(
        "policy.json",
        r#"{"metrics": {"pushgateway_url": "http://127.0.0.1:9"}}"#,
    );
    for flags in [
        &["--metrics-file", "none/agp.prom"][..],
        &["--metrics-file", "tree"],
        &["--metrics-file", "notes"],
        &["--metrics-file", "/dev/full"],
        &["--config", "policy.json"],
    ] {
        let ran = place.run(with(flags).iter().chain(&["--json"]));
        assert_eq!(
            (ran.code, codes(&ran.json())),
            (0, vec!["metrics.undelivered".into()]),
            "{flags:?}"
        );
        let ran = place.run(with(flags).iter().chain(&["--only", "none"]));
        assert_eq!(ran.code, 2, "{flags:?}: {ran:?}");
    }
    assert_eq!(place.read("notes"), "mine\n");
}

#[test]
fn metrics_are_refused_where_they_would_stand_in_the_way() {
    let place = Place::new();
    place.signed_tree();
    let before = place.read("tree/integrity_manifest.json");
    for (line, why) in [
        (
            "sign --input-dir tree --metrics-file tree/agp.prom",
            "would lie in the tree",
        ),
        (
            "verify --manifest tree/integrity_manifest.json --metrics-file tree/integrity_manifest.json",
            "in the place of",
        ),
        (
            "verify --manifest tree/integrity_manifest.json --metrics-file x --report csv=x",
            "two documents",
        ),
        (
            "verify --manifest tree/integrity_manifest.json --metrics-file -",
            "is no file",
        ),
        ("audit show --metrics-file x.prom", "not a report"),
        ("tool schema policy --metrics-file x.prom", "not a report"),
    ] {
        let ran = place.run(line.split(' '));
        assert!(ran.code == 2 && ran.stderr.contains(why), "{line}: {ran:?}");
        assert_eq!(place.read("tree/integrity_manifest.json"), before, "{line}");
    }
    assert!(!place.at("tree/agp.prom").exists() && !place.at("x").exists());
}

#[test]
fn the_log_for_collectors_is_json_whatever_stdout_carries() {
    let place = Place::new();
    place.signed_tree();
    place.write("tree/::error ::\u{1b}[31m\n\u{202e}##[group]", "new");
    for (flags, levels) in [
        (&[][..], &["error", "error"][..]),
        (&["--json"], &["error", "error"]),
        (&["--report", "sarif=-"], &["error", "error"]),
        (&["--quiet"], &["error", "error"]),
        (&["--verbose"], &["error", "error", "info", "info"]),
    ] {
        let ran = place.run(with(flags).iter().chain(&["--log-format", "json"]));
        let lines = log(&ran);
        let found: Vec<&str> = lines
            .iter()
            .map(|line| line["level"].as_str().unwrap())
            .collect();
        assert_eq!((ran.code, &*found), (1, levels), "{flags:?}: {ran:?}");
        let outcome = lines
            .iter()
            .find(|line| line["event"] == "outcome")
            .unwrap();
        assert_eq!(
            (&outcome["exit_code"], &outcome["verdict"]),
            (&1.into(), &"fail".into())
        );
        assert_eq!(
            (&lines[0]["code"], &lines[0]["command"]),
            (&"file.unlisted".into(), &"verify".into())
        );
        assert!(!ran.stderr.contains(['\u{1b}', '\u{202e}']) && !ran.stderr.contains("##["));
    }
    // Text for people stays on stdout, and data too.
    let ran = place.run(with(&["--log-format", "json"]));
    assert!(ran.stdout.contains("FAILED"), "{ran:?}");
    for (flags, code) in [
        (&["--bogus"][..], "command.usage"),
        (&["--metrics-file", ""], "command.usage"),
    ] {
        let ran = place.run(with(flags).iter().chain(&["--log-format", "json"]));
        let lines = log(&ran);
        assert_eq!(
            (ran.code, &lines[0]["code"], lines.len()),
            (2, &code.into(), 2),
            "{ran:?}"
        );
    }
}

#[test]
fn what_guard_finds_is_in_no_metric_and_in_no_log() {
    let place = Place::new();
    let secret = format!("x9fKQz72{}", "LpWmv41T");
    place.write(
        "assets/settings.py",
        format!("pass{} = \"{secret}\"\n", "word"),
    );
    let ran = place.run([
        "guard",
        "--target",
        "assets",
        "--log-format=json",
        "--metrics-file=agp.prom",
    ]);
    assert_eq!(ran.code, 19, "{ran:?}");
    let finding = &log(&ran)[0];
    assert_eq!(
        (&finding["rule"], &finding["line"]),
        (&"generic.password".into(), &1.into())
    );
    for text in [ran.stdout, ran.stderr, place.read("agp.prom")] {
        assert!(!text.contains(&secret), "{text}");
    }
    assert!(!place.read("agp.prom").contains("settings"));
}

#[test]
fn a_gateway_gets_a_group_that_is_replaced_and_one_of_the_last_success() {
    use std::io::{Read, Write};
    let place = Place::new();
    place.signed_tree();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let labels = r#"{"team": "a/b", "empty": ""}"#;
    let policy =
        format!(r#"{{"metrics": {{"pushgateway_url": "http://{address}/", "labels": {labels}}}}}"#);
    place.write("policy.json", policy);
    let server = std::thread::spawn(move || {
        let mut asked = Vec::new();
        for stream in listener.incoming().take(3) {
            let mut stream = stream.unwrap();
            let mut text = String::new();
            let mut bytes = [0; 1 << 16];
            loop {
                let read = stream.read(&mut bytes).unwrap();
                text.push_str(std::str::from_utf8(&bytes[..read]).unwrap());
                let length = text.split_once("\r\n\r\n").and_then(|(head, body)| {
                    let head = head.to_lowercase();
                    let (_, length) = head.split_once("content-length: ")?;
                    Some(body.len() >= length.lines().next()?.parse().ok()?)
                });
                if read == 0 || length == Some(true) {
                    break;
                }
            }
            stream
                .write_all(
                    b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
                )
                .unwrap();
            asked.push(text);
        }
        asked
    });
    assert_eq!(place.run(with(&["--config", "policy.json"])).code, 0);
    assert_eq!(
        place
            .run(with(&["--config", "policy.json", "--only", "none"]))
            .code,
        2
    );
    let asked = server.join().unwrap();
    let group = "job@base64/YWdw/command@base64/dmVyaWZ5/empty@base64/=/team@base64/YS9i";
    let success = group.replace("YWdw", "YWdwX3N1Y2Nlc3M");
    for (request, group) in asked.iter().zip([group, &success, group]) {
        assert!(
            request.starts_with(&format!("PUT /metrics/{group} HTTP/1.1\r\n")),
            "{request}"
        );
        assert!(request.contains("text/plain; version=0.0.4"), "{request}");
        let is_success = group == success;
        assert_eq!(
            request.contains("agp_last_success"),
            is_success,
            "{request}"
        );
        assert_eq!(
            request.contains("agp_run_verdict"),
            !is_success,
            "{request}"
        );
    }
    assert_eq!(asked.len(), 3);
}

#[test]
fn one_look_at_the_data_feeds_every_report() {
    if Command::new("strace").arg("-V").output().is_err() {
        return skip("one look at the data", "strace");
    }
    let place = Place::new();
    for number in 0..50 {
        place.write(
            &format!("tree/sub/asset-{number}.txt"),
            format!("asset {number}\n"),
        );
    }
    assert_eq!(place.run(["sign", "--input-dir", "tree"]).code, 0);
    for verb in [
        &["guard", "--target", "tree"][..],
        &VERIFY,
        &["rollback", "snapshot", "--target-dirs", "tree"],
    ] {
        let reports = [
            "json", "sarif", "html", "junit", "csv", "markdown", "github", "gitlab", "trace",
        ];
        let reports = reports.map(|format| format!("--report={format}=out.{format}"));
        let own = place.command(verb.iter().copied());
        let variables = own
            .get_envs()
            .filter_map(|(name, value)| Some((name, value?)));
        let mut strace = Command::new("strace");
        strace.args([
            "-f",
            "-qq",
            "-e",
            "trace=open,openat,openat2",
            "-o",
            "opens",
        ]);
        strace
            .arg(own.get_program())
            .args(own.get_args())
            .args(&reports)
            .arg("--metrics-file=out.prom");
        let ran = strace
            .current_dir(place.path())
            .env_clear()
            .envs(variables)
            .output();
        let ran = Ran::of(&ran.unwrap());
        assert_eq!(ran.code, 0, "{verb:?}: {ran:?}");
        let opens = place.read("opens");
        for number in 0..50 {
            let name = format!("asset-{number}.txt\"");
            let opened = opens.lines().filter(|line| line.contains(&name)).count();
            assert_eq!(opened, 1, "{verb:?}: {name}");
        }
        for file in [
            "out.json",
            "out.sarif",
            "out.html",
            "out.junit",
            "out.csv",
            "out.markdown",
            "out.gitlab",
            "out.trace",
            "out.prom",
        ] {
            assert!(!place.read(file).is_empty(), "{file}");
        }
    }
}
