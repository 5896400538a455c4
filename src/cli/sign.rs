//! `agp sign`: seals trees.

use std::cmp::Reverse;
use std::path::{Path, PathBuf};

use clap::Args;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::args::KeyArgs;
use super::failure::{Failure, Kind};
use super::share::{self, Joined, Merged, ShareArgs};
use super::spine::{Context, Done};
use super::{env, publish, spine};
use crate::base::clock::Timestamp;
use crate::base::naming;
use crate::base::relpath::RelPath;
use crate::base::shard::Shard;
use crate::base::units;
use crate::integrity::sign::{self, Request, SignError, Signed, Terms};
use crate::integrity::{SequenceState, Summary, verify};
use crate::inventory::Inventory;
use crate::part::Verb;
use crate::report::{Finding, Report, codes};
use crate::seal::Keyring;

/// The manifest's usual name.
pub const MANIFEST_NAME: &str = "integrity_manifest.json";

/// Seal a tree: write a manifest of its files, signed with HMAC-SHA256
///
/// Every file, link and directory below the tree is recorded with its size, mode and SHA-256; nothing is
/// left out unless you say so. The manifest goes to `integrity_manifest.json` inside the tree, or to `--output`.
#[derive(Debug, Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[command(after_help = "Example: agp sign --input-dir output --key-file release.key")]
pub struct SignArgs {
    /// Sign this tree; repeat it to sign several, each with its own manifest
    #[arg(long, value_name = "DIR", required_unless_present = "rotate")]
    pub input_dir: Vec<PathBuf>,
    /// Name the tree in the manifest [default: integrity.subject of the policy, or the directory's name]
    #[arg(long, value_name = "NAME")]
    pub subject: Option<String>,
    /// Give the manifest this number [default: one more than the manifest that is replaced]
    #[arg(long, value_name = "N")]
    pub sequence: Option<u64>,
    /// Let the manifest expire at this time, as 2026-11-23T14:06:00Z
    #[arg(long, value_name = "TIME", value_parser = Timestamp::parse)]
    pub expires_at: Option<Timestamp>,
    /// Leave out what matches, recorded in the signed manifest (`*`, `?` and `**`); repeatable
    #[arg(long, value_name = "GLOB")]
    pub exclude: Vec<String>,
    /// Leave out this path below the tree, which later steps will write; repeatable
    #[arg(long, value_name = "PATH", value_parser = parse_relative)]
    pub exempt: Vec<RelPath>,
    /// Do not record where the files lie on this machine
    #[arg(long)]
    pub no_absolute_paths: bool,
    /// Seal a tree even if there is nothing in it
    #[arg(long)]
    pub allow_empty: bool,
    /// Reuse digests of files that have not changed since the last time
    #[arg(long, conflicts_with = "shard")]
    #[serde(skip)]
    pub cache: bool,
    /// Sign an unchanged tree again with the active key, after verifying it with the old one
    #[arg(
        long,
        requires = "manifest",
        conflicts_with_all = ["subject", "exclude", "exempt", "shard"]
    )]
    #[serde(skip)]
    pub rotate: bool,
    /// The manifest to rotate
    #[arg(long, value_name = "FILE", requires = "rotate")]
    #[serde(skip)]
    pub manifest: Option<PathBuf>,
    /// Whether the work is shared out.
    #[command(flatten)]
    #[serde(skip)]
    pub share: ShareArgs,
    /// Where the secret comes from.
    #[command(flatten)]
    #[serde(skip)]
    pub key: KeyArgs,
}

fn parse_relative(text: &str) -> Result<RelPath, String> {
    RelPath::parse(text.trim_end_matches('/').as_bytes()).map_err(|error| error.to_string())
}

/// A tree, and where its manifest goes (`None`: stdout).
type Job = (PathBuf, Option<PathBuf>);

/// The same, and what came of it.
type Sealed<'j> = (&'j PathBuf, &'j Option<PathBuf>, Signed);

/// The sections of a sign report.
#[derive(Debug, Serialize, JsonSchema)]
pub struct SignBody {
    /// All manifests together.
    pub summary: SignSummary,
    /// One for each tree, in the order of the command line.
    pub manifests: Vec<SignedManifest>,
}

/// All manifests together.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct SignSummary {
    /// Manifests written.
    pub manifests: u64,
    /// Regular files in them.
    pub files: u64,
    /// Bytes in those files.
    pub size_bytes: u64,
}

