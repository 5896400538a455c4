//! SARIF 2.1.0 (OASIS) as GitHub code scanning and other viewers read it: one run, paths below
//! `SRCROOT`, the worst results first.
//!
//! `primaryLocationLineHash` is left to the uploading action, which computes it from the source and
//! complains of any other value.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::Document;
use super::row::{Place, Row};
use crate::base::severity::Severity;
use crate::base::units::{self, printable};
use crate::report::{Category, Confidence, State, Verdict};

/// The most results: as many as GitHub code scanning shows.
const RESULTS_MAX: usize = 5_000;
/// The published schema.
const SCHEMA: &str = "https://json.schemastore.org/sarif-2.1.0.json";
/// Where the project's pages are; empty while `Cargo.toml` names no repository.
const REPOSITORY: &str = env!("CARGO_PKG_REPOSITORY");

/// The whole log.
pub(super) fn sarif(document: &Document<'_>) -> Value {
    let envelope = document.envelope;
    // What is about no file and fails nothing is about the run, not about what was looked at.
    let (results, mut notices): (Vec<Row<'_>>, Vec<Row<'_>>) =
        document.rows().into_iter().partition(is_result);
    let left_out = results.len().saturating_sub(RESULTS_MAX);
    let results = &results[..results.len().min(RESULTS_MAX)];
    notices.truncate(RESULTS_MAX);
    let rules = Rules::of(document, results.iter().chain(&notices));
    let mut notifications: Vec<Value> = notices.iter().map(|row| rules.notification(row)).collect();
    if left_out > 0 {
        notifications.push(json!({
            "level": "warning",
            "message": {"text": format!("{} left out: the {RESULTS_MAX} worst are shown.", units::count(left_out as u64, "result"))},
        }));
    }
    let results: Vec<Value> = results
        .iter()
        .map(|row| rules.result(document, row))
        .collect();
    let answered = envelope.verdict != Verdict::Error.word();
    json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "automationDetails": {"id": format!("agp/{}/", envelope.report)},
            "columnKind": "unicodeCodePoints",
            "invocations": [{
                "endTimeUtc": envelope.finished_at,
                "executionSuccessful": answered,
                "exitCode": envelope.exit_code,
                "startTimeUtc": envelope.started_at,
                "toolExecutionNotifications": notifications,
            }],
            "originalUriBaseIds": {
                "SRCROOT": {"description": {"text": "The directory in which the command ran."}},
            },
            "properties": {
                "policy": envelope.policy,
                "runId": envelope.run_id,
                "verdict": envelope.verdict,
            },
            "results": results,
            "tool": {"driver": driver(document, &rules)},
        }],
    })
}

fn is_result(row: &Row<'_>) -> bool {
    let proven = [Verdict::Fail, Verdict::Regression, Verdict::Violation];
    row.place.is_some() || proven.contains(&row.finding.verdict)
}

fn driver(document: &Document<'_>, rules: &Rules) -> Value {
    let mut driver = json!({
        "name": "agp",
        "fullName": "Asset Governance Pipeline",
        "semanticVersion": document.envelope.tool.version,
        "version": document.envelope.tool.version,
        "rules": rules.descriptors,
    });
    if !REPOSITORY.is_empty() {
        driver["informationUri"] = json!(REPOSITORY);
    }
    driver
}

/// The rules that results name, by id and by their place in the log.
struct Rules {
    descriptors: Vec<Value>,
    places: BTreeMap<String, usize>,
}

impl Rules {
    fn of<'r, 'a: 'r>(
        document: &Document<'a>,
        rows: impl Iterator<Item = &'r Row<'a>> + Clone,
    ) -> Self {
        let mut by_rule: BTreeMap<&str, Vec<&Row<'_>>> = BTreeMap::new();
        for row in rows {
            by_rule.entry(row.rule_id()).or_default().push(row);
        }
        let places = by_rule.keys().enumerate();
        let places = places
            .map(|(place, id)| ((*id).to_owned(), place))
            .collect();
        let descriptors = by_rule.iter();
        let descriptors = descriptors
            .map(|(id, rows)| descriptor(document, id, rows))
            .collect();
        Self {
            descriptors,
            places,
        }
    }

    fn result(&self, document: &Document<'_>, row: &Row<'_>) -> Value {
        let mut result = json!({
            "level": level(row.finding.severity),
            "locations": [location(document, row)],
            "message": {"text": message(&row.text())},
            "partialFingerprints": fingerprints(row),
            "properties": properties(row),
            "ruleId": row.rule_id(),
            "suppressions": suppressions(row),
        });
        if let Some(place) = self.places.get(row.rule_id()) {
            result["ruleIndex"] = json!(place);
        }
        result
    }

    fn notification(&self, row: &Row<'_>) -> Value {
        let mut notification = json!({
            "level": level(row.finding.severity),
            "message": {"text": message(&row.text())},
        });
        if let Some(place) = self.places.get(row.rule_id()) {
            notification["associatedRule"] = json!({"id": row.rule_id(), "index": place});
        }
        notification
    }
}

