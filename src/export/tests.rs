//! Every format on the same hostile report, and on reports that nobody thought of.
#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::{Document, Format, MARKDOWN_BYTES_MAX, markdown, write};
use crate::base::clock::Timestamp;
use crate::base::severity::Severity;
use crate::base::units::printable;
use crate::report::{
    Category, Confidence, Detail, Envelope, Explanation, Finding, PolicyReference, REPORT_VERSION,
    ResourceUsage, State, Tool, Verdict, codes,
};

/// What somebody may name a file, or write into one.
const HOSTILE: [&str; 24] = [
    "\n::error::owned",
    "::error file=x,line=1::owned",
    "##[error]owned",
    "a,b:c%0A::warning::x",
    "\r\n::set-output name=x::y",
    "\u{1b}[31mred\u{1b}]0;title\u{7}",
    "a\u{202e}txt.exe",
    "zero\u{200b}width\u{feff}",
    "</script><script>alert(1)</script>",
    "<!channel> <@U1> &amp; & <b>",
    "]]><!--<![CDATA[",
    "=HYPERLINK(\"http://x\",\"y\")",
    "\t=1+1",
    "+1",
    "-1",
    "@SUM(A1)",
    "＝1",
    "a\",\"b",
    "`code` ``x`` | cell \\| \\",
    "[a](javascript:x) ![i](http://x/i.png) www.x.org http://x @user #1",
    "{0} {{1}}",
    "a b#c?d:e\\f",
    "\u{fffe}\u{ffff}\u{0}",
    "  ",
];

fn finding(path: &str, message: &str) -> Finding {
    Finding::new(&codes::FILE_MODIFIED, message).at(path)
}

fn scanned(path: &str, severity: Severity, state: State) -> Finding {
    let mut finding = Finding::new(&codes::GUARD_SECRET, "A token")
        .at(path)
        .on_line(3);
    finding.column = Some(7);
    finding.severity = severity;
    if state != State::Open {
        finding.verdict = Verdict::Pass;
    }
    finding.with_detail(Detail {
        rule_id: "example.token".into(),
        category: Category::Secret,
        confidence: Confidence::High,
        end_line: Some(4),
        redacted: Some("abc…".into()),
        fingerprint: None,
        state,
        reason: (state != State::Open).then(|| "a fixture".into()),
        would_fail: true,
        member: None,
        commit: None,
        decoded: Vec::new(),
    })
}

fn envelope(mut findings: Vec<Finding>) -> Envelope<Map<String, Value>> {
    findings.sort();
    Envelope {
        report: "guard".into(),
        report_version: REPORT_VERSION,
        run_id: "0".repeat(32),
        tool: Tool {
            name: "agp",
            version: "1.2.3",
        },
        started_at: Timestamp::from_unix_seconds(1_800_000_000),
        finished_at: Timestamp::from_unix_seconds(1_800_000_001),
        duration_seconds: 1.0,
        policy: PolicyReference {
            source: "built-in".into(),
            sha256: None,
        },
        verdict: "fail".into(),
        exit_code: 19,
        audit_head: None,
        resource_usage: ResourceUsage::default(),
        body: Map::new(),
        findings,
    }
}

fn written(format: Format, envelope: &Envelope<Map<String, Value>>) -> String {
    let explanation = Explanation {
        title: "A token of an example".into(),
        why: "Whoever has it can read.".into(),
        fix: "Revoke it".into(),
        severity: Severity::Critical,
    };
    let document = Document {
        envelope,
        headline: "1 finding in 2 files | `x`",
        text: "",
        page: None,
        explanations: &BTreeMap::from([("example.token".to_owned(), explanation)]),
        fingerprints_last: true,
        directory: "/srv",
        labels: &BTreeMap::new(),
    };
    let mut out = Vec::new();
    write(format, &document, &mut out).unwrap();
    let mut again = Vec::new();
    write(format, &document, &mut again).unwrap();
    assert_eq!(out, again);
    String::from_utf8(out).unwrap()
}

fn run(envelope: &Envelope<Map<String, Value>>) -> Value {
    let log: Value = serde_json::from_str(&written(Format::Sarif, envelope)).unwrap();
    log["runs"][0].clone()
}

