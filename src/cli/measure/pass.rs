//! Stages, each run when somebody says so: what a governed run measures.

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
    /// lets it be run.
    pub(in crate::cli) fn wants_more(&mut self) -> bool {
        let runs_max = self.session.context.policy.policy.profile.runs_max;
        let judgement = self.judged();
        let more = judgement.more.values().any(|more| *more > 0);
        let done = self.runs.iter().map(Vec::len).max().unwrap_or(0);
        more && (done as u64) < runs_max
    }

    fn judged(&mut self) -> RunJudgement {
        let runs = std::mem::take(&mut self.runs);
        let measured = measured(&self.plan, runs);
        let records = history::records(&measured, (&self.past.key, self.session.context));
        let peaks_are_seen = history::has_seen_peaks(&measured);
        self.runs = measured.into_iter().map(|one| one.runs).collect();
        self.past.judge(&records, peaks_are_seen)
    }

    /// Judges what was measured against the past, keeps it for later runs, and tells of it.
    pub(in crate::cli) fn end(&mut self) -> Report {
        let judgement = self.judged();
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