/// One manifest.
#[derive(Debug, Serialize, JsonSchema)]
pub struct SignedManifest {
    /// Where it is; `-` for stdout.
    pub manifest: String,
    /// The tree.
    pub root: String,
    /// The tree's name.
    pub subject: String,
    /// The manifest's number.
    pub sequence: u64,
    /// Which key signed it.
    pub key_id: String,
    /// When.
    pub signed_at: String,
    /// SHA-256 of the canonical manifest without its signature.
    pub content_hash: String,
    /// What it lists.
    pub counts: Summary,
    /// Paths left out on purpose.
    pub exempt: Vec<String>,
    /// Entries left out by globs.
    pub excluded: u64,
    /// Files whose digest came out of the cache.
    pub reused: u64,
}

impl SignArgs {
    /// Signs.
    ///
    /// # Errors
    /// Whatever kept a tree from being sealed; trees before it on the command line are sealed.
    pub fn run(&self, context: &Context<'_>) -> Result<Done, Failure> {
        if let Some(shard) = self.share.shard()? {
            return share::sign(self, context, shard);
        }
        let head = || share::head((Verb::Sign, Shard::WHOLE), context, self);
        let merged = match self.share.join(context)?.agreeing(head)? {
            Joined::Nothing => None,
            Joined::Whole(merged) => Some(*merged),
            Joined::Refused(findings) => return Ok(Done::Written(unsigned(findings))),
        };
        let keyring = context.keyring()?;
        let output = context.global.output.as_deref();
        if output.is_some() && self.input_dir.len() > 1 {
            let text = "`--output` names one manifest, and there are several trees";
            return Err(Failure::because(Kind::Usage, text)
                .with_hint("leave `--output` out: each manifest goes into its own tree"));
        }
        if output.is_some() && self.rotate {
            let text = "`--rotate` writes the manifest that it reads, so `--output` has no place";
            return Err(Failure::because(Kind::Usage, text));
        }
        if self.rotate && self.input_dir.len() > 1 {
            let text = "`--rotate` is about one manifest, and there are several trees";
            return Err(Failure::because(Kind::Usage, text));
        }
        let jobs = match self.jobs(context, keyring) {
            Ok(jobs) => jobs,
            Err(error) => return refused(error),
        };
        for (root, _) in &jobs {
            refuse_reports_within(context, root, &self.exempt_in(context, root))?;
        }
        let mut all = match self.sign_all((context, keyring), (&jobs, merged.as_ref()), &[])? {
            Ok(all) => all,
            Err(error) => return refused(error),
        };
        let mut report = report(&all);
        let parts = merged.into_iter().flat_map(|merged| merged.resources);
        report.resources.extend(parts);
        match all.pop() {
            Some((_, _, signed)) if context.global.output_is_stdout() => Ok(Done::Streamed(
                report,
                Box::new(move |mut out| signed.sealed.write_document(&mut out)),
            )),
            _ => Ok(Done::Written(report)),
        }
    }

    /// Seals trees whose files somebody has just read, each with a manifest of its own in it.
    pub(super) fn through_cache(trees: Vec<PathBuf>) -> Self {
        Self {
            input_dir: trees,
            subject: None,
            sequence: None,
            expires_at: None,
            exclude: Vec::new(),
            exempt: Vec::new(),
            no_absolute_paths: false,
            allow_empty: true,
            cache: true,
            rotate: false,
            manifest: None,
            share: ShareArgs::default(),
            key: KeyArgs::default(),
        }
    }

    /// Signs trees as they were seen, in their order, and leaves `--output` alone.
    ///
    /// # Errors
    /// As [`Self::run`], and a tree that is not what was seen.
    pub(super) fn seal(
        &self,
        context: &Context<'_>,
        seen: &[&Inventory],
    ) -> Result<Report, Failure> {
        let roots = self.input_dir.iter();
        let jobs: Vec<Job> = roots
            .map(|root| (root.clone(), Some(root.join(MANIFEST_NAME))))
            .collect();
        let all = self.sign_all((context, context.keyring()?), (&jobs, None), seen)?;
        all.map(|all| report(&all)).map_err(failure)
    }

