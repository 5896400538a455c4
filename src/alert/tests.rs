//! Whom a run tells what, when it repeats itself, and what the spool keeps: everything that needs no receiver.

#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use serde_json::json;

use super::message::{Facts, Happening, Message, happenings, short};
use super::route;
use super::spool::{Entry, Spool, SpoolError, WAITING_MAX};
use super::told::{Moment, Told};
use crate::base::clock::Timestamp;
use crate::base::event::Event;
use crate::base::severity::Severity;
use crate::policy::Alerts;
use crate::report::{Code, Finding, codes};

const NOW: &str = "2026-11-25T12:00:00Z";

fn now() -> Timestamp {
    Timestamp::parse(NOW).unwrap()
}

fn finding(code: &'static Code, path: &str) -> Finding {
    Finding::new(code, "something").at(path)
}

fn facts(findings: &[Finding]) -> Facts<'_> {
    Facts {
        run_id: "00",
        occurred_at: now(),
        command: "guard",
        target: "tree",
        repository: "game",
        host: "here",
        verdict: "fail",
        exit_code: 19,
        headline: "one",
        findings,
        is_complete: true,
        is_test: false,
    }
}

fn message(findings: &[Finding]) -> Message {
    facts(findings).message("hook", &happenings(findings))
}

#[test]
fn findings_become_events_each_once_with_the_worst_first() {
    let findings = [
        finding(&codes::FILE_MISSING, "a"),
        finding(&codes::KEY_WEAK, "b"),
        finding(&codes::FILE_MODIFIED, "c"),
        finding(&codes::RUN_ROLLED_BACK, "d"),
    ];
    let found = happenings(&findings);
    let events: Vec<Event> = found.iter().map(|happening| happening.event).collect();
    assert_eq!(events, [Event::IntegrityFailure, Event::Rollback]);
    let message = message(&findings);
    assert_eq!(message.severity, Severity::Critical);
    let integrity = &message.events[0];
    assert_eq!(
        (
            integrity.findings_total,
            integrity.findings[0].path.as_deref()
        ),
        (2, Some("c"))
    );
    assert_eq!(
        integrity.counts,
        BTreeMap::from([("critical".into(), 1), ("high".into(), 1)])
    );
    assert!(found[1].from(Severity::Critical).is_none());
    assert_eq!(found[0].from(Severity::Critical).unwrap().kinds().len(), 1);
}

#[test]
fn a_message_fits_into_a_pipe_whatever_was_found() {
    let long = format!("{}\u{1b}\u{202e}\n", "\u{202e}".repeat(5000));
    let mut findings = Vec::new();
    for code in codes::ALL {
        findings.extend((0..200).map(|_| {
            Finding::new(code, long.clone())
                .at(long.clone())
                .with_hint(long.clone())
        }));
    }
    let facts = Facts {
        target: &long,
        headline: &long,
        repository: &long,
        ..facts(&findings)
    };
    let happened = happenings(&findings);
    assert_eq!(happened.len(), Event::ALL.len());
    let message = facts.message("hook", &happened);
    let text = serde_json::to_string(&message).unwrap();
    assert!(text.len() < 60 << 10, "{}", text.len());
    assert!(!text.contains('\u{202e}') && !text.contains("\\n") && !text.contains("\\u001b"));
    assert!(message.events.iter().all(|one| !one.findings.is_empty()));
}

#[test]
fn what_is_cut_is_shown_and_never_too_long() {
    for (text, chars_max, expected) in [
        ("abc", 3, "abc"),
        ("abcd", 3, "ab…"),
        ("äöü", 3, "äöü"),
        ("a\nb", 4, "a\\nb"),
        ("a\nbc", 4, "a\\n…"),
        ("", 3, ""),
    ] {
        assert_eq!(short(text, chars_max), expected);
    }
}

