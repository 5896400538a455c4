//! Stages, each run when somebody says so: what a governed run measures.

use super::again::SecondLook;
use super::history::Past;
use super::run::{self, Bounds, Measured, Session, is_good};
use super::stages::{self, Expected, Origin, Plan};
use super::{MeasureArgs, history};
use crate::cli::failure::Failure;
use crate::cli::spine::Context;
use crate::process::{Ended, Identity};
use crate::profile::RunJudgement;
use crate::profile::record::Recording;
use crate::report::Report;

/// Stages, and what was measured of them so far.
pub(in crate::cli) struct Pass<'a> {
    session: Session<'a>,
    plan: Plan,
    past: Past,
    /// Every run of each stage, with when it began after the pass did.
    runs: Vec<Vec<(f64, Recording)>>,
    /// What follows a first look that found something slower.
    second: Option<SecondLook>,
}

impl<'a> Pass<'a> {
    /// Finds out which stages there are, and reads their past.
    ///
    /// # Errors
    /// Stages that are not there, and a history that cannot be read.
    pub(in crate::cli) fn new(
        arguments: &'a MeasureArgs,
        context: &'a Context<'a>,
    ) -> Result<Self, Failure> {
        let plan = stages::plan(arguments, context)?;
        Ok(Self {
            session: Session::new(arguments, context)?,
            past: Past::read(arguments, context)?,
            runs: plan.stages.iter().map(|_| Vec::new()).collect(),
            second: None,
            plan,
        })
    }

    /// Whether nobody named a stage.
    pub(in crate::cli) fn is_own(&self) -> bool {
        self.plan.origin != Origin::Stages
    }

    /// The names of the stages, in the order in which they run.
    pub(in crate::cli) fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.plan.stages.iter().map(|stage| stage.name.as_str())
    }

    /// Says what is known of a stage's work before it begins.
    pub(in crate::cli) fn expect(&mut self, at: usize, expected: Expected) {
        if let Some(stage) = self.plan.stages.get_mut(at) {
            stage.expected = expected;
        }
    }

    /// Runs a stage; its end, 0 for any code that is a good one, and how long it took in seconds.
    ///
    /// # Errors
    /// A stage that cannot start, and an interruption.
    pub(in crate::cli) fn run(
        &mut self,
        (at, bounds): (usize, &Bounds<'_>),
        started: &mut dyn FnMut(Identity),
    ) -> Result<(Ended, f64), Failure> {
        let Some((stage, runs)) = self.plan.stages.get(at).zip(self.runs.get_mut(at)) else {
            return Ok((Ended::Code(0), 0.0));
        };
        let run = self.session.within(stage, bounds, started)?;
        let ended = match run.1.ended {
            ended if is_good(stage, ended) => Ended::Code(0),
            ended => ended,
        };
        let seconds = run.1.figures.wall_seconds;
        runs.push(run);
        Ok((ended, seconds))
    }

    /// Whether running everything once more would tell whether it has become slower, as far as the policy
    /// lets it be run, or is a second look at what was found slower, before which it waits.
    ///
    /// # Errors
    /// An interruption.
    pub(in crate::cli) fn wants_more(&mut self) -> Result<bool, Failure> {
        if self.second.is_none() {
            let runs_max = self.session.context.policy.policy.profile.runs_max;
            let done = self.runs.iter().map(Vec::len).max().unwrap_or(0);
            let judgement = self.judged();
            let helps = judgement.more.values().any(|more| *more > 0);
            if helps && (done as u64) < runs_max {
                return Ok(true);
            }
            self.second = self.with_measured(|_, all| SecondLook::after(judgement, all).ok());
        }
        let Some(second) = self.second.take() else {
            return Ok(false);
        };
        let lacks = self.with_measured(|_, all| second.lacks(all));
        if lacks {
            self.session.pause(second.pause())?;
        }
        self.second = Some(second);
        Ok(lacks)
    }

    fn judged(&mut self) -> RunJudgement {
        let context = self.session.context;
        self.with_measured(|past, all| {
            let records = history::records(all, (&past.key, context));
            past.judge(&records, history::has_seen_peaks(all))
        })
    }

    /// Looks at what was measured so far, and at the past.
    fn with_measured<T>(&mut self, look: impl FnOnce(&Past, &[Measured<'_>]) -> T) -> T {
        let measured = measured(&self.plan, std::mem::take(&mut self.runs));
        let seen = look(&self.past, &measured);
        self.runs = measured.into_iter().map(|one| one.runs).collect();
        seen
    }

    /// Judges what was measured against the past, keeps it for later runs, and tells of it.
    pub(in crate::cli) fn end(&mut self) -> Report {
        let context = self.session.context;
        let judgement = match self.second.take() {
            None => self.judged(),
            Some(second) => self.with_measured(|past, all| second.judge(past, (all, context))),
        };
        let measured = measured(&self.plan, std::mem::take(&mut self.runs));
        run::report(
            &self.session,
            &self.plan,
            (&measured, &self.past, judgement),
        )
    }
}

fn measured(plan: &Plan, runs: Vec<Vec<(f64, Recording)>>) -> Vec<Measured<'_>> {
    let stages = plan.stages.iter().zip(runs);
    stages
        .map(|(stage, runs)| Measured { stage, runs })
        .collect()
}
