//! The way of a scan: targets, files, texts, findings, answer. Knows no rule and no format.

use std::io::Read;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use schemars::JsonSchema;
use serde::Serialize;

use super::found::{Found, Place};
use super::rule::LoadError;
use super::scan::{Scanner, Scratch};
use crate::base::beneath::Root;
use crate::base::files;
use crate::base::relpath::RelPath;
use crate::inventory::{self, Globs, Kind, Progress, TakeError};
use crate::policy::Policy;
use crate::report::{Finding, codes};

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
        let looked: Vec<(Vec<Found>, u64)> = sources
            .par_iter()
            .map_init(Scratch::default, |scratch, source| {
                look(request, source, scratch)
            })
            .collect();
        for (found, bytes) in looked {
            evaluation
                .findings
                .extend(found.into_iter().map(|found| found.finding));
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

fn look(request: &Request<'_>, source: &Source, scratch: &mut Scratch) -> (Vec<Found>, u64) {
    let mut text = Vec::new();
    let parent = files::parent_of(&source.place);
    let name = source.place.file_name().map(|name| name.as_encoded_bytes());
    let opened = Root::open(parent).and_then(|root| {
        let name = RelPath::parse(name.unwrap_or_default()).map_err(std::io::Error::other)?;
        root.open_file(&name)
    });
    let read = opened.and_then(|file| std::fs::File::from(file).read_to_end(&mut text));
    if let Err(error) = read {
        let place = Place {
            shown: &source.shown,
            ..Place::default()
        };
        let found = Found::by_code(&codes::FILE_UNREADABLE, &place, error.to_string());
        return (vec![found], 0);
    }
    let matches = request.scanner.scan(&text, Some(&source.path), scratch);
    let found = matches.iter().map(|matched| {
        let rule = &request.scanner.pack().rules[matched.rule];
        let place = Place {
            shown: &source.shown,
            member: None,
            line: Some(matched.line),
            column: Some(matched.column),
            end_line: Some(matched.end_line),
        };
        Found::by_rule(rule, &place, rule.title.clone())
            .with_severity(matched.severity)
            .with_confidence(matched.confidence)
            .with_value(&text[matched.value.clone()])
    });
    (found.collect(), text.len() as u64)
}