/// A finding of each hostile text, as path and as message, and in every text of a detail.
fn hostile() -> Envelope<Map<String, Value>> {
    let mut findings = Vec::new();
    for text in HOSTILE {
        findings.push(finding(text, text).with_hint(text));
        let mut scanned = scanned(text, Severity::High, State::Suppressed);
        if let Some(detail) = scanned.detail.as_deref_mut() {
            detail.member = Some(text.into());
            detail.redacted = Some(text.into());
            detail.reason = Some(text.into());
        }
        findings.push(scanned);
    }
    envelope(findings)
}

/// Whether a text has anything that a terminal acts on or a reader cannot see; lines may end.
fn is_visible(text: &str) -> bool {
    text.split(['\n', '\r']).all(|line| printable(line) == line)
}

#[test]
fn every_format_has_one_name_and_what_it_writes_is_visible() {
    let envelope = hostile();
    for format in Format::ALL {
        assert_eq!(Format::named(format.name()), Some(format));
        // The envelope is JSON for machines: its escapes are those of JSON.
        if format != Format::Json {
            let text = written(format, &envelope);
            assert!(is_visible(&text), "{format:?}: {text}");
        }
    }
    assert_eq!(Format::named("SARIF"), None);
}

#[test]
fn a_workflow_command_is_one_line_of_our_own_whatever_stands_in_it() {
    let envelope = envelope(
        HOSTILE[..9]
            .iter()
            .map(|text| finding(text, text))
            .collect(),
    );
    let text = written(Format::Github, &envelope);
    assert_eq!(text.lines().count(), 9);
    for line in text.lines() {
        let (properties, data) = line
            .strip_prefix("::error ")
            .unwrap()
            .split_once("::")
            .unwrap();
        let names: Vec<&str> = properties
            .split(',')
            .map(|property| property.split_once('=').unwrap().0)
            .collect();
        assert_eq!(names, ["file", "title"], "{line}");
        assert!(!properties.contains(':') && !data.is_empty(), "{line}");
    }
}

#[test]
fn of_many_findings_nine_are_annotated_and_one_line_counts_the_rest() {
    let mut findings: Vec<Finding> = (0..30)
        .map(|number| scanned(&format!("{number}"), Severity::Low, State::Open))
        .collect();
    findings.extend((0..5).map(|_| scanned("accepted", Severity::Critical, State::Baseline)));
    findings.push(scanned("worst", Severity::Critical, State::Open));
    let text = written(Format::Github, &envelope(findings.clone()));
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 10);
    assert_eq!(
        lines[0],
        "::error file=worst,line=3,endLine=4,col=7,title=example.token::A token: abc…%0Ahint: revoke it where it was issued, then read it from the environment or a secret store"
    );
    assert_eq!(
        lines[9],
        "::error title=agp guard::and 22 findings more: 22 low"
    );
    findings.retain(|finding| finding.path.as_deref() == Some("accepted"));
    assert_eq!(written(Format::Github, &envelope(findings)), "");
}

