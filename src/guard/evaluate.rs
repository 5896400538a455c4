//! The way of a scan: targets, files, texts, findings, answer. Knows no rule and no format.

use std::io::Read;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use schemars::JsonSchema;
use serde::Serialize;

use super::rule::LoadError;
use super::scan::{Match, Scanner, Scratch};
use crate::base::beneath::Root;
use crate::base::files;
use crate::base::relpath::RelPath;
use crate::inventory::{self, Globs, Kind, Progress, TakeError};
use crate::policy::Policy;
use crate::report::{Category, Detail, Finding, State, codes};

/// What is to be looked at, and how.
#[derive(Debug)]
pub struct Request<'a> {
    /// Files and directories, as the user named them.
    pub targets: &'a [PathBuf],
    /// What is scanned for and what is let through.
    pub policy: &'a Policy,
    /// The rules, ready.
    pub scanner: &'a Scanner,
    /// Where to tell how far the work is, and where to look whether to stop.
    pub progress: &'a Progress,
    /// Where state is kept: never scanned.
    pub state_dir: &'a Path,
}

/// What was looked at.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct Coverage {
    /// Files looked into.
    pub files: u64,
    /// Bytes of them.
    pub bytes: u64,
}

/// What a scan found out.
#[derive(Debug, Default)]
pub struct Evaluation {
    /// Sorted by place.
    pub findings: Vec<Finding>,
    /// What was looked at.
    pub coverage: Coverage,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    /// Rules that cannot be used.
    #[error("cannot use the rules")]
    Rules(#[source] LoadError),
    /// A target that cannot be listed.
    #[error(transparent)]
    Take(#[from] TakeError),
    /// A target that cannot be read.
    #[error(transparent)]
    File(#[from] files::FileError),
    /// A pattern of the policy.
    #[error("cannot use `policy_guard.exclude`")]
    Exclude(#[source] inventory::GlobError),
    /// Somebody asked to stop.
    #[error("interrupted")]
    Interrupted,
}

/// A file to look at.
struct Source {
    /// As one would type it.
    shown: String,
    /// Below its target, for globs; lower case.
    path: RelPath,
    /// Where to open it.
    place: PathBuf,
}

/// Looks at all targets.
///
/// # Errors
/// What keeps the whole from being answered; trouble with one file is a finding.
pub fn evaluate(request: &Request<'_>) -> Result<Evaluation, GuardError> {
    let mut evaluation = Evaluation::default();
    for target in request.targets {
        let sources = sources(request, target)?;
        let found: Vec<(Vec<Finding>, u64)> = sources
            .par_iter()
            .map_init(Scratch::default, |scratch, source| {
                look(request, source, scratch)
            })
            .collect();
        for (findings, bytes) in found {
            evaluation.findings.extend(findings);
            evaluation.coverage.files += 1;
            evaluation.coverage.bytes += bytes;
        }
    }
    evaluation.findings.sort();
    Ok(evaluation)
}

fn sources(request: &Request<'_>, target: &Path) -> Result<Vec<Source>, GuardError> {
    let excludes =
        Globs::compile(&request.policy.policy_guard.exclude).map_err(GuardError::Exclude)?;
    let listing = inventory::list(&inventory::Request {
        root: target,
        excludes: &excludes,
        exempt: &[],
        expected: None,
        progress: request.progress,
    })?;
    let files = listing
        .names
        .into_iter()
        .filter(|(_, kind)| *kind == Kind::File);
    let sources = files.map(|(path, _)| {
        let place = target.join(path.as_path());
        Source {
            shown: place.to_string_lossy().into_owned(),
            path,
            place,
        }
    });
    Ok(sources.collect())
}

fn look(request: &Request<'_>, source: &Source, scratch: &mut Scratch) -> (Vec<Finding>, u64) {
    let mut text = Vec::new();
    let parent = files::parent_of(&source.place);
    let name = source.place.file_name().map(|name| name.as_encoded_bytes());
    let opened = Root::open(parent).and_then(|root| {
        let name = RelPath::parse(name.unwrap_or_default()).map_err(std::io::Error::other)?;
        root.open_file(&name)
    });
    let read = opened.and_then(|file| std::fs::File::from(file).read_to_end(&mut text));
    if let Err(error) = read {
        let finding = Finding::new(&codes::FILE_UNREADABLE, error.to_string());
        return (vec![finding.at(&source.shown)], 0);
    }
    let matches = request.scanner.scan(&text, Some(&source.path), scratch);
    let findings = matches.iter().map(|found| finding(request, source, found));
    (findings.collect(), text.len() as u64)
}

fn finding(request: &Request<'_>, source: &Source, found: &Match) -> Finding {
    let rule = &request.scanner.pack().rules[found.rule];
    let code = match rule.category {
        Category::Secret => &codes::GUARD_SECRET,
        Category::SuspiciousFile => &codes::GUARD_SUSPICIOUS_FILE,
        Category::Operation => &codes::GUARD_OPERATION,
        Category::Configuration => &codes::GUARD_CONFIGURATION,
    };
    let mut finding = Finding::new(code, rule.title.clone())
        .at(&source.shown)
        .on_line(found.line);
    finding.severity = found.severity;
    finding.column = Some(found.column);
    finding.with_detail(Detail {
        rule_id: rule.id.clone(),
        category: rule.category,
        confidence: found.confidence,
        end_line: Some(found.end_line),
        redacted: None,
        fingerprint: None,
        state: State::Open,
        reason: None,
        would_fail: false,
        member: None,
        decoded: Vec::new(),
    })
}
