//! Alerts as a receiver on loopback gets them, and what a run says of those that do not arrive. Receivers that
//! are not ours are met in `tests/alerts/check.py`.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};

use agp::cli::reference::Schema;
use serde_json::{Value, json};

use super::harness::{Place, codes};

/// A server that keeps every body it is sent.
struct Receiver {
    url: String,
    got: Arc<Mutex<Vec<Value>>>,
}

impl Receiver {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        // The last part of an address is what is answered.
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let got = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&got);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let (mut first, mut length) = (String::new(), 0);
                reader.read_line(&mut first).unwrap();
                loop {
                    let mut line = String::new();
                    reader.read_line(&mut line).unwrap();
                    match line.trim_end().split_once(": ") {
                        Some(("content-length", value)) => {
                            length = value.parse().unwrap();
                        }
                        Some(_) => {}
                        None => break,
                    }
                }
                let mut body = vec![0; length];
                reader.read_exact(&mut body).unwrap();
                let status = first.split([' ', '/']).nth(3).unwrap_or("");
                let is_good = status == "200";
                let answer = format!(
                    "HTTP/1.1 {status} x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
                );
                if is_good {
                    kept.lock()
                        .unwrap()
                        .push(serde_json::from_slice(&body).unwrap());
                }
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        Self { url, got }
    }

    fn answering(&self, status: u16) -> String {
        format!("{}/{status}", self.url)
    }

    fn got(&self) -> Vec<Value> {
        self.got.lock().unwrap().clone()
    }
}

/// A place with a leaky file, and a policy whose alerts go to one webhook.
fn place() -> Place {
    let place = Place::new();
    leak(&place, "tree/settings.py");
    policy(&place, &json!({}));
    place
}

fn policy(place: &Place, more: &Value) {
    let mut policy = json!({"alerts": {
        "channels": {"hook": {"type": "webhook", "url_env": "HOOK_URL"}},
        "routes": [{"channels": ["hook"]}],
    }});
    for (key, value) in more.as_object().unwrap() {
        policy["alerts"][key] = value.clone();
    }
    place.write("policy.json", policy.to_string());
}

fn leak(place: &Place, name: &str) {
    // Put together here, so that no scanner takes this file for what it tests.
    place.write(
        name,
        format!("pass{} = \"x9fKQz72{}Wmv41T\"\n", "word", name.len()),
    );
}

const GUARD: [&str; 6] = [
    "guard",
    "--target",
    "tree",
    "--json",
    "--config",
    "policy.json",
];
const SHOW: [&str; 4] = ["audit", "show", "--config", "policy.json"];

/// Runs guard, whose answer never depends on alerts, and gives what it says of them.
#[track_caller]
fn guard(place: &Place) -> Vec<String> {
    let ran = place.run(GUARD);
    assert_eq!(ran.code, 19, "{ran:?}");
    let mut codes = codes(&ran.json());
    codes.retain(|code| code.starts_with("alert."));
    codes
}

fn waiting(place: &Place) -> Vec<Value> {
    let Ok(entries) = place.at(".agp/spool").read_dir() else {
        return Vec::new();
    };
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|end| end == "json"))
        .collect();
    paths.sort();
    let read = |path| serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    paths.iter().map(read).collect()
}

#[test]
fn an_event_arrives_as_its_schema_says_and_the_same_thing_arrives_once() {
    let receiver = Receiver::new();
    let mut place = place();
    place.set("HOOK_URL", &receiver.answering(200));
    place.set("GITHUB_REPOSITORY", "org/game");
    assert_eq!(guard(&place), [""; 0]);
    assert_eq!(guard(&place), [""; 0]);
    let got = receiver.got();
    assert_eq!(got.len(), 1, "{got:?}");
    let schema = place.run(["tool", "schema", "alert"]).json();
    assert_eq!(Schema::Alert.file_name(), "alert.schema.json");
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    assert!(validator.is_valid(&got[0]), "{}", got[0]);
    let mut broken = got[0].clone();
    broken["severity"] = json!("terrible");
    assert!(!validator.is_valid(&broken));
    let message = &got[0];
    assert_eq!(message["command"], "guard");
    assert_eq!(message["target"], "tree");
    assert_eq!(message["repository"], "org/game");
    assert_eq!(
        (&message["verdict"], &message["exit_code"]),
        (&json!("fail"), &json!(19))
    );
    let event = &message["events"][0];
    assert_eq!(
        (&event["event"], &event["severity"]),
        (&json!("policy_violation"), &json!("high"))
    );
    assert_eq!(event["findings"][0]["path"], "tree/settings.py");
    assert!(!message.to_string().contains("x9fKQz72"), "{message}");
    // Something new is told, with the rest.
    leak(&place, "tree/other.py");
    assert_eq!(guard(&place), [""; 0]);
    assert_eq!(receiver.got()[1]["events"][0]["findings_total"], 2);
    assert_eq!(waiting(&place), [Value::Null; 0]);
}