#[test]
fn sarif_says_where_from_the_top_and_how_bad_in_the_words_of_code_scanning() {
    let mut envelope = envelope(vec![
        scanned("./a b/x.txt", Severity::Critical, State::Open),
        scanned("/srv/y", Severity::Low, State::Baseline),
        finding("../z#", "content changed"),
        Finding::new(&codes::KEY_WEAK, "short"),
        Finding::new(&codes::GUARD_OPERATION, "refused"),
    ]);
    envelope.policy.source = "policy.json".into();
    envelope.policy.sha256 = Some(crate::base::digest::Digest::of(b""));
    let run = run(&envelope);
    let results = run["results"].as_array().unwrap();
    let places: Vec<Value> = results
        .iter()
        .map(|result| result["locations"][0]["physicalLocation"].clone())
        .collect();
    // The worst first, the accepted last, and what is about no file at what decided.
    assert_eq!(
        places,
        [
            json!({"artifactLocation": {"uri": "a%20b/x.txt", "uriBaseId": "SRCROOT"},
                "region": {"startLine": 3, "startColumn": 7, "endLine": 4}}),
            json!({"artifactLocation": {"uri": "file:///z%23"}, "region": {"startLine": 1}}),
            json!({"artifactLocation": {"uri": "policy.json", "uriBaseId": "SRCROOT"},
                "region": {"startLine": 1}}),
            json!({"artifactLocation": {"uri": "y", "uriBaseId": "SRCROOT"},
                "region": {"startLine": 3, "startColumn": 7, "endLine": 4}}),
        ]
    );
    assert_eq!(results[0]["suppressions"], json!([]));
    assert_eq!(
        results[3]["suppressions"],
        json!([{"kind": "external", "status": "accepted", "justification": "a fixture"}])
    );
    let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
    for result in results {
        let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
        assert_eq!(rules[index]["id"], result["ruleId"]);
    }
    assert_eq!(rules[0]["id"], "example.token");
    assert_eq!(rules[0]["properties"]["security-severity"], "9.5");
    assert_eq!(
        rules[0]["properties"]["tags"],
        json!(["security", "secret"])
    );
    assert_eq!(
        rules[0]["help"]["text"],
        "A token of an example.\n\nWhoever has it can read.\n\nRevoke it."
    );
    let invocation = &run["invocations"][0];
    assert_eq!(invocation["exitCode"], 19);
    assert_eq!(invocation["executionSuccessful"], true);
    let told = &invocation["toolExecutionNotifications"];
    assert_eq!(told.as_array().unwrap().len(), 1);
    assert_eq!(told[0]["associatedRule"]["id"], "key.weak");
}

#[test]
fn what_stands_in_an_archive_or_in_the_past_is_at_no_line_of_the_file_as_it_is() {
    let within = |member: Option<&str>, commit: Option<&str>| {
        let mut finding = scanned("a.zip", Severity::High, State::Open);
        if let Some(detail) = finding.detail.as_deref_mut() {
            detail.member = member.map(str::to_owned);
            detail.commit = commit.map(str::to_owned);
        }
        finding
    };
    for (finding, expected) in [
        (within(None, None), "A token: abc…"),
        (within(Some("b/c"), None), "A token: abc…, in b/c, line 3"),
        (
            within(None, Some("12ab")),
            "A token: abc…, in commit 12ab, line 3",
        ),
        (
            within(Some("b"), Some("1")),
            "A token: abc…, in b, in commit 1, line 3",
        ),
    ] {
        let is_within = expected.contains("line");
        let run = run(&envelope(vec![finding]));
        assert_eq!(run["results"][0]["message"]["text"], expected);
        let region = &run["results"][0]["locations"][0]["physicalLocation"]["region"];
        assert_eq!(region["startLine"], if is_within { 1 } else { 3 });
        assert_eq!(region["startColumn"].is_null(), is_within);
    }
}

#[test]
fn a_place_inside_the_policy_is_the_policy_s_file() {
    let mut envelope = envelope(vec![
        Finding::new(&codes::POLICY_INVALID, "x").at("other#x.json#/a/0"),
        Finding::new(&codes::POLICY_IGNORED, "y").at("top.json"),
        Finding::new(&codes::GUARD_OPERATION, "z").at("p.json#/pipeline/stages/0"),
        finding("plain#/x", "w"),
    ]);
    envelope.policy.source = "p.json".into();
    let run = run(&envelope);
    let uri = |result: &Value| {
        let location = &result["locations"][0]["physicalLocation"]["artifactLocation"];
        location["uri"].as_str().unwrap().to_owned()
    };
    let mut uris: Vec<String> = run["results"].as_array().unwrap().iter().map(uri).collect();
    uris.sort();
    assert_eq!(uris, ["other%23x.json", "p.json", "plain%23/x", "top.json"]);
}