/// What the log says of a rule.
fn descriptor(document: &Document<'_>, id: &str, rows: &[&Row<'_>]) -> Value {
    let explanation = document.explanations.get(id);
    let code = rows.first().map(|row| row.finding.code);
    let meaning = code.map_or("", |code| code.meaning);
    let remedy = code.map_or("", |code| code.remedy);
    let (title, why, fix) = match explanation {
        Some(known) => (&*known.title, &*known.why, &*known.fix),
        None => (meaning, "", remedy),
    };
    let severities = rows.iter().map(|row| row.finding.severity);
    let severity = match explanation {
        Some(known) => known.severity,
        None => severities.max().unwrap_or(Severity::Info),
    };
    let details = || rows.iter().filter_map(|row| row.finding.detail.as_deref());
    let categories: BTreeSet<&str> = details().map(|detail| detail.category.word()).collect();
    let mut tags = vec!["security"];
    tags.extend(categories);
    let confidence = details().map(|detail| detail.confidence).max();
    let mut properties = json!({"precision": precision(confidence), "tags": tags});
    if let Some(number) = security_severity(severity) {
        properties["security-severity"] = json!(number);
    }
    let sentences = [title, why, fix].map(sentence);
    let text: Vec<&str> = sentences
        .iter()
        .map(String::as_str)
        .filter(|text| !text.is_empty())
        .collect();
    let mut descriptor = json!({
        "defaultConfiguration": {"level": level(severity)},
        "fullDescription": {"text": text[..text.len().min(2)].join(" ")},
        "help": {"text": text.join("\n\n"), "markdown": text.join("\n\n")},
        "id": id,
        "properties": properties,
        "shortDescription": {"text": sentences[0]},
    });
    let category = details().map(|detail| detail.category).next();
    if let Some(uri) = help_uri(REPOSITORY, id, category) {
        descriptor["helpUri"] = json!(uri);
    }
    descriptor
}

/// A text that ends as sentences do; empty stays empty.
fn sentence(text: &str) -> String {
    let text = printable(text.trim());
    match text.ends_with(['.', '!', '?']) || text.is_empty() {
        true => text.into_owned(),
        false => format!("{text}."),
    }
}

/// The page about a rule or a code, where the project has a home.
fn help_uri(repository: &str, id: &str, category: Option<Category>) -> Option<String> {
    let family = id.split('.').next().unwrap_or_default();
    let page = match category {
        Some(_) => format!("docs/rules/{}.md", encoded(family)),
        None => "docs/findings.md".to_owned(),
    };
    (!repository.is_empty()).then(|| format!("{repository}/blob/HEAD/{page}"))
}

fn location(document: &Document<'_>, row: &Row<'_>) -> Value {
    let place = row.place.clone();
    let artifact = match place.unwrap_or_else(|| document.place_of_none()) {
        Place::Below(path) => json!({"uri": encoded(&path), "uriBaseId": "SRCROOT"}),
        Place::Elsewhere(path) => json!({"uri": format!("file://{}", encoded(&path))}),
    };
    // Code scanning wants a line even where a whole file is meant.
    let mut region = json!({"startLine": row.line().unwrap_or(1)});
    if let Some(column) = row.column() {
        region["startColumn"] = json!(column);
    }
    if let Some(line) = row.end_line() {
        region["endLine"] = json!(line);
    }
    let mut location = json!({
        "physicalLocation": {"artifactLocation": artifact, "region": region},
    });
    if let Some(member) = row.member() {
        location["logicalLocations"] =
            json!([{"fullyQualifiedName": printable(member), "kind": "member"}]);
    }
    location
}