#[test]
fn what_does_not_arrive_changes_no_answer_and_the_next_run_sends_it() {
    let receiver = Receiver::new();
    let mut place = place();
    place.set("HOOK_URL", &receiver.answering(404));
    assert_eq!(guard(&place), ["alert.undelivered"]);
    let mode = |name: &str| place.at(name).metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(".agp/spool"), 0o700);
    for entry in place.at(".agp/spool").read_dir().unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert_eq!(mode(&format!(".agp/spool/{name}")), 0o600, "{name}");
    }
    let kept = waiting(&place);
    assert_eq!(kept.len(), 1);
    // A verb without a report says on stderr that it is still on its way.
    let ran = place.run(SHOW);
    assert_eq!(ran.code, 0);
    assert!(
        ran.stderr
            .contains("kept for the next run: it answered 404"),
        "{ran:?}"
    );
    place.set("HOOK_URL", &receiver.answering(200));
    let ran = place.run(SHOW);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    assert_eq!(receiver.got(), [kept[0]["message"].clone()]);
    assert_eq!(waiting(&place), [Value::Null; 0]);
}

#[test]
fn a_report_on_disk_says_what_became_of_its_alerts() {
    let receiver = Receiver::new();
    let mut place = place();
    place.set("HOOK_URL", &receiver.answering(404));
    let mut words = GUARD.to_vec();
    words.extend(["--output", "report.json", "--require-notify"]);
    words.retain(|word| *word != "--json");
    assert_eq!(place.run(&words).code, 19, "a violation is never masked");
    let report: Value = serde_json::from_str(&place.read("report.json")).unwrap();
    assert_eq!(codes(&report), ["alert.required", "guard.secret"]);
    assert_eq!(report["exit_code"], 19);
    // A stream has had its document.
    words.retain(|word| *word != "report.json" && *word != "--output");
    words.extend(["--report", "json=/dev/stdout", "--report", "csv=report.csv"]);
    place.write("tree/more.py", "");
    leak(&place, "tree/more.py");
    place.run(&words);
    assert!(place.read("report.csv").contains("alert.required"));
}

