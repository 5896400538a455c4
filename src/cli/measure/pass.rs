//! Every stage once, each when somebody says so: what a governed run measures.

use super::history::Past;
use super::run::{self, Bounds, Measured, Session, is_good};
use super::stages::{self, Expected, Origin, Plan};
use super::{MeasureArgs, history};
use crate::cli::failure::Failure;
use crate::cli::spine::Context;
use crate::process::{Ended, Identity};
use crate::profile::record::Recording;
use crate::report::Report;

/// Stages, and what was measured of them so far.
pub(in crate::cli) struct Pass<'a> {
    session: Session<'a>,
    plan: Plan,
    past: Past,
    /// With when each began after the pass did; of the first stages, in order.
    done: Vec<(f64, Recording)>,
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
        Ok(Self {
            session: Session::new(arguments, context)?,
            plan: stages::plan(arguments, context)?,
            past: Past::read(arguments, context)?,
            done: Vec::new(),
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

    /// Runs the next stage; its end, 0 for any code that is a good one, and how long it took in seconds.
    ///
    /// # Errors
    /// A stage that cannot start, and an interruption.
    pub(in crate::cli) fn next(
        &mut self,
        bounds: &Bounds<'_>,
        started: &mut dyn FnMut(Identity),
    ) -> Result<(Ended, f64), Failure> {
        let Some(stage) = self.plan.stages.get(self.done.len()) else {
            return Ok((Ended::Code(0), 0.0));
        };
        let run = self.session.within(stage, bounds, started)?;
        let ended = match run.1.ended {
            ended if is_good(stage, ended) => Ended::Code(0),
            ended => ended,
        };
        let seconds = run.1.figures.wall_seconds;
        self.done.push(run);
        Ok((ended, seconds))
    }

    /// Judges what was measured against the past, keeps it for later runs, and tells of it.
    pub(in crate::cli) fn end(&mut self) -> Report {
        let done = std::mem::take(&mut self.done).into_iter();
        let mut runs = done.map(|run| vec![run]);
        let measured: Vec<Measured<'_>> = self
            .plan
            .stages
            .iter()
            .map(|stage| Measured {
                stage,
                runs: runs.next().unwrap_or_default(),
            })
            .collect();
        let records = history::records(&measured, (&self.past.key, self.session.context));
        let judgement = self.past.judge(&records);
        run::report(
            &self.session,
            &self.plan,
            (&measured, &self.past, judgement),
        )
    }
}
