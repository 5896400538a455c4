//! What a governed run does between its snapshot and its end: stages, looks, seals.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use serde_json::Value;

use super::body::StageBudget;
use super::confine::Room;
use crate::base::{clock, naming};
use crate::budget::{self, Question, Window};
use crate::cli::failure::{Failure, Kind};
use crate::cli::measure::{Bounds, Expected, Pass};
use crate::cli::scan::Scan;
use crate::cli::sign::{MANIFEST_NAME, SignArgs};
use crate::cli::spine::{Context, Done};
use crate::cli::verify::VerifyArgs;
use crate::cli::{env, guard_report, keys};
use crate::guard::{self, Examiner, Redactor};
use crate::history;
use crate::inventory::Globs;
use crate::pipeline::Allowance;
use crate::policy::{FailurePattern, Stage};
use crate::process::{self, Ended, Governed, Identity, QueryError};
use crate::report::{Explanation, Finding, Report, Resource, Verdict, codes};
use crate::rollback::{self, Hands, Place, RestoreRequest, Watch, Worked};
use crate::system;

/// What a stage may take beyond what was expected before it is told: the less it takes, the more its length
/// depends on what else the machine does.
const SECONDS_NOT_MISSED: f64 = 1.0;

/// What a run needs to know.
pub(super) struct Terms<'a> {
    pub(super) context: &'a Context<'a>,
    pub(super) place: Place<'a>,
    pub(super) scan: &'a Scan<'a>,
    /// Who looks into the trees while they are read.
    pub(super) examiner: Option<&'a Examiner<'a>>,
    pub(super) pass: Pass<'a>,
    /// Trees, as they were named.
    pub(super) targets: &'a [PathBuf],
    /// Where we are, absolute, without links.
    pub(super) directory: &'a Path,
    /// Text for /bin/sh.
    pub(super) checks: &'a [String],
    pub(super) signs: bool,
    /// Whether stages run again, from the snapshot, to tell whether they have become slower.
    pub(super) repeats: bool,
}

/// What was done so far.
#[derive(Default)]
pub(super) struct Did {
    pub(super) targets: Vec<String>,
    pub(super) stages: u64,
    pub(super) stages_passed: u64,
    pub(super) entries_changed: u64,
    pub(super) violations_before: u64,
    pub(super) snapshots_removed: u64,
    pub(super) budget: Vec<StageBudget>,
    pub(super) profile: Option<Report>,
    pub(super) guard: Option<Report>,
    pub(super) sign: Option<Report>,
    pub(super) verify: Option<Report>,
    /// What stands behind the rules of findings.
    pub(super) explanations: BTreeMap<String, Explanation>,
}

/// A pipeline between its snapshot and its end.
pub(super) struct Governing<'a> {
    terms: Terms<'a>,
    hidden: Vec<OsString>,
    stdout: Option<std::os::fd::OwnedFd>,
    interrupted: &'a AtomicBool,
    /// What each stage of the policy may change, beside what its operations are about, by its name.
    changeable: BTreeMap<&'a str, Globs>,
    did: Did,
}

impl<'a> Governing<'a> {
    /// Makes it ready.
    ///
    /// # Errors
    /// A pattern of the policy that cannot be used.
    pub(super) fn new(terms: Terms<'a>) -> Result<Self, Failure> {
        let context = terms.context;
        let mut changeable = BTreeMap::new();
        for stage in &context.policy.policy.pipeline.stages {
            let globs = Globs::compile(&stage.allow_change)
                .map_err(|error| Failure::new(Kind::Policy, error))?;
            changeable.insert(stage.name.as_str(), globs);
        }
        let did = Did {
            targets: terms.targets.iter().map(|one| naming::shown(one)).collect(),
            stages: terms.pass.names().len() as u64,
            ..Did::default()
        };
        Ok(Self {
            hidden: keys::hidden_variables(&context.policy.policy),
            stdout: context.stdout_of_children(),
            interrupted: &context.progress.interrupted,
            changeable,
            did,
            terms,
        })
    }

    /// What was done.
    pub(super) fn done(self) -> Did {
        self.did
    }