#[test]
fn a_required_alert_turns_a_milder_answer_into_none() {
    let receiver = Receiver::new();
    let mut place = place();
    place.signed_tree();
    place.write("tree/a.json", "{}\n");
    place.set("HOOK_URL", &receiver.answering(404));
    let verify = |more: &[&str]| {
        let words = [
            "verify",
            "--manifest",
            "tree/integrity_manifest.json",
            "--config",
            "policy.json",
        ];
        place.run(words.iter().chain(more))
    };
    assert_eq!(verify(&[]).code, 1);
    // Told within the interval already, so that nothing has to be told now.
    assert_eq!(verify(&["--require-notify"]).code, 1);
    policy(
        &place,
        &json!({"require_notify": true, "repeat_interval_seconds": 0}),
    );
    let ran = verify(&["--json", "--metrics-file", "agp.prom"]);
    assert_eq!(ran.code, 2);
    assert_eq!(ran.json()["verdict"], "error");
    // Metrics tell what came of it in the end.
    let told = "agp_run_exit_code{command=\"verify\"} 2\n";
    assert!(place.read("agp.prom").contains(told));
    place.set("HOOK_URL", &receiver.answering(200));
    let ran = place.run([
        "verify",
        "--manifest",
        "tree/integrity_manifest.json",
        "--config",
        "policy.json",
    ]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert_eq!(
        receiver.got().last().unwrap()["events"][0]["event"],
        "integrity_failure"
    );
}

#[test]
fn a_run_without_an_answer_tells_what_it_knows() {
    let receiver = Receiver::new();
    let mut place = place();
    place.signed_tree();
    place.set("HOOK_URL", &receiver.answering(200));
    let manifest = place.read("tree/integrity_manifest.json");
    place.write("tree/integrity_manifest.json", &manifest[1..]);
    let words = [
        "verify",
        "--manifest",
        "tree/integrity_manifest.json",
        "--config",
        "policy.json",
    ];
    assert_eq!(place.run(words).code, 2);
    assert_eq!(receiver.got()[0]["verdict"], "error");
    assert_eq!(receiver.got()[0]["events"][0]["event"], "integrity_failure");
    // What is none of the events is in the report only.
    let ran = place.run(["sign", "--input-dir", "none", "--config", "policy.json"]);
    assert_eq!((ran.code, receiver.got().len()), (2, 1));
}

#[test]
fn a_missing_variable_is_a_warning_and_a_found_policy_reaches_nobody() {
    let receiver = Receiver::new();
    let mut place = place();
    assert_eq!(guard(&place), ["alert.unconfigured", "alert.undelivered"]);
    // Nothing has happened, and it is told in time.
    place.write("clean/a.txt", "a\n");
    let ran = place.run([
        "guard",
        "--target",
        "clean",
        "--json",
        "--config",
        "policy.json",
    ]);
    assert_eq!(ran.code, 0);
    assert!(
        ran.stdout
            .contains("the environment variable `HOOK_URL` is not set"),
        "{ran:?}"
    );
    place.set("HOOK_URL", &receiver.answering(200));
    std::fs::remove_dir_all(place.at(".agp")).unwrap();
    place.write(
        "config/assets_quality_policy.json",
        place.read("policy.json"),
    );
    let ran = place.run(["guard", "--target", "tree", "--json"]);
    assert_eq!(ran.code, 19);
    assert!(codes(&ran.json()).contains(&"policy.ignored".to_owned()));
    assert_eq!(receiver.got(), [Value::Null; 0]);
    assert!(!place.at(".agp/spool").exists());
}

#[test]
fn what_cannot_be_signed_as_the_policy_says_is_not_sent() {
    let receiver = Receiver::new();
    let mut place = place();
    place.set("HOOK_URL", &receiver.answering(200));
    let signed =
        json!({"hook": {"type": "webhook", "url_env": "HOOK_URL", "secret_env": "HOOK_SECRET"}});
    policy(&place, &json!({"channels": signed}));
    for secret in ["", "whsec_", "whsec_not base64"] {
        place.set("HOOK_SECRET", secret);
        let found = guard(&place);
        assert!(
            found.contains(&"alert.unconfigured".to_owned()),
            "{secret}: {found:?}"
        );
    }
    assert_eq!(receiver.got(), [Value::Null; 0]);
    place.set("HOOK_SECRET", "any text");
    assert_eq!(guard(&place), [""; 0]);
    assert_eq!(receiver.got().len(), 1);
}

#[test]
fn a_test_of_the_channels_says_what_each_answers() {
    let receiver = Receiver::new();
    let mut place = place();
    place.set("HOOK_URL", &receiver.answering(200));
    let test = ["tool", "notify-test", "--config", "policy.json"];
    let ran = place.run(test);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stdout.contains("hook: delivered"), "{ran:?}");
    assert_eq!(receiver.got()[0]["test"], true);
    place.set("HOOK_URL", &receiver.answering(403));
    let ran = place.run(test);
    assert_eq!(ran.code, 1);
    assert!(
        ran.stdout.contains("it answered 403") && !ran.stdout.contains(&receiver.url),
        "{ran:?}"
    );
    place.set("HOOK_URL", "");
    assert_eq!(place.run(test).code, 2);
    let ran = place.run(["tool", "notify-test"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("has no channel"), "{ran:?}");
    assert!(!place.at(".agp").exists(), "a tool keeps nothing");
}

#[test]
fn what_is_no_entry_is_told_and_set_aside() {
    let receiver = Receiver::new();
    let mut place = place();
    place.set("HOOK_URL", &receiver.answering(404));
    guard(&place);
    let entry = place.at(".agp/spool").read_dir().unwrap();
    let entry = entry.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let entry = entry.filter(|name| name.ends_with(".json")).max().unwrap();
    let text = place.read(&format!(".agp/spool/{entry}"));
    let channel = entry.split_once('-').unwrap().1;
    let private = |number: u64, text: &str| {
        let name = format!(".agp/spool/{number:012}-{channel}");
        place.write(&name, text);
        place.chmod(&name, 0o600);
        name
    };
    private(10, &text[..text.len() / 2]);
    private(11, &text.replacen("\"version\":1", "\"version\":9", 1));
    private(
        12,
        &text.replacen("\"channel\":\"hook\"", "\"channel\":\"hoop\"", 1),
    );
    let strangers = private(13, &text);
    place.chmod(&strangers, 0o644);
    std::os::unix::fs::symlink(
        place.at(".agp/spool").join(&entry),
        place.at(format!(".agp/spool/{:012}-{channel}", 14)),
    )
    .unwrap();
    place.write(".agp/spool/told", "{");
    place.chmod(".agp/spool/told", 0o600);
    place.set("HOOK_URL", &receiver.answering(200));
    let ran = place.run(GUARD);
    let report = ran.json();
    let found = report["findings"].as_array().unwrap().iter();
    let found: Vec<&Value> = found.filter(|one| one["code"] == "alert.spool").collect();
    assert!(found.len() >= 5, "{found:#?}");
    // What was told is not known any more, so it is told again, behind what waited.
    let ids: Vec<Value> = receiver.got().iter().map(|one| one["id"].clone()).collect();
    assert!(ids.len() == 2 && ids[0] != ids[1], "{ids:?}");
    assert_eq!(guard(&place), [""; 0], "each is told once");
}

#[test]
fn no_alert_is_kept_where_that_would_change_what_is_verified() {
    let receiver = Receiver::new();
    let mut place = place();
    place.signed_tree();
    place.write("tree/a.json", "{}\n");
    place.set("HOOK_URL", &receiver.answering(404));
    let text = place.read("policy.json").replacen(
        '{',
        "{\"policy_guard\": {\"audit_logging\": false}, ",
        1,
    );
    place.write("policy.json", text);
    let verify = [
        "verify",
        "--manifest",
        "tree/integrity_manifest.json",
        "--config",
        "policy.json",
        "--state-dir",
        "tree/state",
        "--json",
    ];
    let ran = place.run(verify);
    assert_eq!(ran.code, 1);
    assert!(
        codes(&ran.json()).contains(&"alert.lost".to_owned()),
        "{ran:?}"
    );
    assert!(!place.at("tree/state").exists());
}

#[test]
fn other_verbs_make_other_events() {
    let receiver = Receiver::new();
    let mut place = place();
    place.set("HOOK_URL", &receiver.answering(200));
    let run = |words: &[&str], code| {
        let ran = place.run(words.iter().chain(&["--config", "policy.json"]));
        assert_eq!(ran.code, code, "{ran:?}");
    };
    let govern = [
        "rollback",
        "run",
        "--target-dirs",
        "tree",
        "--config",
        "policy.json",
        "--",
    ];
    let ran = place.run(govern.iter().chain(&["rm", "tree/settings.py", "none"]));
    assert_eq!(ran.code, 1, "{ran:?}");
    // Fifteen times what the other command takes.
    let slower = [
        "profile",
        "--baseline-cmd",
        "sleep 0.02",
        "--define-stage",
        "nap=sleep 0.3",
    ];
    run(&slower, 18);
    let slow = json!({"alerts": serde_json::from_str::<Value>(&place.read("policy.json")).unwrap()["alerts"],
        "performance_benchmarks": {"max_processing_time_seconds": 0.05}});
    place.write("policy.json", slow.to_string());
    run(
        &["profile", "--runs", "1", "--define-stage", "slow=sleep 0.3"],
        18,
    );
    let got = receiver.got();
    let told: Vec<_> = got
        .iter()
        .map(|one| (&one["command"], &one["events"][0]["event"]))
        .collect();
    assert_eq!(
        told,
        [
            (&json!("rollback run"), &json!("rollback")),
            (&json!("profile"), &json!("performance_regression")),
            (&json!("profile"), &json!("resource_exhaustion")),
        ]
    );
}

#[test]
fn the_policy_of_the_page_is_one() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/alerts.md");
    let page = std::fs::read_to_string(page).unwrap();
    let policy = page
        .split("```json\n")
        .nth(1)
        .unwrap()
        .split("```")
        .next()
        .unwrap();
    let place = Place::new();
    place.write("policy.json", policy);
    let ran = place.run(["tool", "policy", "check", "--config", "policy.json"]);
    assert_eq!(
        (ran.code, ran.stdout.as_str()),
        (0, "valid: policy.json\n"),
        "{ran:?}"
    );
}
