//! `agp verify`: proves trees intact.

use std::path::{Path, PathBuf};

use clap::Args;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::args::KeyArgs;
use super::failure::{Failure, Kind};
use super::publish;
use super::share::{self, Joined, Merged, ShareArgs};
use super::sign::MANIFEST_NAME;
use super::spine::{self, Context, Done};
use crate::base::relpath::RelPath;
use crate::base::shard::Shard;
use crate::base::{files, naming, units};
use crate::integrity::verify::{self, Request, Terms, Verification, VerifyError};
use crate::integrity::{self, Checks, Counters, Section, SequenceState};
use crate::inventory::{self, Globs, Kind as EntryKind, Progress, TakeError};
use crate::part::{Head, Verb};
use crate::report::{Finding, Report, Verdict, codes};

/// Prove a tree intact against its signed manifest
///
/// Checks, in this order: the manifest's grammar, its signature, its consistency, its times, and every
/// file. Whatever is there and was not signed counts as a violation. Exit code 1 is "found bad",
/// 2 is "could not tell".
#[derive(Debug, Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[command(
    after_help = "Example: agp verify --manifest output/integrity_manifest.json --key-file release.key"
)]
pub struct VerifyArgs {
    /// Verify this manifest and its tree; repeatable
    #[arg(long, value_name = "FILE", required_unless_present = "all")]
    pub manifest: Vec<PathBuf>,
    /// Verify every manifest below this directory
    #[arg(long, value_name = "DIR", conflicts_with_all = ["manifest", "shard"])]
    #[serde(skip)]
    pub all: Option<PathBuf>,
    /// Look for the tree here instead of where the manifest says
    #[arg(long, value_name = "DIR", conflicts_with = "all")]
    pub input_dir: Option<PathBuf>,
    /// Accept only a manifest about this subject
    #[arg(long, value_name = "NAME")]
    pub subject: Option<String>,
    /// Accept only manifests from this number on
    #[arg(long, value_name = "N")]
    pub min_sequence: Option<u64>,
    /// Keep the highest number seen of each subject in this file, and accept none below it
    #[arg(long, value_name = "FILE")]
    pub state: Option<PathBuf>,
    /// Look at matching paths only; the answer is then partial; repeatable
    #[arg(long, value_name = "GLOB")]
    pub only: Vec<String>,
    /// Accept a manifest that lists nothing
    #[arg(long)]
    pub allow_empty: bool,
    /// Reuse digests of files that have not changed since the last time
    #[arg(long, conflicts_with = "shard")]
    #[serde(skip)]
    pub cache: bool,
    /// Whether the work is shared out.
    #[command(flatten)]
    #[serde(skip)]
    pub share: ShareArgs,
    /// Where the secret comes from.
    #[command(flatten)]
    #[serde(skip)]
    pub key: KeyArgs,
}

/// The sections of a verify report.
#[derive(Debug, Serialize, JsonSchema)]
pub struct VerifyBody {
    /// All manifests together.
    pub summary: VerifySummary,
    /// The four checks over all manifests, the worst result of each.
    pub checks: Checks,
    /// One for each manifest, in the order of the command line or of their paths.
    pub manifests: Vec<Section>,
}

/// All manifests together.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct VerifySummary {
    /// Manifests looked at.
    pub manifests: u64,
    /// Those that hold entirely.
    pub valid: u64,
    /// Those of which what was asked for holds.
    pub partial: u64,
    /// Those found bad.
    pub invalid: u64,
    /// Those of which nothing can be said.
    pub unknown: u64,
    /// What became of the entries.
    pub counters: Counters,
}

impl VerifyArgs {
    /// Verifies manifests of trees whose files somebody has just read.
    pub(super) fn through_cache(manifest: Vec<PathBuf>) -> Self {
        Self {
            manifest,
            all: None,
            input_dir: None,
            subject: None,
            min_sequence: None,
            state: None,
            only: Vec::new(),
            allow_empty: true,
            cache: true,
            share: ShareArgs::default(),
            key: KeyArgs::default(),
        }
    }

    /// What is to be verified, in this order, and what kept others from being found.
    fn manifests(&self, progress: &Progress) -> Result<(Vec<PathBuf>, Vec<Finding>), Failure> {
        match &self.all {
            Some(directory) => find_manifests(directory, progress),
            None => Ok((self.manifest.clone(), Vec::new())),
        }
    }

