//! From what was found to what is reported: one sequential pass over everything, after the scan.
//! Owns the order: operations, markers, hints, redaction, fingerprints, baseline, enforcement.

use std::collections::HashSet;
use std::path::Path;

use schemars::JsonSchema;
use serde::Serialize;

use super::baseline::{Baseline, Meeting};
use super::enforce::Enforcement;
use super::evaluate::{Coverage, Evaluation, GuardError};
use super::fingerprint::Salt;
use super::found::Found;
use super::operations::Operations;
use super::places::Places;
use super::redact::{Redactor, hidden};
use super::rule::Pack;
use super::suppress::{self, EXPIRED, Marked, UNEXPLAINED, UNUSED};
use crate::base::clock::Timestamp;
use crate::base::units::printable;
use crate::report::{Category, Finding, State};

/// What the policy and the caller make of what is found.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    /// Which findings fail the command.
    pub enforcement: Enforcement,
    /// Which operations may be.
    pub operations: &'a Operations,
    /// The salt of the environment, where there is one.
    pub salt: Option<&'a Salt>,
    /// What is accepted.
    pub baseline: Option<BaselineUse<'a>>,
    /// The day that counts.
    pub now: Timestamp,
    /// Whether values are shown as they are: for a person at a terminal.
    pub shows_secrets: bool,
}

/// A baseline and what is to be done with it.
#[derive(Clone, Copy, Debug)]
pub struct BaselineUse<'a> {
    /// What it says; empty where it is to be taken for the first time.
    pub baseline: &'a Baseline,
    /// Its file: never scanned.
    pub path: &'a Path,
    /// The reason of what is accepted from now on; `None` accepts nothing new.
    pub update: Option<&'a str>,
}

/// What is accepted, and what is wrong with how.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct Accepted {
    /// Findings that a marker beside them accepts.
    pub by_marker: u64,
    /// Findings that the baseline accepts.
    pub by_baseline: u64,
    /// Markers and baseline entries that accept nothing.
    pub unused: u64,
    /// Markers and baseline entries that say no reason.
    pub unexplained: u64,
    /// Baseline entries whose day has passed.
    pub expired: u64,
}

/// What a scan has gathered.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    /// In any order.
    pub(super) found: Vec<Found>,
    /// What no marker and no baseline can accept.
    pub(super) refused: Vec<Found>,
    /// The texts that have markers.
    pub(super) marked: Vec<Marked>,
    /// What was looked at.
    pub(super) coverage: Coverage,
}

