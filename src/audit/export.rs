//! Translating records for other systems: Elastic Common Schema, and syslog (RFC 5424).
//!
//! A table each; whatever stands in a user's or a file's name stays inside its field and its line.

use std::io::{self, Write};

use serde_json::{Map, Value, json};

use super::record::{Outcome, Record};
use super::show::{ShowRequest, Shown, show};
use super::store::ReadError;
use crate::base::units;

/// The form of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Elastic Common Schema, one JSON object a line.
    Ecs,
    /// RFC 5424, one message a line.
    Syslog,
}

/// Writes each record that passes in another system's form, one a line, the oldest first.
///
/// # Errors
/// Files that cannot be read, and those of the sink.
pub fn export(
    request: &ShowRequest<'_>,
    format: Format,
    out: &mut dyn Write,
) -> Result<Shown, ReadError> {
    show(request, &mut |record| match format {
        Format::Ecs => {
            serde_json::to_writer(&mut *out, &to_ecs(record))?;
            out.write_all(b"\n")
        }
        Format::Syslog => write_syslog(out, record),
    })
}

/// The version of the Elastic Common Schema whose fields are used.
const ECS_VERSION: &str = "8.11.0";

/// By how an event begins: its `event.category` and `event.type`. The first that fits counts.
const ECS_CATEGORIES: [(&str, &str, &str); 8] = [
    ("integrity.sign", "file", "creation"),
    ("integrity.", "file", "access"),
    ("guard.", "file", "access"),
    ("rollback.", "file", "change"),
    ("budget.", "file", "info"),
    ("audit.", "configuration", "info"),
    ("policy.", "configuration", "info"),
    ("", "process", "info"),
];

/// A record in the Elastic Common Schema. What has no field there stands under `labels` (text)
/// and `agp` (the rest).
fn to_ecs(record: &Record) -> Value {
    let fits = |row: &&(&str, &str, &str)| record.event.starts_with(row.0);
    let (_, category, kind) = ECS_CATEGORIES
        .iter()
        .find(fits)
        .unwrap_or(&ECS_CATEGORIES[7]);
    let ci = record.actor.ci.as_ref();
    let file = record.resources.first();
    let details: Value = serde_json::from_str(record.details.get()).unwrap_or_default();
    let rules: Vec<&str> = record
        .policy
        .iter()
        .map(|decision| decision.rule.as_str())
        .collect();
    let mut document = json!({
        "@timestamp": record.timestamp,
        "ecs": {"version": ECS_VERSION},
        "event": {
            "action": record.event, "category": [category], "dataset": "agp.audit",
            "end": record.ended_at, "kind": "event", "module": "agp",
            "outcome": record.outcome, "sequence": record.sequence,
            "start": record.started_at, "type": [kind],
        },
        "file": {"path": file.map(|file| &file.path), "hash": {"sha256": file.map(|file| file.sha256)}},
        "host": {"name": record.actor.host},
        "labels": {
            "ci_actor": ci.map(|ci| &ci.actor), "ci_provider": ci.map(|ci| &ci.provider),
            "ci_ref": ci.map(|ci| &ci.r#ref), "ci_run_id": ci.map(|ci| &ci.run_id),
            "key_id": record.key_id, "log_id": record.log_id, "mac": record.mac,
            "previous": record.previous, "record_version": record.version,
        },
        "message": sentence(record),
        "process": {"exit_code": record.exit_code, "pid": record.actor.pid},
        "rule": {"name": rules},
        "user": {"id": record.actor.uid.to_string(), "name": record.actor.user},
    });
    drop_empty(&mut document);
    if let Value::Object(members) = &mut document {
        let mut own = Map::new();
        own.insert("details".into(), details);
        own.insert("policy".into(), json!(record.policy));
        own.insert("resources".into(), json!(record.resources));
        members.insert("agp".into(), own.into());
    }
    document
}

/// Removes nulls and what is empty without them.
fn drop_empty(value: &mut Value) {
    if let Value::Object(members) = value {
        members.values_mut().for_each(drop_empty);
        members.retain(|_, member| match member {
            Value::Null => false,
            Value::Object(inner) => !inner.is_empty(),
            Value::Array(inner) => !inner.is_empty(),
            _ => true,
        });
    }
}

/// One sentence for people, of words that this program chose.
fn sentence(record: &Record) -> String {
    let event = printable_ascii(&record.event, 100);
    let outcome = record.outcome.word();
    match record.exit_code {
        Some(code) => format!("{event}: {outcome}, exit code {code}"),
        None => format!("{event}: {outcome}"),
    }
}

/// Facility 13 of RFC 5424, table 1: log audit.
const FACILITY: u8 = 13;
/// The structured data's name; 32473 is the number for use without one of one's own (RFC 5612).
const SD_ID: &str = "agp@32473";
/// The most resources, and rules, in one message; their whole number is stated.
const SYSLOG_LISTED_MAX: usize = 16;

/// Severity of RFC 5424, table 2: warning, notice, informational.
fn severity(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Failure => 4,
        Outcome::Unknown => 5,
        Outcome::Success => 6,
    }
}