    /// Signs trees, as they were seen where somebody has looked; what it gives is in their order.
    fn sign_all<'j>(
        &self,
        (context, keyring): (&Context<'_>, &Keyring),
        (jobs, merged): (&'j [Job], Option<&Merged>),
        seen: &[&Inventory],
    ) -> Result<Result<Vec<Sealed<'j>>, SignError>, Failure> {
        let mut order: Vec<usize> = (0..jobs.len()).collect();
        // A tree within another one first: its manifest is a file of the other.
        order.sort_by_key(|index| Reverse(depth(&jobs[*index].0)));
        let mut all = Vec::new();
        for index in order {
            let (root, output) = &jobs[index];
            let terms = self.terms(context, root)?;
            let place = (root.as_path(), output.as_deref());
            let seen = seen.get(index).copied();
            match self.sign_one((context, keyring), place, (terms, merged, seen)) {
                Ok(signed) => all.push((index, signed)),
                Err(error) => return Ok(Err(error)),
            }
        }
        all.sort_by_key(|(index, _)| *index);
        let all = all.into_iter().zip(jobs);
        Ok(Ok(all
            .map(|((_, signed), (root, output))| (root, output, signed))
            .collect()))
    }

    /// Trees, each with where its manifest goes (`None`: stdout).
    fn jobs(&self, context: &Context<'_>, keyring: &Keyring) -> Result<Vec<Job>, SignError> {
        if let Some(manifest) = &self.manifest {
            let root = match self.input_dir.first() {
                Some(root) => root.clone(),
                None => sign::rotation_root(manifest, keyring)?,
            };
            return Ok(vec![(root, Some(manifest.clone()))]);
        }
        let output = |root: &Path| match &context.global.output {
            Some(_) if context.global.output_is_stdout() => None,
            Some(output) => Some(output.clone()),
            None => Some(root.join(MANIFEST_NAME)),
        };
        Ok(self
            .input_dir
            .iter()
            .map(|root| (root.clone(), output(root)))
            .collect())
    }

    /// What is left out of a tree on purpose.
    pub(super) fn exempt_in(&self, context: &Context<'_>, root: &Path) -> Vec<RelPath> {
        let mut exempt = self.exempt.clone();
        exempt.extend(naming::path_within(root, &context.state_dir));
        // By its own name, and by what that leads to.
        let real = context.state_dir.canonicalize().ok();
        exempt.extend(real.and_then(|real| naming::path_within(root, &real)));
        exempt
    }

    /// Whether a directory is a tree that is to be signed.
    pub fn signs(&self, directory: &Path) -> bool {
        let real = |path: &Path| path.canonicalize().ok();
        let directory = real(directory);
        directory.is_some() && self.input_dir.iter().any(|root| real(root) == directory)
    }

    /// What the manifest of a tree will state.
    pub(super) fn terms(&self, context: &Context<'_>, root: &Path) -> Result<Terms, Failure> {
        let policy = &context.policy.policy.integrity;
        let exempt = self.exempt_in(context, root);
        let mut exclude = policy.exclude.clone();
        exclude.extend(self.exclude.iter().cloned());
        let epoch = env::source_date_epoch().map_err(|text| Failure::because(Kind::Usage, text))?;
        if self.share.trusts() && (epoch.is_some() || context.audit_head.is_none()) {
            let text = "a manifest records in its `audit_head` that its parts were trusted, and here it has none";
            return Err(Failure::because(Kind::Usage, text).with_hint(
                "keep an audit log and leave `SOURCE_DATE_EPOCH` out, or give a part key",
            ));
        }
        if let Some(subject) = self.subject.as_ref().filter(|subject| subject.is_empty()) {
            return Err(Failure::because(
                Kind::Usage,
                format!("`--subject` is empty: `{subject}`"),
            ));
        }
        Ok(Terms {
            now: context.started_at,
            epoch,
            subject: self.subject.clone().or_else(|| policy.subject.clone()),
            sequence: self.sequence,
            expires_at: self.expires_at,
            exclude,
            exempt,
            absolute_paths: !self.no_absolute_paths,
            allow_empty: self.allow_empty,
            audit_head: context.audit_head.clone(),
            rotate: self.rotate.then(|| verify::Terms {
                now: context.started_at,
                clock_skew_seconds: policy.clock_skew_seconds,
                age_days_max: policy.max_age_days,
                subject: None,
                sequence_min: None,
                sequences: SequenceState::default(),
                allow_empty: self.allow_empty,
            }),
        })
    }