/// Judges everything that was gathered.
pub(super) fn judge(
    gathered: Gathered,
    (terms, pack): (&Terms<'_>, &Pack),
    targets: &[&Path],
) -> Result<Evaluation, GuardError> {
    let Gathered {
        mut found,
        refused,
        mut marked,
        mut coverage,
    } = gathered;
    // Targets may overlap; what was seen twice is there once.
    marked.sort_by(|a, b| (&a.shown, &a.member).cmp(&(&b.shown, &b.member)));
    marked.dedup();
    let mut seen = HashSet::new();
    found.retain(|one| seen.insert(identity(one)));
    terms.operations.judge_evidence(&mut found);
    let faults = suppress::apply(&mut found, &marked, pack);
    let redactor = redactor(&found);
    for one in &mut found {
        finish(one, (pack, &redactor), terms.shows_secrets);
    }
    let places =
        Places::new(terms.baseline.map(|used| used.path)).map_err(GuardError::WorkingDirectory)?;
    let salt = salt(terms)?;
    for one in &mut found {
        sign(one, &salt, &places);
    }
    let meeting = Meeting {
        places: &places,
        targets,
        now: terms.now,
    };
    let (more_faults, text) = baseline(&mut found, (terms, pack), (&meeting, &salt));
    let others = refused.into_iter().chain(faults).chain(more_faults);
    found.extend(others.map(|mut other| {
        finish(&mut other, (pack, &redactor), terms.shows_secrets);
        other
    }));
    let skipped = coverage
        .excluded_first
        .iter_mut()
        .chain(&mut coverage.exempt);
    skipped.for_each(|path| redactor.redact(path));
    let mut findings: Vec<Finding> = found.into_iter().map(|one| one.finding).collect();
    findings
        .iter_mut()
        .for_each(|finding| terms.enforcement.judge(finding));
    findings.sort();
    Ok(Evaluation {
        accepted: Accepted::of(&findings),
        findings,
        coverage,
        redactor,
        salt: match text {
            Some(_) => salt.of_baseline().origin(),
            None => salt.origin(),
        },
        baseline: text,
    })
}

fn identity(found: &Found) -> impl Eq + std::hash::Hash + use<> {
    let finding = &found.finding;
    let detail = finding.detail.as_ref();
    (
        (
            finding.code.id,
            finding.path.clone(),
            finding.message.clone(),
        ),
        (finding.line, finding.column),
        detail.map(|detail| (detail.rule_id.clone(), detail.member.clone())),
        found.value.clone(),
    )
}

fn redactor(found: &[Found]) -> Redactor {
    let is_secret = |one: &&Found| {
        let detail = one.finding.detail.as_ref();
        detail.is_some_and(|detail| detail.category == Category::Secret)
    };
    let secrets = found.iter().filter(is_secret);
    Redactor::knowing(secrets.map(|one| one.value.as_slice()))
}

/// Gives a finding its hint and the redacted form of its value, and takes every known value out of
/// its texts.
fn finish(found: &mut Found, (pack, redactor): (&Pack, &Redactor), shows_secrets: bool) {
    let finding = &mut found.finding;
    let remedy = finding.code.remedy;
    if let Some(detail) = &mut finding.detail {
        let family = detail.rule_id.split('.').next().unwrap_or_default();
        let is_general = finding.hint.as_deref().unwrap_or_default() == remedy;
        if let Some(family) = pack.families.get(family).filter(|_| is_general) {
            finding.hint = Some(family.fix.clone());
        }
        if !found.value.is_empty() {
            let shown = match shows_secrets {
                true => printable(&String::from_utf8_lossy(&found.value)).into_owned(),
                false => hidden(&found.value),
            };
            detail.redacted = Some(shown);
        }
        let texts = detail.member.iter_mut().chain(&mut detail.reason);
        texts.for_each(|text| redactor.redact(text));
    }
    redactor.redact(&mut finding.message);
    let texts = finding.path.iter_mut().chain(&mut finding.hint);
    texts.for_each(|text| redactor.redact(text));
}

/// The salt of the baseline, else that of the environment, else a new one.
fn salt(terms: &Terms<'_>) -> Result<Salt, GuardError> {
    let of_baseline = match terms.baseline {
        Some(used) => used.baseline.salt(terms.salt).map_err(|source| {
            let path = used.path.to_owned();
            GuardError::Baseline { path, source }
        })?,
        None => None,
    };
    match of_baseline.or_else(|| terms.salt.cloned()) {
        Some(salt) => Ok(salt),
        None => Salt::random().map_err(GuardError::Random),
    }
}

/// Gives a finding of a rule or check its fingerprint.
fn sign(found: &mut Found, salt: &Salt, places: &Places) {
    let Some(detail) = &mut found.finding.detail else {
        return;
    };
    let fingerprint = match (&found.value[..], &found.finding.path) {
        ([], None) => return,
        ([], Some(path)) => {
            let mut path = places.relative(path);
            path.extend(detail.member.iter().flat_map(|member| ["!", member]));
            salt.of_place(&detail.rule_id, &path)
        }
        (value, _) => {
            let family = detail.rule_id.split('.').next().unwrap_or_default();
            salt.of_value(family, value)
        }
    };
    detail.fingerprint = Some(fingerprint);
}

/// Accepts what the baseline accepts, and gives what is wrong with it, and its new text where it
/// is to be written.
fn baseline(
    found: &mut [Found],
    (terms, pack): (&Terms<'_>, &Pack),
    (meeting, salt): (&Meeting<'_>, &Salt),
) -> (Vec<Found>, Option<String>) {
    let Some(used) = &terms.baseline else {
        return (Vec::new(), None);
    };
    let updated = used
        .update
        .map(|reason| used.baseline.updated(found, meeting, (salt, reason)));
    let baseline = updated.as_ref().unwrap_or(used.baseline);
    let shown = crate::base::naming::shown(used.path);
    let faults = baseline.apply(found, meeting, (&shown, pack));
    let text = updated.as_ref().map(Baseline::text);
    (faults, text)
}

impl Accepted {
    fn of(findings: &[Finding]) -> Self {
        let mut accepted = Self::default();
        for detail in findings
            .iter()
            .filter_map(|finding| finding.detail.as_ref())
        {
            match detail.state {
                State::Suppressed => accepted.by_marker += 1,
                State::Baseline => accepted.by_baseline += 1,
                State::Open => {}
            }
            match detail.rule_id.as_str() {
                UNUSED => accepted.unused += 1,
                UNEXPLAINED => accepted.unexplained += 1,
                EXPIRED => accepted.expired += 1,
                _ => {}
            }
        }
        accepted
    }
}