/// Writes `<PRI>1 TIMESTAMP HOSTNAME APP-NAME PROCID MSGID [SD] MSG`.
fn write_syslog(out: &mut dyn Write, record: &Record) -> io::Result<()> {
    let priority = FACILITY * 8 + severity(record.outcome);
    let host = printable_ascii(&record.actor.host, 255);
    let event = printable_ascii(&record.event, 32);
    let (time, pid) = (&record.timestamp, record.actor.pid);
    write!(
        out,
        "<{priority}>1 {time} {host} agp {pid} {event} [{SD_ID}"
    )?;
    let optional =
        |digest: Option<_>| digest.map(|digest: crate::base::digest::Digest| digest.to_string());
    let actor = &record.actor;
    let ci = actor.ci.as_ref();
    for (name, value) in [
        ("log_id", Some(record.log_id.clone())),
        ("sequence", Some(record.sequence.to_string())),
        ("outcome", Some(record.outcome.word().to_owned())),
        ("exit_code", record.exit_code.map(|code| code.to_string())),
        ("started_at", Some(record.started_at.clone())),
        ("ended_at", record.ended_at.clone()),
        ("user", Some(actor.user.clone())),
        ("uid", Some(actor.uid.to_string())),
        ("ci_provider", ci.map(|ci| ci.provider.clone())),
        ("ci_run_id", ci.and_then(|ci| ci.run_id.clone())),
        ("ci_actor", ci.and_then(|ci| ci.actor.clone())),
        ("ci_ref", ci.and_then(|ci| ci.r#ref.clone())),
        ("key_id", record.key_id.clone()),
        ("previous", optional(record.previous)),
        ("mac", optional(record.mac)),
        ("resources", Some(record.resources.len().to_string())),
        ("decisions", Some(record.policy.len().to_string())),
    ] {
        if let Some(value) = value {
            write!(out, " {name}=\"{}\"", parameter(&value))?;
        }
    }
    for resource in record.resources.iter().take(SYSLOG_LISTED_MAX) {
        write!(
            out,
            " {}=\"{}\"",
            printable_ascii(&resource.access, 32),
            parameter(&resource.path)
        )?;
    }
    for decision in record.policy.iter().take(SYSLOG_LISTED_MAX) {
        let text = format!("{}={}", decision.rule, decision.decision);
        write!(out, " rule=\"{}\"", parameter(&text))?;
    }
    // ASCII, so that no byte order mark is asked for (RFC 5424 §6.4).
    writeln!(out, "] {}", sentence(record))
}

/// A parameter's value (RFC 5424 §6.3.3): control and bidi characters spelled out, then `"`, `\`
/// and `]` escaped.
fn parameter(text: &str) -> String {
    let mut value = String::with_capacity(text.len());
    for character in units::printable(text).chars() {
        if matches!(character, '"' | '\\' | ']') {
            value.push('\\');
        }
        value.push(character);
    }
    value
}

/// A header field or a name: printable ASCII without what ends names, shortened; `-` for nothing.
fn printable_ascii(text: &str, characters_max: usize) -> String {
    let safe = |character: char| match character {
        '=' | ']' | '"' => '_',
        _ if character.is_ascii_graphic() => character,
        _ => '_',
    };
    match text {
        "" => "-".to_owned(),
        _ => text.chars().take(characters_max).map(safe).collect(),
    }
}
