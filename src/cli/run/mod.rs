//! `agp run`: takes trees through a pipeline, and leaves them better and sealed, or exactly as they were.

mod body;
mod confine;
mod hands;
mod told;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::Args;

use super::args::KeyArgs;
use super::failure::{Failure, Kind};
use super::guard_report::OperationsSection;
use super::measure::{MeasureArgs, Pass};
use super::rollback::failure;
use super::scan::Scan;
use super::spine::{Conduct, Context, Done};
use crate::base::naming;
use crate::guard::Found;
use crate::inventory::{Globs, Keeper};
use crate::pipeline;
use crate::policy::Stage;
use crate::report::{Decision, Finding, Verdict, codes};
use crate::rollback::{
    self, Place, Pruned, Reason, RollbackError, RunRequest, RunState, SaveRequest,
};
use crate::seal::Secret;

pub use body::RunBody;
use hands::{Governing, Terms};

/// Take trees through a pipeline: better and sealed, or exactly as they were
///
/// Takes a snapshot, runs the stages of the policy (or the command behind `--`) and measures them, looks at what
/// they changed, scans the trees, compares with earlier runs, signs, and verifies. When something speaks
/// against what the stages did, all trees go back to the snapshot, and the report says why.
#[derive(Debug, Args)]
#[command(
    after_help = "Example: agp run --config config/assets_quality_policy.json --key-file release.key --output run.json"
)]
pub struct RunArgs {
    /// Govern these trees, none inside another [default: pipeline.targets of the policy]
    #[arg(long, value_name = "DIR", num_args = 1..)]
    pub target_dirs: Vec<PathBuf>,
    /// Run only this stage of the policy; repeatable
    #[arg(long, value_name = "NAME", conflicts_with = "command")]
    pub stage: Vec<String>,
    /// Run this before and after the stages, with /bin/sh; it counts when it passed before and fails after; repeatable
    #[arg(long, value_name = "CMD")]
    pub check: Vec<String>,
    /// Put the trees back and run the stages again, as often as it takes to tell whether they have become
    /// slower; without it one suspicious run is told and passes
    #[arg(long)]
    pub repeat: bool,
    /// Leave the trees unsigned
    #[arg(long)]
    pub no_sign: bool,
    /// Where the secret comes from.
    #[command(flatten)]
    pub key: KeyArgs,
    /// The command and its arguments: the only stage
    #[arg(last = true, value_name = "CMD")]
    pub command: Vec<OsString>,
}

impl RunArgs {
    /// How it stands to the spine.
    pub(super) fn conduct(&self) -> Conduct {
        Conduct {
            name: "run",
            event: "pipeline.run",
            changes: true,
            reports_to_output: true,
        }
    }

    /// Runs the pipeline.
    ///
    /// # Errors
    /// What kept it from beginning. Once the stages run, everything is told in the report.
    pub fn run(&self, context: &Context<'_>) -> Result<Done, Failure> {
        let targets = self.targets(context)?;
        refuse_reports_within(context, &targets)?;
        let keyring = context.keyring()?;
        if !self.no_sign {
            // Nobody works for hours to learn that nothing can be signed.
            let active = keyring.active().and_then(|key| key.secret());
            active.map_err(super::spine::key_failure)?;
        }
        let arguments = MeasureArgs::once(&self.stage, &self.command);
        let pass = Pass::new(&arguments, context)?;
        if pass.is_own() {
            let text = "there is no stage to run";
            return Err(Failure::because(Kind::Usage, text).with_hint(
                "configure `pipeline.stages` in the policy, or give a command behind `--`",
            ));
        }
        let scan = Scan::new(context)?;
        let (refused, decisions) = self.declared(context, (&scan, &pass));
        let judged = scan.judge_refused(&refused)?;
        if judged.iter().any(|one| one.verdict == Verdict::Violation) {
            let report = told::refused(judged, &pass).with_decisions(decisions);
            return Ok(Done::Report(report));
        }
        // Without a key nothing that was remembered could be believed.
        let secret = keyring.active().and_then(|key| key.secret()).ok();
        let key = secret.as_deref();
        let mac = |bytes: &[u8]| Secret::mac_of_cache(key, bytes).0;
        let cache_dir = context.cache_dir();
        let examiner = key.map(|_| scan.examiner(&cache_dir, &mac));
        let keepers: Vec<&dyn Keeper> = examiner.iter().map(|one| one as _).collect();
        let place = Place {
            state_dir: &context.state_dir,
            keyring: Some(keyring),
            progress: context.progress,
            keepers: &keepers,
        };
        let directory = working_directory()?;
        let guarded = with_protected((&targets, &directory), &scan);
        let policy = &context.policy.policy.rollback_playbook;
        let allow_change = Globs::compile(&policy.allow_change)
            .map_err(|error| Failure::new(Kind::Policy, error))?;
        let request = RunRequest::by(policy, save_request(context, &guarded), &allow_change);
        let mut hands = Governing::new(Terms {
            context,
            place,
            scan: &scan,
            examiner: examiner.as_ref(),
            pass,
            targets: &targets,
            directory: &directory,
            checks: &self.check,
            signs: !self.no_sign,
            repeats: self.repeat,
        })?;
        let checks = self.check.len();
        let mut outcome = rollback::run(place, (&request, checks), &mut hands).map_err(failure)?;
        let mut did = hands.done();
        if outcome.state == RunState::Committed {
            let days = policy.backup_retention_days;
            let pruned = rollback::prune_expired(place, (context.started_at, days));
            outcome.findings.extend(unpruned(&pruned));
            did.snapshots_removed = pruned.map_or(0, |pruned| pruned.removed.len() as u64);
        }
        let mut report = told::report(outcome, (did, judged))?;
        report.decisions.extend(decisions);
        Ok(Done::Report(report))
    }