    /// The first manifest whose tree would be changed by what is written to a directory, whether
    /// that is there yet or not.
    pub fn disturbed_by(&self, directory: &Path) -> Option<PathBuf> {
        let real = directory.canonicalize();
        let (is_there, path) = (real.is_ok(), &real.unwrap_or_else(|_| directory.into()));
        let input_dir = self.input_dir.as_deref();
        // One that is there mostly lies elsewhere, and then no manifest needs to be read for it.
        let is_near = |manifest: &Path| {
            let root = input_dir.unwrap_or_else(|| files::parent_of(manifest));
            naming::path_within(root, path).is_some()
        };
        // Manifests that cannot be listed are told of when they are to be verified.
        let (manifests, _) = self.manifests(&Progress::default()).unwrap_or_default();
        manifests.into_iter().find(|manifest| {
            (!is_there || is_near(manifest)) && integrity::is_disturbed((manifest, input_dir), path)
        })
    }

    /// Where digests are kept, if they are: never where that would change a tree.
    fn cache_dir(&self, context: &Context<'_>) -> Option<PathBuf> {
        let state_dir = &context.state_dir;
        if self.cache && self.disturbed_by(state_dir).is_some() {
            context.note("no digests are kept: the state directory would lie in a tree that does not exempt it");
            return None;
        }
        self.cache.then(|| context.cache_dir())
    }

    /// What parts of this command say that they are parts of.
    fn head(&self, context: &Context<'_>) -> Result<Head, Failure> {
        let mut head = share::head((Verb::Verify, Shard::WHOLE), context, self)?;
        if let [manifest] = &self.manifest[..] {
            head.manifest_sha256 = Some(share::digest_of(manifest)?);
        }
        Ok(head)
    }

    /// Verifies.
    ///
    /// # Errors
    /// Only what concerns the command as a whole; trouble with one manifest is a finding.
    pub fn run(&self, context: &Context<'_>) -> Result<Done, Failure> {
        if let Some(shard) = self.share.shard()? {
            return share::verify(self, context, shard);
        }
        let joined = self.share.join(context)?;
        let merged = match joined.agreeing(|| self.head(context))? {
            Joined::Nothing => None,
            Joined::Whole(merged) => Some(*merged),
            Joined::Refused(findings) => {
                let mut report = report(Vec::new(), Vec::new());
                report.add(findings);
                return Ok(Done::Report(report));
            }
        };
        let keyring = context.keyring()?;
        let (manifests, unlisted) = self.manifests(context.progress)?;
        let only = Globs::compile(&self.only).map_err(|error| Failure::new(Kind::Usage, error))?;
        let policy = &context.policy.policy.integrity;
        let sequences = match &self.state {
            Some(path) => {
                SequenceState::load(path).map_err(|error| Failure::new(Kind::Input, error))?
            }
            None => SequenceState::default(),
        };
        let terms = Terms {
            now: context.started_at,
            clock_skew_seconds: policy.clock_skew_seconds,
            age_days_max: policy.max_age_days,
            subject: self.subject.clone().or_else(|| policy.subject.clone()),
            sequence_min: self.min_sequence,
            sequences,
            allow_empty: self.allow_empty,
        };
        let cache_dir = self.cache_dir(context);
        let _bar = context.show_progress();
        let metrics = publish::textfile_of_policy(context.global, &context.policy.policy.metrics);
        let outputs = context.global.files().chain(self.state.as_deref());
        let outputs: Vec<&Path> = outputs.chain(metrics).collect();
        let mut all = Vec::with_capacity(manifests.len());
        for manifest in &manifests {
            let request = Request {
                manifest,
                input_dir: self.input_dir.as_deref(),
                outputs: &outputs,
                keyring,
                terms: &terms,
                only: (!self.only.is_empty()).then_some(&only),
                cache_dir: cache_dir.as_deref(),
                parts: merged.as_ref().map(Merged::parts),
                progress: context.progress,
            };
            all.push(verify::verify(&request).map_err(failure)?);
        }
        let raised = self.state.as_ref().map(|path| raise(path, &all));
        let is_vacuous =
            !self.only.is_empty() && all.iter().all(|one| one.section.counters.checked == 0);
        let mut report = report(all, unlisted);
        report
            .resources
            .extend(merged.into_iter().flat_map(|merged| merged.resources));
        if is_vacuous && !self.allow_empty && report.verdict == Verdict::Pass {
            let text = format!("nothing matches `{}`", self.only.join("`, `"));
            report.add(vec![Finding::new(&codes::SCOPE_EMPTY, text)]);
        }
        if let Some(Err(failure)) = raised {
            report.add(failure.findings);
        }
        Ok(Done::Report(report))
    }
}