    fn sign_one(
        &self,
        (context, keyring): (&Context<'_>, &Keyring),
        (root, output): (&Path, Option<&Path>),
        (terms, merged, seen): (Terms, Option<&Merged>, Option<&Inventory>),
    ) -> Result<Signed, SignError> {
        let cache_dir = context.cache_dir();
        let _bar = context.show_progress();
        sign::sign(&Request {
            root,
            output,
            keyring,
            terms,
            cache_dir: self.cache.then_some(cache_dir.as_path()),
            parts: merged.map(Merged::parts),
            seen,
            progress: context.progress,
        })
    }
}

/// Refuses a report that would change the tree after it was sealed.
fn refuse_reports_within(
    context: &Context<'_>,
    root: &Path,
    exempt: &[RelPath],
) -> Result<(), Failure> {
    let metrics = publish::textfile_of_policy(context.global, &context.policy.policy.metrics);
    for file in context.global.files_beside().chain(metrics) {
        let within = naming::path_within(root, file);
        if let Some(path) = within.filter(|path| !exempt.iter().any(|one| path.is_within(one))) {
            let shown = naming::shown(file);
            let text = format!("the report `{shown}` would lie in the tree that is signed");
            return Err(Failure::because(Kind::Usage, text)
                .with_hint(format!("write it elsewhere, or give `--exempt {path}`"))
                .keeping_output());
        }
    }
    Ok(())
}

/// How many directories lie above a tree; 0 for one that is not there, which signing will say.
fn depth(root: &Path) -> usize {
    root.canonicalize()
        .map_or(0, |root| root.components().count())
}

/// A rotation that found something bad has an answer; everything else that kept a tree from being
/// sealed has none.
fn refused(error: SignError) -> Result<Done, Failure> {
    let SignError::Rotate(findings) = error else {
        return Err(failure(error));
    };
    let mut report = unsigned(findings);
    report.headline = "not rotated: the manifest or its tree does not verify".to_owned();
    Ok(Done::Written(report))
}

/// The report where nothing was signed, for these reasons.
fn unsigned(findings: Vec<Finding>) -> Report {
    let body = SignBody {
        summary: SignSummary::default(),
        manifests: Vec::new(),
    };
    let mut report = Report::new("sign", String::new(), Vec::new()).with_body(&body);
    report.add(findings);
    report
}

pub(super) fn failure(error: SignError) -> Failure {
    match error {
        SignError::Interrupted => spine::interrupted(),
        SignError::Key(error) => spine::key_failure(error),
        SignError::Unsignable(findings) | SignError::Rotate(findings) => {
            Failure::of_all(Kind::Input, findings)
        }
        SignError::Empty(_) => Failure::new(Kind::Input, error)
            .with_hint("check the path; if an empty tree is meant, say `--allow-empty`"),
        SignError::Exclude(_) | SignError::Exempt(_) | SignError::Sequence(_) => {
            Failure::new(Kind::Usage, error)
        }
        SignError::Output(_) => Failure::new(Kind::Usage, error)
            .with_hint("name another `--output`, or remove the file first"),
        SignError::Open { .. } => Failure::new(Kind::Input, error),
        SignError::Seal(_) | SignError::Write(_) => Failure::new(Kind::Output, error),
    }
}

fn report(all: &[Sealed<'_>]) -> Report {
    let mut summary = SignSummary::default();
    let mut manifests = Vec::new();
    let mut findings: Vec<Finding> = Vec::new();
    let mut resources = Vec::new();
    for (root, output, signed) in all {
        let (manifest, signature) = (&signed.sealed.manifest, &signed.sealed.signature);
        summary.manifests += 1;
        summary.files += manifest.summary.file_count;
        summary.size_bytes += manifest.summary.total_size_bytes;
        manifests.push(SignedManifest {
            manifest: output.as_deref().map_or("-".into(), naming::shown),
            root: naming::shown(root),
            subject: manifest.subject.clone(),
            sequence: manifest.sequence,
            key_id: signature.key_id.to_string(),
            signed_at: signature.signed_at.to_seconds_string(),
            content_hash: signature.content_hash.to_string(),
            counts: manifest.summary,
            exempt: signed.exempt.clone(),
            excluded: signed.excluded,
            reused: signed.reused,
        });
        findings.extend(signed.findings.iter().cloned());
        resources.extend(signed.resources.iter().cloned());
    }
    findings.sort();
    findings.dedup_by(|right, left| right.code == &codes::KEY_WEAK && right == left);
    let counts = format!(
        "{}, {}",
        units::count(summary.files, "file"),
        units::bytes(summary.size_bytes)
    );
    let headline = match &manifests[..] {
        [only] => format!(
            "signed `{}`: {counts}; subject `{}`, number {}, key {}",
            only.root, only.subject, only.sequence, only.key_id
        ),
        _ => format!(
            "signed {}: {counts}",
            units::count(summary.manifests, "tree")
        ),
    };
    let body = SignBody { summary, manifests };
    Report::new("sign", headline, findings)
        .with_body(&body)
        .with_resources(resources)
}