    fn targets(&self, context: &Context<'_>) -> Result<Vec<PathBuf>, Failure> {
        let targets = match self.target_dirs.is_empty() {
            false => self.target_dirs.clone(),
            true => {
                let usual = &context.policy.policy.pipeline.targets;
                usual.iter().map(PathBuf::from).collect()
            }
        };
        if targets.is_empty() {
            let text = "there is no tree to govern";
            return Err(Failure::because(Kind::Usage, text).with_hint(
                "name trees with `--target-dirs`, or `pipeline.targets` in the policy",
            ));
        }
        for target in &targets {
            if !target.is_dir() {
                let text = format!("`{}` is not a directory", naming::shown(target));
                return Err(Failure::because(Kind::Input, text).with_hint(
                    "make it, or name other trees with `--target-dirs` or `pipeline.targets`",
                ));
            }
        }
        Ok(targets)
    }

    /// Operations of the stages that run: those that the policy refuses, and what it says of each.
    fn declared(
        &self,
        context: &Context<'_>,
        (scan, pass): (&Scan<'_>, &Pass<'_>),
    ) -> (Vec<Found>, Vec<Decision>) {
        let names: Vec<&str> = pass.names().collect();
        let runs = |stage: &Stage| self.command.is_empty() && names.contains(&stage.name.as_str());
        let section = &mut OperationsSection::default();
        let known = (scan.operations(), scan.pack());
        let refused = super::guard::stages(context.policy, known, (section, &runs));
        (refused, section.decisions())
    }
}

/// Why old snapshots, or what only they needed, had to stay.
fn unpruned(pruned: &Result<Pruned, RollbackError>) -> Option<Finding> {
    let reason = match pruned {
        Ok(pruned) => pruned.findings.first()?.message.clone(),
        Err(error) => error.to_string(),
    };
    Some(Finding::new(&codes::RUN_UNPRUNED, reason))
}

fn working_directory() -> Result<PathBuf, Failure> {
    Path::new(".").canonicalize().map_err(|error| {
        Failure::because(
            Kind::Input,
            format!("cannot tell the working directory: {error}"),
        )
    })
}

/// The targets, and what blocked operations are about where that lies in none of them: what nobody may
/// change comes back too.
fn with_protected((targets, directory): (&[PathBuf], &Path), scan: &Scan<'_>) -> Vec<PathBuf> {
    let mut all = targets.to_vec();
    for place in pipeline::protected(scan.operations(), directory) {
        let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let own = real(&place);
        let meets = |target: &PathBuf| {
            let target = real(target);
            own.starts_with(&target) || target.starts_with(&own)
        };
        if !all.iter().any(meets) {
            all.push(place);
        }
    }
    all
}

fn save_request(context: &Context<'_>, targets: &[PathBuf]) -> SaveRequest {
    let named = targets
        .iter()
        .map(|path| (rollback::shown(path), path.clone()));
    SaveRequest {
        targets: named.collect(),
        label: None,
        reason: Reason::BeforeRun,
        paranoid: false,
        allow_incomplete: false,
        now: context.started_at,
        audit_head: context.audit_head.clone(),
    }
}

/// Refuses a report that would lie in a tree that may go back, or that is sealed before it is written.
fn refuse_reports_within(context: &Context<'_>, targets: &[PathBuf]) -> Result<(), Failure> {
    for file in context.global.files() {
        let within = |target: &&PathBuf| naming::path_within(target, file).is_some();
        if targets.iter().find(within).is_some() {
            let text = format!(
                "the report `{}` would lie in a tree that is governed",
                naming::shown(file)
            );
            return Err(Failure::because(Kind::Usage, text)
                .with_hint("write it elsewhere")
                .keeping_output());
        }
    }
    Ok(())
}
