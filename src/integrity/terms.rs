//! The terms that a manifest must meet besides its signature: when it was signed, for which tree,
//! and that no newer one has replaced it. Pure; the present is an argument.

use super::{Manifest, Sealed, SequenceState};
use crate::base::clock::Timestamp;
use crate::base::units;
use crate::report::{Code, Finding, codes};

/// What must hold besides signature and files.
#[derive(Clone, Debug)]
pub struct Terms {
    /// The present.
    pub now: Timestamp,
    /// How far another machine's clock may be ahead, in seconds.
    pub clock_skew_seconds: u64,
    /// How old a signature may be, in days.
    pub age_days_max: Option<u64>,
    /// The subject that is asked for.
    pub subject: Option<String>,
    /// The lowest sequence that is good enough.
    pub sequence_min: Option<u64>,
    /// The highest sequences seen before.
    pub sequences: SequenceState,
    /// Whether a manifest may list nothing.
    pub allow_empty: bool,
}

/// The check `timestamp_validation`.
pub(super) fn check_times(sealed: &Sealed, terms: &Terms) -> Vec<Finding> {
    let (manifest, signed_at) = (&sealed.manifest, sealed.signature.signed_at);
    let mut findings = Vec::new();
    let mut found = |code: &'static Code, text: String| findings.push(Finding::new(code, text));
    let latest = terms
        .now
        .plus_seconds(i64::try_from(terms.clock_skew_seconds).unwrap_or(i64::MAX));
    if signed_at < manifest.created_at {
        found(
            &codes::TIME_REVERSED,
            "`signed_at` is before `created_at`".into(),
        );
    }
    for (field, time) in [
        ("created_at", manifest.created_at),
        ("signed_at", signed_at),
    ] {
        if time > latest {
            let time = time.to_seconds_string();
            found(
                &codes::TIME_FUTURE,
                format!("`{field}` is {time}, in the future"),
            );
        }
    }
    if let Some(expires_at) = manifest.expires_at
        && terms.now > expires_at
    {
        found(
            &codes::TIME_EXPIRED,
            format!("expired at {}", expires_at.to_seconds_string()),
        );
    }
    if let Some(days) = terms.age_days_max {
        let limit_seconds = i64::try_from(days)
            .unwrap_or(i64::MAX)
            .saturating_mul(86_400);
        if terms.now > signed_at.plus_seconds(limit_seconds) {
            let signed_at = signed_at.to_seconds_string();
            let text = format!(
                "signed {signed_at}, the policy allows {}",
                units::count(days, "day")
            );
            found(&codes::TIME_TOO_OLD, text);
        }
    }
    findings.extend(check_replay(manifest, terms));
    findings
}

/// A good manifest of another tree, or one that a newer has replaced.
fn check_replay(manifest: &Manifest, terms: &Terms) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut found = |code: &'static Code, text: String| findings.push(Finding::new(code, text));
    let (subject, sequence) = (&manifest.subject, manifest.sequence);
    if let Some(asked) = terms.subject.as_ref().filter(|asked| *asked != subject) {
        found(
            &codes::REPLAY_OTHER_SUBJECT,
            format!("the manifest is about `{subject}`, `{asked}` was asked for"),
        );
    }
    if let Some(least) = terms.sequence_min.filter(|least| sequence < *least) {
        found(
            &codes::REPLAY_OLD_SEQUENCE,
            format!("sequence {sequence}, at least {least} was asked for"),
        );
    }
    if let Some(highest) = terms
        .sequences
        .highest(subject)
        .filter(|highest| sequence < *highest)
    {
        found(
            &codes::REPLAY_OLD_SEQUENCE,
            format!("sequence {sequence} of `{subject}`, {highest} was seen before"),
        );
    }
    findings
}