#[test]
fn identifiers_differ_by_run_and_channel_and_fingerprints_by_what_it_is_about() {
    let findings = [finding(&codes::FILE_MODIFIED, "a")];
    let first = facts(&findings);
    let happened = happenings(&findings);
    let id = |facts: &Facts<'_>, channel| facts.message(channel, &happened).id;
    assert_eq!(id(&first, "a"), id(&first, "a"));
    assert_ne!(id(&first, "a"), id(&first, "b"));
    assert_ne!(
        id(&first, "a"),
        id(
            &Facts {
                run_id: "01",
                ..first
            },
            "a"
        )
    );
    let fingerprint =
        |facts: &Facts<'_>| facts.message("a", &happened).events[0].fingerprint.clone();
    assert_eq!(
        fingerprint(&first),
        fingerprint(&Facts {
            run_id: "01",
            host: "there",
            ..first
        })
    );
    assert_ne!(
        fingerprint(&first),
        fingerprint(&Facts {
            target: "other",
            ..first
        })
    );
    assert_ne!(
        first.scope(),
        Facts {
            command: "guardt",
            target: "ree",
            ..first
        }
        .scope()
    );
}

#[test]
fn a_channel_hears_what_its_routes_say() {
    let alerts: Alerts = serde_json::from_value(json!({
        "channels": {"a": {"type": "command", "argv": ["a"]}, "b": {"type": "command", "argv": ["b"]}},
        "routes": [
            {"channels": ["a"]},
            {"channels": ["a"], "events": ["rollback"], "severity_min": "low"},
        ],
    }))
    .unwrap();
    for (channel, event, expected) in [
        ("a", Event::PolicyViolation, Some(Severity::High)),
        ("a", Event::Rollback, Some(Severity::Low)),
        ("b", Event::Rollback, None),
    ] {
        assert_eq!(route::severity_min(&alerts, (channel, event)), expected);
    }
    assert!(route::is_used(&alerts, "a") && !route::is_used(&alerts, "b"));
    assert_eq!(alerts.channels["a"].ttl_seconds, 90_000);
}

/// Which events a channel hears at a moment.
fn heard(told: &mut Told, findings: &[Finding], seconds: i64) -> Vec<Event> {
    let moment = Moment {
        now: now().plus_seconds(seconds),
        repeat_interval_seconds: 100,
        scope: "s",
        is_complete: true,
    };
    let sifted = told.sift("a", happenings(findings), moment);
    sifted.iter().map(|happening| happening.event).collect()
}

#[test]
fn the_same_thing_is_told_once_an_interval_unless_it_gets_worse() {
    let one = [finding(&codes::FILE_MISSING, "a")];
    let worse = [finding(&codes::FILE_MODIFIED, "a")];
    let moved = [finding(&codes::FILE_MISSING, "a").on_line(9)];
    let more = [
        finding(&codes::FILE_MISSING, "a"),
        finding(&codes::FILE_MISSING, "a"),
    ];
    let other = [finding(&codes::FILE_MISSING, "b")];
    let event = [Event::IntegrityFailure];
    for (next, seconds, expected) in [
        (&one[..], 50, &[][..]),
        (&one, 99, &[]),
        (&one, 100, &event),
        (&moved, 50, &[]),
        (&worse, 50, &event),
        (&more, 50, &event),
        (&other, 50, &event),
        (&[], 50, &[]),
        // A clock that was set back silences nobody.
        (&one, -1, &event),
        (&one, -1_000_000, &event),
        (&one, 1_000_000_000, &event),
    ] {
        let mut told = Told::default();
        assert_eq!(heard(&mut told, &one, 0), event);
        assert_eq!(
            heard(&mut told, next, seconds),
            expected,
            "{seconds}: {next:?}"
        );
    }
    // What was told last counts, not what was seen last; and what is over may come back in silence.
    let mut told = Told::default();
    assert_eq!(heard(&mut told, &more, 0), event);
    for (findings, seconds) in [(&one[..], 10), (&[], 20), (&more, 30)] {
        assert_eq!(heard(&mut told, findings, seconds), [], "{seconds}");
    }
}