fn fingerprints(row: &Row<'_>) -> Value {
    let mut fingerprints = json!({"agpFinding/v1": row.identity});
    if let Some(value) = row.fingerprint {
        fingerprints["agpValue/v1"] = json!(value);
    }
    fingerprints
}

fn properties(row: &Row<'_>) -> Value {
    let mut properties = Map::new();
    properties.insert("severity".into(), json!(row.finding.severity));
    if let Some(hint) = &row.finding.hint {
        properties.insert("hint".into(), json!(printable(hint)));
    }
    if let Some(detail) = row.finding.detail.as_deref() {
        properties.insert("category".into(), json!(detail.category));
        properties.insert("confidence".into(), json!(detail.confidence));
        properties.insert("decoded".into(), json!(detail.decoded));
        properties.insert("wouldFail".into(), json!(detail.would_fail));
    }
    Value::Object(properties)
}

/// Who has accepted a result; empty where nobody has.
fn suppressions(row: &Row<'_>) -> Value {
    let detail = row.finding.detail.as_deref();
    let kind = match detail.map(|detail| detail.state) {
        None | Some(State::Open) => return json!([]),
        Some(State::Baseline) => "external",
        Some(State::Suppressed) => "inSource",
    };
    let mut suppression = json!({"kind": kind, "status": "accepted"});
    if let Some(reason) = detail.and_then(|detail| detail.reason.as_deref()) {
        suppression["justification"] = json!(printable(reason));
    }
    json!([suppression])
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical | Severity::High => "error",
        Severity::Medium => "warning",
        Severity::Low | Severity::Info => "note",
    }
}

/// In the middle of the range that GitHub reads as that severity; below all of them there is none.
fn security_severity(severity: Severity) -> Option<&'static str> {
    match severity {
        Severity::Critical => Some("9.5"),
        Severity::High => Some("8.0"),
        Severity::Medium => Some("5.5"),
        Severity::Low => Some("2.0"),
        Severity::Info => None,
    }
}

/// In GitHub's words; what needs no rule is a fact.
fn precision(confidence: Option<Confidence>) -> &'static str {
    match confidence {
        None => "very-high",
        Some(Confidence::High) => "high",
        Some(Confidence::Medium) => "medium",
        Some(Confidence::Low) => "low",
    }
}

/// A text as a plain message: no link of a reader's making (§3.11.6), no placeholder (§3.11.5).
fn message(text: &str) -> String {
    let mut message = match text.contains("](") {
        true => text
            .replace('\\', "\\\\")
            .replace('[', "\\[")
            .replace(']', "\\]"),
        false => text.to_owned(),
    };
    let is_placeholder = |text: &str| {
        let braced = text.split('{').skip(1);
        braced
            .filter_map(|rest| rest.split_once('}'))
            .any(|(number, _)| {
                !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
            })
    };
    if is_placeholder(&message) {
        message = message.replace('{', "{{").replace('}', "}}");
    }
    message
}

/// A path as a relative URI reference (RFC 3986): whatever is not unreserved is percent-encoded,
/// so that no name can become a scheme, a query or a fragment.
fn encoded(path: &str) -> String {
    let mut uri = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                uri.push(char::from(byte));
            }
            _ => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_links_to_the_page_of_the_family_once_there_is_a_home() {
        let home = "https://example.org/agp";
        let secret = Some(Category::Secret);
        for (repository, id, category, expected) in [
            ("", "github.pat", secret, None),
            (
                home,
                "github.pat",
                secret,
                Some("https://example.org/agp/blob/HEAD/docs/rules/github.md"),
            ),
            (
                home,
                "file.modified",
                None,
                Some("https://example.org/agp/blob/HEAD/docs/findings.md"),
            ),
        ] {
            assert_eq!(help_uri(repository, id, category).as_deref(), expected);
        }
    }

    #[test]
    fn a_message_holds_neither_links_nor_placeholders() {
        for (text, expected) in [
            ("plain [a] {b} \\", "plain [a] {b} \\"),
            ("[a](http://b)", "\\[a\\](http://b)"),
            ("{0} {x}", "{{0}} {{x}}"),
            ("a {{12} ", "a {{{{12}} "),
            ("{}", "{}"),
        ] {
            assert_eq!(message(text), expected);
        }
    }

    #[test]
    fn a_uri_keeps_unreserved_characters_alone() {
        assert_eq!(encoded("a b/ü#?:%.~-_"), "a%20b/%C3%BC%23%3F%3A%25.~-_");
    }
}