    /// The stage of the policy that is called so; a command of the command line is none.
    fn configured(&self, name: &str) -> Option<&'a Stage> {
        let stages = &self.terms.context.policy.policy.pipeline.stages;
        stages.iter().find(|stage| stage.name == name)
    }

    /// Trees that were not what their manifests say before anything ran.
    fn invalid_before(&self) -> Vec<Finding> {
        let manifests = self.terms.targets.iter().map(|one| one.join(MANIFEST_NAME));
        let there = manifests.filter(|manifest| manifest.is_file());
        let invalid = there.filter_map(|manifest| {
            let verified = self.verify(vec![manifest.clone()]);
            let reason = match &verified {
                Ok(report) if report.verdict == Verdict::Pass => return None,
                Ok(report) => report.headline.clone(),
                Err(reason) => reason.clone(),
            };
            let finding = Finding::new(&codes::RUN_INVALID_BEFORE, reason);
            Some(finding.at(naming::shown(&manifest)))
        });
        invalid.collect()
    }

    fn verify(&self, manifest: Vec<PathBuf>) -> Result<Report, String> {
        let verify = VerifyArgs::through_cache(manifest);
        match verify.run(self.terms.context) {
            Ok(Done::Report(report)) => Ok(report),
            Ok(_) => Err("there is no report".to_owned()),
            Err(failure) => Err(failure.message().to_owned()),
        }
    }

    /// What is known of every stage beforehand.
    fn budgets(&mut self, watch: &Watch) -> Result<(), Failure> {
        let context = self.terms.context;
        let policy = &context.policy.policy;
        // What is guarded beside the targets stands behind them.
        let trees = watch.trees().take(self.terms.targets.len());
        let weighed = budget::weigh_known(trees);
        let past = budget::past(&context.state_dir.join("history"), Window::Newest)
            .map_err(|error| Failure::new(Kind::Input, error))?;
        let sample = system::sample();
        let place = self.terms.targets.first();
        let place = place.map_or(Path::new("."), PathBuf::as_path);
        let names: Vec<String> = self.terms.pass.names().map(str::to_owned).collect();
        for (at, name) in names.iter().enumerate() {
            let advice = budget::advise(&Question {
                policy,
                kind: name,
                coverage: policy.adaptive_budget.coverage,
                past: &past,
                weighed: Some(&weighed),
                targets: &self.did.targets,
                sample: &sample,
                disk: system::disk_room(place),
            });
            let ceiling = policy.adaptive_budget.enabled;
            let ceiling = ceiling.then_some(policy.adaptive_budget.max_budget_seconds);
            let own = self.configured(name).and_then(|stage| stage.budget_seconds);
            let workload = Some(weighed.workload.clone());
            let budget = Some(history::Budget {
                predicted_seconds: advice.body.budget_seconds,
                coverage: policy.adaptive_budget.coverage,
                expert: Some(advice.body.budgets.processing_seconds.expert.clone()),
            });
            self.terms.pass.expect(at, Expected { workload, budget });
            self.did.budget.push(StageBudget {
                stage: name.clone(),
                limit_seconds: own.or(ceiling),
                writable: None,
                advice: advice.body,
            });
        }
        Ok(())
    }

    /// Runs one stage and looks at what it changed.
    fn stage(
        &mut self,
        (at, watch): (usize, &mut Watch),
        started: &mut dyn FnMut(Identity),
    ) -> Result<Worked, Failure> {
        let name = self.did.budget[at].stage.clone();
        let free = Globs::default();
        let scan = self.terms.scan;
        let declared = self
            .configured(&name)
            .map_or(&[][..], |stage| &stage.operations);
        let changeable = self.changeable.get(name.as_str()).unwrap_or(&free);
        let allowance = Allowance::new(
            (&name, declared, changeable),
            scan.operations(),
            self.terms.directory,
        );
        let (room, unconfined) = self.room(&allowance)?;
        let places = room.as_ref().map(|room| room.shown(self.terms.directory));
        self.did.budget[at].writable.clone_from(&places);
        let variables = room.as_ref().map(Room::variables).unwrap_or_default();
        let bounds = Bounds {
            seconds_max: self.did.budget[at].limit_seconds,
            confine: room.as_ref().map(Room::confine),
            variables: &variables,
        };
        let (ended, seconds) = self.terms.pass.run((at, &bounds), started)?;
        let mut worked = Worked::of(&format!("the stage `{name}`"), ended);
        if let Some(places) = places {
            let hint = format!(
                "by its operations it may write in `{}` alone",
                places.join("`, `")
            );
            let told = worked.findings.into_iter();
            worked.findings = told.map(|one| one.with_hint(hint.clone())).collect();
        }
        drop(room);
        worked.findings.extend(unconfined);
        let predicted = self.did.budget[at].advice.budget_seconds;
        if ended.is_success() && seconds > predicted + SECONDS_NOT_MISSED {
            let text = format!(
                "the stage `{name}` took {seconds:.2} s, and {predicted:.2} s were expected at most"
            );
            worked
                .findings
                .push(Finding::new(&codes::RUN_BUDGET_EXCEEDED, text));
        }
        let changes = watch
            .look(self.terms.place)
            .map_err(crate::cli::rollback::failure)?;
        self.did.entries_changed += changes.len() as u64;
        worked
            .findings
            .extend(changes.iter().filter_map(|one| allowance.judge(one)));
        Ok(worked)
    }

    /// The room of a stage that is to be confined, or why it is not.
    fn room(&self, allowance: &Allowance<'_>) -> Result<(Option<Room>, Option<Finding>), Failure> {
        let Some(places) = allowance.writable() else {
            return Ok((None, None));
        };
        if !env::may_confine() || !process::can_confine() {
            let text = "the kernel keeps no stage from writing where it may not";
            return Ok((None, Some(Finding::new(&codes::RUN_UNCONFINED, text))));
        }
        let place = (self.terms.directory, &places[..]);
        let room = Room::prepare(place, &self.terms.context.state_dir);
        room.map(|room| (Some(room), None))
            .map_err(|error| Failure::new(Kind::Output, error))
    }

    /// Runs all stages, and again from the snapshot where that is wanted to tell whether they have become
    /// slower.
    fn stages(
        &mut self,
        snapshot: &str,
        started: &mut dyn FnMut(Identity),
    ) -> Result<Worked, Failure> {
        let mut before = self.invalid_before();
        loop {
            let watch = Watch::from(self.terms.place, snapshot);
            let mut watch = watch.map_err(crate::cli::rollback::failure)?;
            if self.did.budget.is_empty() {
                self.budgets(&watch)?;
            }
            let mut worked = self.once(&mut watch, started)?;
            worked.watch = Some(watch);
            let is_good = |one: &Finding| one.verdict == Verdict::Pass;
            let is_whole = worked.ended.is_success() && worked.findings.iter().all(is_good);
            let wants_more = match is_whole && self.terms.repeats {
                true => self.terms.pass.wants_more(),
                false => Ok(false),
            };
            // Whoever interrupts the wait wants the trees back.
            if wants_more.is_err() {
                worked.ended = Ended::Interrupted;
            }
            if !wants_more.unwrap_or(false) {
                worked.findings.append(&mut before);
                return Ok(worked);
            }
            let back = RestoreRequest::whole(Some(snapshot), clock::now());
            let restored = rollback::restore(self.terms.place, &back);
            restored.map_err(crate::cli::rollback::failure)?;
        }
    }

    /// Runs stages until one fails or does what it may not.
    fn once(
        &mut self,
        watch: &mut Watch,
        started: &mut dyn FnMut(Identity),
    ) -> Result<Worked, Failure> {
        let mut all = Worked {
            ended: Ended::Code(0),
            findings: Vec::new(),
            watch: None,
        };
        (self.did.stages_passed, self.did.entries_changed) = (0, 0);
        for at in 0..self.did.budget.len() {
            let worked = match self.stage((at, watch), started) {
                Ok(worked) => worked,
                Err(_) if self.terms.context.progress.is_interrupted() => {
                    all.ended = Ended::Interrupted;
                    return Ok(all);
                }
                Err(failure) if at == 0 => return Err(failure),
                // What came before it is to be taken back.
                Err(failure) => {
                    let text = failure.message().to_owned();
                    all.ended = Ended::Code(127);
                    all.findings
                        .push(Finding::new(&codes::RUN_COMMAND_FAILED, text));
                    return Ok(all);
                }
            };
            let is_bad = |finding: &Finding| finding.verdict != Verdict::Pass;
            let stops = worked.findings.iter().any(is_bad);
            all.ended = worked.ended;
            all.findings.extend(worked.findings);
            if stops {
                break;
            }
            self.did.stages_passed += 1;
        }
        Ok(all)
    }

    /// What guard makes of the trees.
    fn guard(&mut self, snapshot: &str, watch: Option<&Watch>) -> Result<Vec<Finding>, Failure> {
        let scan = self.terms.scan;
        let mut looked = scan.look((self.terms.targets, snapshot), (self.terms.examiner, watch))?;
        self.did.violations_before = looked.before.len() as u64;
        let mut findings = std::mem::take(&mut looked.report.findings);
        for one in &mut findings {
            let is_empty = one.code == &codes::SCAN_EMPTY;
            // Only what was not there before speaks against the stages.
            if is_empty || (one.verdict == Verdict::Violation && !looked.new.contains(one)) {
                one.verdict = Verdict::Pass;
            }
        }
        if let Some(first) = looked.before.first() {
            let text = match looked.before.len() {
                1 => "a violation was there before".to_owned(),
                several => format!("{several} violations were there before"),
            };
            let finding = Finding::new(&codes::RUN_VIOLATION_BEFORE, text);
            findings.push(finding.at(first.path.clone().unwrap_or_default()));
        }
        self.did
            .explanations
            .extend(guard::behind(scan.pack(), &findings));
        let level = self
            .terms
            .context
            .policy
            .policy
            .policy_guard
            .enforcement_level;
        let decisions = vec![guard_report::held_to(level, &findings)];
        self.did.guard = Some(looked.report.with_decisions(decisions));
        // A stage's command may spell what it wrote.
        if let Some(profile) = &mut self.did.profile {
            looked.redactor.redact(&mut profile.headline);
            let sections = profile.body.values_mut();
            sections.for_each(|section| redact(&looked.redactor, section));
        }
        Ok(findings)
    }

    /// Signs every tree as guard looked at it, and verifies what was signed.
    fn sealed(&mut self, watch: Option<&Watch>) -> Result<Vec<Finding>, String> {
        let mut seen = Vec::new();
        for target in self.terms.targets {
            let Some(tree) = watch.and_then(|watch| watch.whole(target)) else {
                let text = "it leads to no tree that guard looked at";
                let finding = Finding::new(&codes::RUN_UNSEALED, text);
                return Ok(vec![finding.at(rollback::shown(target))]);
            };
            seen.push(tree);
        }
        let sign = SignArgs::through_cache(self.terms.targets.to_vec());
        let mut signed = match sign.seal(self.terms.context, &seen) {
            Ok(signed) => signed,
            Err(failure) => return Ok(failure.findings.into_iter().map(unsealed).collect()),
        };
        let mut findings = std::mem::take(&mut signed.findings);
        let manifests = self.terms.targets.iter().map(|one| one.join(MANIFEST_NAME));
        let mut verified = self.verify(manifests.collect())?;
        findings.append(&mut verified.findings);
        self.did.sign = Some(signed);
        self.did.verify = Some(verified);
        Ok(findings)
    }
}