fn failure(error: VerifyError) -> Failure {
    match error {
        VerifyError::Interrupted => spine::interrupted(),
        VerifyError::OutputListed(_) => Failure::new(Kind::Usage, error)
            .with_hint("write the report elsewhere")
            .keeping_output(),
    }
}

/// Every manifest of the usual name below a directory, sorted, and a finding for each place that
/// may hide another one.
fn find_manifests(
    directory: &Path,
    progress: &Progress,
) -> Result<(Vec<PathBuf>, Vec<Finding>), Failure> {
    let listing = inventory::list(&inventory::Request {
        root: directory,
        excludes: &Globs::default(),
        exempt: &[],
        expected: None,
        progress,
    });
    let listing = listing.map_err(|error| match error {
        TakeError::Interrupted => spine::interrupted(),
        TakeError::Open { .. } => Failure::new(Kind::Input, error),
    })?;
    let is_manifest = |(path, kind): &&(RelPath, EntryKind)| {
        let name = path.as_path().file_name();
        *kind != EntryKind::Directory && name.is_some_and(|name| name == MANIFEST_NAME)
    };
    let found = listing.names.iter().filter(is_manifest);
    let found: Vec<PathBuf> = found
        .map(|(path, _)| directory.join(path.as_path()))
        .collect();
    let mut findings = integrity::problem_findings(&listing.problems, &naming::shown(directory));
    if found.is_empty() {
        let text = format!("no `{MANIFEST_NAME}` below the directory");
        let finding = Finding::new(&codes::MANIFEST_NOT_FOUND, text).at(naming::shown(directory));
        findings.insert(0, finding);
        return Err(Failure::of_all(Kind::Input, findings));
    }
    Ok((found, findings))
}

/// Remembers the numbers of the manifests that hold entirely.
fn raise(path: &Path, all: &[Verification]) -> Result<(), Failure> {
    let valid = all.iter().filter(|one| one.section.status == "valid");
    let identities = valid.filter_map(|one| one.section.identity.as_ref());
    let verified: Vec<_> = identities
        .map(|identity| (identity.subject.clone(), identity.sequence))
        .collect();
    SequenceState::raise(path, &verified).map_err(|error| Failure::new(Kind::Output, error))
}

/// One report of all manifests, and of what else was found.
fn report(all: Vec<Verification>, mut findings: Vec<Finding>) -> Report {
    let mut summary = VerifySummary::default();
    let mut checks = Checks::NONE;
    let mut resources = Vec::new();
    let mut manifests = Vec::new();
    for one in all {
        summary.manifests += 1;
        *match one.section.status {
            "valid" => &mut summary.valid,
            "partial" => &mut summary.partial,
            "invalid" => &mut summary.invalid,
            _ => &mut summary.unknown,
        } += 1;
        summary.counters.add(&one.section.counters);
        checks = checks.worst(&one.section.checks);
        findings.extend(one.findings);
        resources.extend(one.resources);
        manifests.push(one.section);
    }
    let headline = headline(&summary, &manifests, Verdict::of(&findings));
    let body = VerifyBody {
        summary,
        checks,
        manifests,
    };
    Report::new("verify", headline, findings)
        .with_body(&body)
        .with_resources(resources)
}

fn headline(summary: &VerifySummary, manifests: &[Section], verdict: Verdict) -> String {
    let counters = &summary.counters;
    match manifests {
        [only] => {
            let what = match &only.identity {
                Some(identity) => format!(
                    "`{}` number {}, signed {} with key {}",
                    identity.subject, identity.sequence, identity.signed_at, identity.key_id
                ),
                None => format!("`{}`", only.manifest),
            };
            match (verdict, only.status) {
                (Verdict::Pass, "partial") => {
                    format!(
                        "the part that was asked for is intact: {what}; {}",
                        units::count(counters.ok, "entry")
                    )
                }
                (Verdict::Pass, _) => {
                    format!("intact: {what}; {}", units::count(counters.ok, "entry"))
                }
                (Verdict::Error, _) => format!("could not tell: {what}"),
                _ => format!("not what was signed: {what}"),
            }
        }
        _ => format!(
            "{}: {} valid, {} partial, {} invalid, {} unknown",
            units::count(summary.manifests, "manifest"),
            summary.valid,
            summary.partial,
            summary.invalid,
            summary.unknown
        ),
    }
}