#[test]
fn a_finding_is_told_by_rule_file_value_and_order_but_not_by_its_line() {
    let identities = |findings: Vec<Finding>| -> Vec<String> {
        let run = run(&envelope(findings));
        let results = run["results"].as_array().unwrap();
        let identity = |result: &Value| result["partialFingerprints"]["agpFinding/v1"].clone();
        let identities = results.iter().map(identity);
        let mut identities: Vec<String> = identities
            .map(|identity| identity.as_str().unwrap().to_owned())
            .collect();
        identities.sort();
        identities
    };
    let at = |path: &str, line| scanned(path, Severity::High, State::Open).on_line(line);
    let before = identities(vec![at("a", 3), at("a", 9), at("b", 3)]);
    let after = identities(vec![at("./a", 5), at("a", 99), at("/srv/b", 1)]);
    assert_eq!(before, after);
    let unique: std::collections::BTreeSet<_> = before.iter().collect();
    assert_eq!(unique.len(), 3);
    // Another secret in the place of an old one is new.
    let valued = |redacted: &str, fingerprint: Option<&str>| {
        let mut finding = at("a", 3);
        if let Some(detail) = finding.detail.as_deref_mut() {
            detail.redacted = Some(redacted.into());
            detail.fingerprint = fingerprint.map(str::to_owned);
        }
        identities(vec![finding])
    };
    assert_ne!(valued("abc…", None), valued("abd…", None));
    assert_ne!(valued("abc…", Some("1")), valued("abc…", Some("2")));
    assert_eq!(valued("abc…", Some("1")), valued("abc…", Some("1")));
}

#[test]
fn sarif_holds_five_thousand_results_and_says_how_many_it_left_out() {
    let mut findings: Vec<Finding> = (0..5_007)
        .map(|number| scanned(&format!("{number:05}"), Severity::Low, State::Open))
        .collect();
    findings.push(scanned("z", Severity::High, State::Open));
    let run = run(&envelope(findings));
    let results = run["results"].as_array().unwrap();
    assert_eq!(
        (results.len(), &results[0]["level"]),
        (5_000, &json!("error"))
    );
    let told = &run["invocations"][0]["toolExecutionNotifications"][0]["message"]["text"];
    assert_eq!(told, "8 results left out: the 5000 worst are shown.");
}

#[test]
fn gitlab_gets_open_issues_each_with_a_fingerprint_of_its_own() {
    let envelope = envelope(vec![
        scanned("a", Severity::Critical, State::Open),
        scanned("a", Severity::Medium, State::Open),
        scanned("b", Severity::Critical, State::Suppressed),
        Finding::new(&codes::KEY_WEAK, "short"),
    ]);
    let issues: Value = serde_json::from_str(&written(Format::Gitlab, &envelope)).unwrap();
    let issues = issues.as_array().unwrap();
    assert_eq!(issues.len(), 3);
    assert_ne!(issues[0]["fingerprint"], issues[1]["fingerprint"]);
    assert_eq!(
        issues[0]["location"],
        json!({"path": "a", "lines": {"begin": 3}})
    );
    assert_eq!(issues[0]["check_name"], "example.token");
    let severities: Vec<&Value> = issues.iter().map(|issue| &issue["severity"]).collect();
    assert_eq!(severities, ["blocker", "critical", "major"]);
    assert_eq!(issues[1]["location"]["path"], ".");
}