#[test]
fn an_alertmanager_hears_everything_and_what_is_over() {
    let mut told = Told::default();
    let high = [finding(&codes::FILE_MISSING, "a")];
    let critical = [finding(&codes::FILE_MODIFIED, "a")];
    let mut follow = |findings: &[Finding], (scope, is_complete)| {
        let moment = Moment {
            now: now(),
            repeat_interval_seconds: 100,
            scope,
            is_complete,
        };
        let happened: Vec<Happening<'_>> = happenings(findings);
        told.follow("am", &happened, moment)
    };
    let event = Event::IntegrityFailure;
    for (findings, about, expected) in [
        (&high[..], ("s", true), vec![]),
        (&high, ("s", true), vec![]),
        // Another severity is another alert.
        (&critical, ("s", true), vec![(event, Severity::High)]),
        (&[], ("other", true), vec![]),
        (&[], ("s", false), vec![]),
        (&[], ("s", true), vec![(event, Severity::Critical)]),
        (&[], ("s", true), vec![]),
    ] {
        assert_eq!(follow(findings, about), expected, "{about:?} {findings:?}");
    }
    told.forget(now());
    assert_eq!(told, Told::default());
}

/// A spool with one message that waits.
fn spool(folder: &tempfile::TempDir) -> (Spool, Entry) {
    let spool = Spool::at(&folder.path().join("spool"));
    assert!(!spool.exists().unwrap());
    spool.create().unwrap();
    let entry = Entry::new(
        "a/../b",
        message(&[finding(&codes::FILE_MISSING, "a")]),
        Vec::new(),
    );
    assert_eq!(spool.add(&entry).unwrap(), 0);
    (spool, entry)
}

#[test]
fn messages_wait_in_the_order_in_which_they_came_and_not_without_end() {
    let folder = tempfile::tempdir().unwrap();
    let (spool, first) = spool(&folder);
    let mut second = first.clone();
    second.message.id = "second".into();
    assert_eq!(spool.add(&second).unwrap(), 0);
    let waiting = spool.waiting("a/../b").unwrap();
    let read: Vec<Entry> = waiting
        .iter()
        .map(|path| spool.read(path, "a/../b").unwrap())
        .collect();
    assert_eq!(read, [first.clone(), second]);
    assert_eq!(spool.waiting("c").unwrap().len(), 0);
    for _ in 2..WAITING_MAX {
        assert_eq!(spool.add(&first).unwrap(), 0);
    }
    assert_eq!(spool.add(&first).unwrap(), 1);
    assert_eq!(spool.waiting("a/../b").unwrap().len(), WAITING_MAX);
    assert!(
        !waiting[0].exists() && waiting[1].exists(),
        "the oldest goes"
    );
}

#[test]
fn a_message_is_given_up_after_a_week_of_vain_attempts_and_not_by_a_clock_alone() {
    let (_, entry) = spool(&tempfile::tempdir().unwrap());
    let day = 86_400;
    for (days, goes_on) in [
        (-900, true),
        (0, true),
        (7, true),
        (8, false),
        (36_500, false),
    ] {
        let then = now().plus_seconds(days * day);
        assert_eq!(entry.clone().tried(then), goes_on, "{days}");
    }
    let mut entry = entry;
    let attempts = (0..).take_while(|_| entry.tried(now())).count();
    assert_eq!(attempts, 999);
}

#[test]
fn a_spool_is_private_and_believes_only_what_is() {
    let folder = tempfile::tempdir().unwrap();
    let (spool, _) = spool(&folder);
    let path = spool.waiting("a/../b").unwrap().remove(0);
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(path.parent().unwrap()), mode(&path)), (0o700, 0o600));
    assert!(matches!(
        spool.read(&path, "other"),
        Err(SpoolError::Damaged { .. })
    ));
    let set = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    set(&path, 0o640);
    assert!(matches!(
        spool.read(&path, "a/../b"),
        Err(SpoolError::Damaged { .. })
    ));
    spool.set_aside(&path).unwrap();
    assert_eq!(spool.waiting("a/../b").unwrap().len(), 0);
    set(path.parent().unwrap(), 0o770);
    assert!(spool.exists().is_err() && spool.create().is_err());
}

#[test]
fn a_lock_that_others_hold_is_waited_for_in_bounds() {
    let folder = tempfile::tempdir().unwrap();
    let (spool, _) = spool(&folder);
    let soon = || Instant::now() + Duration::from_millis(50);
    let held = spool.lock_channel("a", soon()).unwrap();
    assert!(matches!(
        spool.lock_channel("a", soon()),
        Err(SpoolError::Busy(_))
    ));
    spool.lock_channel("b", soon()).unwrap();
    drop(held);
    spool.lock_channel("a", soon()).unwrap();
}
