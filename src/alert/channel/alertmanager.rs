//! What holds now, as an Alertmanager takes it: every run says it again, and the next clean one says that it
//! is over.
//!
//! Labels are what an alert is told by, so they stay the same from run to run; whatever changes is an
//! annotation.

use std::time::Instant;

use serde_json::{Value, json};

use super::super::message::{Happened, Message};
use super::super::spool::Entry;
use super::{Surroundings, Trouble, http};
use crate::base::clock::{self, Timestamp};
use crate::base::event::Event;
use crate::base::severity::Severity;

/// Where alerts are posted.
const PATH: &str = "/api/v2/alerts";
/// Findings that an annotation shows.
const FINDINGS_MAX: usize = 10;

/// An Alertmanager.
pub(super) struct Alertmanager {
    address: http::Address,
    ttl_seconds: i64,
}

impl Alertmanager {
    pub(super) fn new(address: http::Address, ttl_seconds: u64) -> Self {
        Self {
            address: address.below(PATH),
            ttl_seconds: i64::try_from(ttl_seconds).unwrap_or(i64::MAX),
        }
    }

    pub(super) fn send(
        &self,
        entry: &Entry,
        (surroundings, until): (&Surroundings, Instant),
    ) -> Result<(), Trouble> {
        // Counted from the moment of sending: what waited in the spool is not over by that.
        let now = clock::now();
        let body = alerts(entry, (now, self.ttl_seconds)).to_string();
        let post = http::Post {
            address: &self.address,
            body: body.as_bytes(),
            headers: &|_| Vec::new(),
            until,
        };
        http::post(&post, surroundings)
    }
}

fn alerts(entry: &Entry, (now, ttl_seconds): (Timestamp, i64)) -> Value {
    let message = &entry.message;
    let over = entry.over.iter().map(|(event, severity)| {
        json!({"labels": labels(message, (*event, *severity)), "endsAt": now.to_string()})
    });
    // What is only tried passes in a minute.
    let ttl_seconds = if message.test { 60 } else { ttl_seconds };
    let holding = message.events.iter().map(|happened| {
        json!({
            "labels": labels(message, (happened.event, happened.severity)),
            "annotations": annotations(message, happened),
            "endsAt": now.plus_seconds(ttl_seconds).to_string(),
        })
    });
    over.chain(holding).collect()
}

fn labels(message: &Message, (event, severity): (Event, Severity)) -> Value {
    json!({
        "alertname": name(message.test, event),
        "severity": severity.word(),
        "tool": message.tool.name,
        "command": message.command,
        "target": message.target,
        "repository": message.repository,
    })
}

/// `AgpPolicyViolation`.
fn name(is_test: bool, event: Event) -> String {
    if is_test {
        return "AgpTest".into();
    }
    let words = event.word().split('_').map(|word| {
        let (first, rest) = word.split_at(1);
        first.to_uppercase() + rest
    });
    format!("Agp{}", words.collect::<String>())
}

fn annotations(message: &Message, happened: &Happened) -> Value {
    let shown = happened.findings.iter().take(FINDINGS_MAX);
    let mut lines: Vec<String> = shown.map(|finding| finding.in_words()).collect();
    let left_out = happened.left_out(FINDINGS_MAX);
    if left_out > 0 {
        lines.push(format!("and {left_out} more"));
    }
    json!({
        "summary": message.title(),
        "description": lines.join("\n"),
        "headline": message.headline,
        "findings_total": happened.findings_total.to_string(),
        "exit_code": message.exit_code.to_string(),
        "host": message.host,
        "run_id": message.run_id,
        "occurred_at": message.occurred_at.to_string(),
        "message_id": message.id,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_words_of_their_events() {
        let names = Event::ALL.map(|event| name(false, event));
        assert_eq!(
            names,
            [
                "AgpPerformanceRegression",
                "AgpResourceExhaustion",
                "AgpPolicyViolation",
                "AgpIntegrityFailure",
                "AgpRollback"
            ]
        );
    }
}