/// What kept a tree from being sealed.
fn unsealed(reason: Finding) -> Finding {
    let finding = Finding::new(&codes::RUN_UNSEALED, reason.message);
    Finding {
        path: reason.path,
        hint: reason.hint,
        ..finding
    }
}

impl Hands for Governing<'_> {
    fn work(
        &mut self,
        snapshot: &str,
        started: &mut dyn FnMut(Identity),
    ) -> Result<Worked, String> {
        let mut worked = self
            .stages(snapshot, started)
            .map_err(|failure| failure.message().to_owned())?;
        let mut profile = self.terms.pass.end();
        // That a stage failed is told already.
        let told = |one: &Finding| one.code != &codes::PROFILE_COMMAND_FAILED;
        let measured = std::mem::take(&mut profile.findings);
        worked.findings.extend(measured.into_iter().filter(told));
        self.did.profile = Some(profile);
        Ok(worked)
    }

    fn check(&mut self, number: usize) -> Result<Ended, QueryError> {
        let script = self.terms.checks.get(number).ok_or(QueryError::Empty)?;
        let argv = ["/bin/sh", "-c", script].map(OsString::from);
        let governed = Governed {
            argv: &argv,
            hidden: &self.hidden,
            timeout: None,
            interrupted: self.interrupted,
            exceeded: None,
            stdout: self.stdout.as_ref(),
        };
        process::govern(&governed, &mut |_| {})
    }

    fn judge(&mut self, snapshot: &str, watch: Option<&Watch>) -> Result<Vec<Finding>, String> {
        self.guard(snapshot, watch)
            .map_err(|failure| failure.message().to_owned())
    }

    fn seal(&mut self, watch: Option<&Watch>) -> Result<Vec<Finding>, String> {
        match self.terms.signs {
            true => self.sealed(watch),
            false => Ok(Vec::new()),
        }
    }

    fn fires(&self, finding: &Finding) -> bool {
        let policy = &self.terms.context.policy.policy.rollback_playbook;
        let looks_for = |pattern| policy.critical_failure_patterns.contains(&pattern);
        match finding.verdict {
            Verdict::Pass => false,
            // A stage that had to be stopped is one that failed.
            Verdict::Regression => {
                looks_for(FailurePattern::PerformanceRegression)
                    || finding.code == &codes::RUN_TIMED_OUT
            }
            Verdict::Violation => looks_for(FailurePattern::SecurityViolation),
            Verdict::Fail | Verdict::Error => true,
        }
    }
}

impl Did {
    /// Everything that the verbs read and wrote.
    pub(super) fn resources(&mut self) -> Vec<Resource> {
        let verbs = [&mut self.guard, &mut self.sign, &mut self.verify];
        let reports = verbs.into_iter().flatten();
        reports
            .flat_map(|report| std::mem::take(&mut report.resources))
            .collect()
    }
}

/// Hides what was found in every text of a value.
fn redact(redactor: &Redactor, value: &mut Value) {
    match value {
        Value::String(text) => redactor.redact(text),
        Value::Array(all) => all.iter_mut().for_each(|one| redact(redactor, one)),
        Value::Object(all) => all.values_mut().for_each(|one| redact(redactor, one)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
