//! `agp profile` without a subcommand: runs stages, measures them, and asks whether that is more
//! than it was.

mod again;
mod body;
mod history;
mod pass;
mod run;
mod stages;

use std::ffi::OsString;

use clap::Args;

use super::failure::{Failure, Kind};
use super::spine::{Context, Done};
use crate::policy::Metric;

pub use body::ProfileBody;
pub(super) use pass::Pass;
pub(super) use run::Bounds;
pub(super) use stages::Expected;

/// What to run, and how it is judged.
#[derive(Debug, Args)]
pub struct MeasureArgs {
    /// Make a stage of this name that runs CMD with /bin/sh; repeatable, in the order in which they run
    #[arg(long, value_name = "NAME=CMD", value_parser = parse_definition)]
    pub define_stage: Vec<Definition>,
    /// Run only this stage; repeatable
    #[arg(long, value_name = "NAME")]
    pub stage: Vec<String>,
    /// How often to run every stage; `auto`: once, and again what looks slower
    #[arg(long, value_name = "auto|N", default_value = "auto", value_parser = parse_runs)]
    pub runs: Runs,
    /// Run every stage so often beforehand, without measuring
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=100))]
    pub warmup: u32,
    /// Run this with /bin/sh before every run of a stage, without measuring it
    #[arg(long, value_name = "CMD")]
    pub prepare: Option<String>,
    /// Compare with this command, run in turns with the stage, in place of the history
    #[arg(long, value_name = "CMD")]
    pub baseline_cmd: Option<String>,
    /// Keep the history under this name [default: the subject of the policy, or the directory's name]
    #[arg(long, value_name = "KEY")]
    pub key: Option<String>,
    /// Let these metrics make a run a regression, as `cpu_seconds` [default: profile.gate of the policy]
    #[arg(long, value_name = "METRIC", num_args = 1.., value_parser = parse_metric)]
    pub gate: Vec<Metric>,
    /// Judge, and fail for no regression
    #[arg(long, conflicts_with = "gate")]
    pub no_gate: bool,
    /// The command and its arguments: a stage of its own
    #[arg(last = true, value_name = "CMD")]
    pub command: Vec<OsString>,
}

/// A stage of the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    /// Its name.
    pub name: String,
    /// Text for /bin/sh.
    pub script: String,
}

/// How often to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runs {
    /// Once, and again where that is not enough to tell.
    Auto,
    /// So often.
    Exactly(u32),
}

/// Most runs that can be asked for.
const RUNS_MAX: u32 = 1000;

fn parse_runs(text: &str) -> Result<Runs, String> {
    match text.parse() {
        _ if text == "auto" => Ok(Runs::Auto),
        Ok(runs @ 1..=RUNS_MAX) => Ok(Runs::Exactly(runs)),
        _ => Err(format!("expected `auto` or a number from 1 to {RUNS_MAX}")),
    }
}

fn parse_definition(text: &str) -> Result<Definition, String> {
    match text.split_once('=') {
        Some((name, script)) if !name.trim().is_empty() && !script.trim().is_empty() => {
            Ok(Definition {
                name: name.to_owned(),
                script: script.to_owned(),
            })
        }
        _ => Err("expected NAME=CMD, as `pack=make pack`".into()),
    }
}

fn parse_metric(text: &str) -> Result<Metric, String> {
    // The names are those of the policy file.
    let parsed = serde_json::from_value(serde_json::Value::from(text));
    parsed.map_err(|error| error.to_string())
}

impl MeasureArgs {
    /// Those of the policy's stages that are named, or all, and a command behind them; each once.
    pub(super) fn once(stage: &[String], command: &[OsString]) -> Self {
        Self {
            define_stage: Vec::new(),
            stage: stage.to_vec(),
            runs: Runs::Exactly(1),
            warmup: 0,
            prepare: None,
            baseline_cmd: None,
            key: None,
            gate: Vec::new(),
            no_gate: false,
            command: command.to_vec(),
        }
    }

    /// Whether another command is the past.
    fn is_compared(&self) -> bool {
        self.baseline_cmd.is_some()
    }

    /// Runs, measures, judges.
    ///
    /// # Errors
    /// A stage that cannot start, a preparation that fails, an interruption.
    pub(super) fn run(&self, context: &Context<'_>) -> Result<Done, Failure> {
        if self.baseline_cmd.is_some() && self.runs == Runs::Exactly(1) {
            let text = "`--baseline-cmd` takes several runs of both, and `--runs 1` allows one";
            return Err(Failure::because(Kind::Usage, text));
        }
        let plan = stages::plan(self, context)?;
        run::run(self, &plan, context).map(Done::Report)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_stages_runs_and_metrics() {
        assert_eq!(parse_runs("auto"), Ok(Runs::Auto));
        assert_eq!(parse_runs("7"), Ok(Runs::Exactly(7)));
        for bad in ["0", "1001", "-1", "x", ""] {
            assert!(parse_runs(bad).is_err(), "{bad}");
        }
        let definition = parse_definition("a=b=c").ok();
        assert_eq!(
            definition.map(|it| (it.name, it.script)),
            Some(("a".into(), "b=c".into()))
        );
        for bad in ["a", "=b", "a=", " = "] {
            assert!(parse_definition(bad).is_err(), "{bad}");
        }
        assert_eq!(parse_metric("wall_seconds"), Ok(Metric::WallSeconds));
        assert!(parse_metric("speed").is_err_and(|text| text.contains("wall_seconds")));
    }
}