#[test]
fn junit_counts_what_it_lists_and_a_clean_run_is_one_case_that_passed() {
    let envelope_of_four = envelope(vec![
        scanned("a", Severity::Critical, State::Open),
        scanned("b", Severity::Critical, State::Suppressed),
        Finding::new(&codes::FILE_UNREADABLE, "denied").at("c"),
        Finding::new(&codes::KEY_WEAK, "short"),
    ]);
    let text = written(Format::Junit, &envelope_of_four);
    assert!(text.contains(r#"tests="4" failures="1" errors="1" skipped="1" time="1.000""#));
    for (tag, count) in [
        ("<testcase ", 4),
        ("<failure ", 1),
        ("<error ", 1),
        ("<skipped ", 1),
    ] {
        assert_eq!(text.matches(tag).count(), count, "{tag}: {text}");
    }
    let text = written(Format::Junit, &envelope(Vec::new()));
    assert!(text.contains(r#"tests="1" failures="0""#));
    assert_eq!(text.matches("<testcase ").count(), 1);
}

#[test]
fn markdown_stays_within_its_bound_and_counts_what_it_left_out() {
    let findings = (0..20_000)
        .map(|number| scanned(&format!("{number:090}"), Severity::Low, State::Open))
        .collect();
    let envelope = envelope(findings);
    let explanations = BTreeMap::new();
    let document = Document {
        envelope: &envelope,
        headline: "",
        text: "",
        page: None,
        explanations: &explanations,
        fingerprints_last: true,
        directory: "/srv",
        labels: &BTreeMap::new(),
    };
    for bytes_max in [0, 300, 1_000, 10_000, MARKDOWN_BYTES_MAX] {
        let page = markdown(&document, bytes_max);
        assert!(page.len() <= bytes_max, "{} > {bytes_max}", page.len());
        let shown = page.matches("example.token").count();
        let told = page.ends_with(&format!("\n… and {} findings more.\n", 20_000 - shown));
        assert!(told || shown == 0, "{page}");
    }
    assert!(markdown(&document, MARKDOWN_BYTES_MAX).len() > MARKDOWN_BYTES_MAX - 1_000);
}

/// The records of a CSV text, read as RFC 4180 says.
fn records(text: &str) -> Vec<Vec<String>> {
    let mut records = vec![vec![String::new()]];
    let (mut characters, mut quoted) = (text.chars().peekable(), false);
    while let Some(character) = characters.next() {
        let record = records.last_mut().unwrap();
        match character {
            '"' if quoted && characters.peek() == Some(&'"') => {
                record.last_mut().unwrap().push('"');
                characters.next();
            }
            '"' => quoted = !quoted,
            ',' if !quoted => record.push(String::new()),
            '\r' if !quoted => {
                assert_eq!(characters.next(), Some('\n'));
                records.push(vec![String::new()]);
            }
            _ => record.last_mut().unwrap().push(character),
        }
    }
    assert!(!quoted);
    assert_eq!(records.pop().unwrap(), [""]);
    records
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        proptest::sample::select(&HOSTILE[..]).prop_map(str::to_owned),
        "[ -~\\PC\\n\\r\\t]{0,40}",
        "[`|\\\\<>&;=\"',:%\\[\\](){}@#*_ a-]{0,20}",
    ]
}

proptest! {
    #[test]
    fn csv_gives_back_every_text_and_no_formula(path in any_text(), message in any_text()) {
        let text = written(Format::Csv, &envelope(vec![finding(&path, &message)]));
        let records = records(&text);
        prop_assert_eq!(records.len(), 2);
        prop_assert_eq!(records[1].len(), records[0].len());
        for cell in &records[1] {
            prop_assert!(!cell.trim_start().starts_with(['=', '+', '-', '@', '\t', '\r']), "{}", cell);
        }
        let back = |cell: &str| cell.strip_prefix('\'').unwrap_or(cell).to_owned();
        let shown = |text: &str| back(&printable(text));
        prop_assert_eq!(back(&records[1][5]), shown(&path));
        prop_assert_eq!(back(&records[1][11]), shown(&message));
    }

    #[test]
    fn a_uri_decodes_to_its_path_and_is_nothing_else(path in any_text()) {
        let run = run(&envelope(vec![finding(&path, "x")]));
        let location = &run["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"];
        let uri = location["uri"].as_str().unwrap();
        let uri = uri.strip_prefix("file:///").unwrap_or(uri);
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._~/%".contains(c);
        prop_assert!(uri.chars().all(is_plain), "{}", uri);
        let mut bytes = Vec::new();
        let mut rest = uri.as_bytes();
        while let Some((first, more)) = rest.split_first() {
            if *first == b'%' {
                bytes.extend(hex::decode(&more[..2]).unwrap());
                rest = &more[2..];
            } else {
                bytes.push(*first);
                rest = more;
            }
        }
        let decoded = String::from_utf8(bytes).unwrap();
        let place = super::row::Place::of(&path, "/srv");
        prop_assert_eq!(decoded.as_str(), place.path().trim_start_matches('/'));
    }

    #[test]
    fn xml_has_our_own_tags_alone(path in any_text(), message in any_text(), hint in any_text()) {
        let text = written(Format::Junit, &envelope(vec![finding(&path, &message).with_hint(hint)]));
        // Two of each but the four that close themselves, the declaration first.
        prop_assert_eq!(text.matches('<').count(), 1 + 2 * 5 + 4, "{}", text);
        prop_assert_eq!(text.matches('<').count(), text.matches('>').count());
        for reference in text.split('&').skip(1) {
            let name = reference.split(';').next().unwrap();
            prop_assert!(["amp", "lt", "gt", "quot", "apos"].contains(&name), "{}", text);
        }
        let is_no_xml = text.contains(['\u{fffe}', '\u{ffff}', '\u{0}']);
        prop_assert!(!is_no_xml);
    }

    #[test]
    fn a_row_of_markdown_has_its_four_cells_and_closed_code(path in any_text(), message in any_text()) {
        let text = written(Format::Markdown, &envelope(vec![finding(&path, &message)]));
        let row = text.lines().find(|line| line.starts_with("| **critical**")).unwrap();
        prop_assert_eq!(row.matches('|').count(), 5, "{}", row);
        // Outside of code and of our own emphasis nothing but plain words is left.
        let mut outside = String::new();
        let mut rest = row;
        while let Some(at) = rest.find('`') {
            outside.push_str(&rest[..at]);
            let fence: String = rest[at..].chars().take_while(|c| *c == '`').collect();
            rest = &rest[at + fence.len()..];
            // A run of exactly so many backticks ends it.
            let runs = rest.match_indices(&*fence);
            let end = runs.map(|(end, _)| end).find(|end| {
                !rest[..*end].ends_with('`') && !rest[end + fence.len()..].starts_with('`')
            });
            rest = &rest[end.unwrap() + fence.len()..];
        }
        outside.push_str(rest);
        let outside = outside.replace("<code>", "").replace("</code>", "");
        prop_assert!(!outside.contains(['<', '>', '@', '[', ']', '`', '!', ':', '_']), "{}", outside);
    }
}

#[test]
fn markdown_begins_with_the_page_of_the_verb_or_shows_its_lines_and_tells_what_was_found() {
    let envelope = envelope(vec![scanned("a/b", Severity::High, State::Open)]);
    let explanations = BTreeMap::new();
    let mut document = Document {
        envelope: &envelope,
        headline: "2 of them",
        text: "  one ``` fence\n  \u{1b}[31mtwo\n",
        page: None,
        explanations: &explanations,
        fingerprints_last: true,
        directory: "/srv",
        labels: &BTreeMap::new(),
    };
    let page = markdown(&document, MARKDOWN_BYTES_MAX);
    let lines = "````text\n  one ``` fence\n  \\u{1b}[31mtwo\n````\n";
    assert!(
        page.starts_with("## agp ") && page.contains(lines),
        "{page}"
    );
    document.page = Some("# Its own\n");
    let page = markdown(&document, MARKDOWN_BYTES_MAX);
    let findings = "# Its own\n\n### Findings\n";
    assert!(page.starts_with(findings) && page.contains("a/b"), "{page}");
    assert!(!page.contains("fence"), "{page}");
    // Where it does not fit, the general head still says how it went.
    let long = "long ".repeat(1000);
    document.page = Some(&long);
    let page = markdown(&document, 3000);
    assert!(
        page.starts_with("## agp ") && page.contains("a/b"),
        "{page}"
    );
}

#[test]
fn a_page_stays_small_whatever_was_found_and_says_what_it_leaves_out() {
    let many = |count: usize| {
        let all = (0..count).map(|at| {
            finding(
                &format!("some/folder/of/files/number {at:06}.txt"),
                "content changed",
            )
        });
        written(Format::Html, &envelope(all.collect()))
    };
    let page = many(10_000);
    assert!(page.len() <= 300_000, "{} bytes", page.len());
    assert!(
        page.contains(" more.</p>") && page.contains("<code>--report json=FILE</code> has all")
    );
    let (_, data) = page.split_once("id=\"agp-report\">").unwrap();
    let data: Value = serde_json::from_str(data.split_once("</script>").unwrap().0).unwrap();
    let kept = data["findings"].as_array().unwrap().len();
    assert!((200..10_000).contains(&kept), "{kept}");
    let page = many(100);
    assert!(!page.contains(" more.</p>") && !page.contains("has all"));
}
