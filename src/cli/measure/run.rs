//! Stages in their order, each as often as it takes, and the report of it all.

use std::ffi::OsString;
use std::time::{Duration, Instant};

use super::body::{
    self, Machine, Measuring, ProfileBody, RunSection, Slowest, StageSection, Summary, TimeLine,
};
use super::stages::{self, Plan, Stage, Workload};
use super::{MeasureArgs, Runs};
use crate::base::units;
use crate::cli::failure::{Failure, Kind};
use crate::cli::spine::{self, Context};
use crate::cli::{env, keys};
use crate::policy::Limit;
use crate::process::{self, Ended, Governed, Surroundings};
use crate::profile::bottleneck;
use crate::profile::limits::{self, Limits};
use crate::profile::record::{self, Recording, folded_to};
use crate::report::{Finding, Report, codes};
use crate::system;

/// Spans of a run that the report shows.
const SPANS_SHOWN_MAX: usize = 1000;

/// A stage and every run of it.
pub(super) struct Measured<'a> {
    pub(super) stage: &'a Stage,
    /// With when each began after the first of all did.
    pub(super) runs: Vec<(f64, Recording)>,
}

impl Measured<'_> {
    /// The run of median wall time; of two in the middle the faster one. `None` without any.
    pub(super) fn median(&self) -> Option<usize> {
        let mut order: Vec<usize> = (0..self.runs.len()).collect();
        let wall = |at: &usize| self.runs[*at].1.figures.wall_seconds;
        order.sort_by(|a, b| wall(a).total_cmp(&wall(b)));
        order.get(order.len().saturating_sub(1) / 2).copied()
    }
}

/// What runs need to know.
struct Session<'a> {
    arguments: &'a MeasureArgs,
    context: &'a Context<'a>,
    hidden: Vec<OsString>,
    enter: Vec<OsString>,
    path: Option<OsString>,
    stdout: Option<std::os::fd::OwnedFd>,
    began: Instant,
}

/// Runs everything and tells of it.
pub(super) fn run(
    arguments: &MeasureArgs,
    plan: &Plan,
    context: &Context<'_>,
) -> Result<Report, Failure> {
    let session = Session {
        arguments,
        context,
        hidden: keys::hidden_variables(&context.policy.policy),
        enter: [stages::own_program()?]
            .into_iter()
            .chain(["tool", "enter-group"].map(OsString::from))
            .collect(),
        path: env::lookup("PATH"),
        stdout: context.stdout_of_children(),
        began: Instant::now(),
    };
    let mut measured: Vec<Measured<'_>> = Vec::new();
    for stage in &plan.stages {
        measured.push(Measured {
            stage,
            runs: Vec::new(),
        });
    }
    for stage in &plan.stages {
        for _ in 0..arguments.warmup {
            session.once(stage)?;
        }
    }
    let rounds = match arguments.runs {
        Runs::Auto => 1,
        Runs::Exactly(runs) => runs,
    };
    'all: for _ in 0..rounds {
        for one in &mut measured {
            let run = session.once(one.stage)?;
            let is_good = is_good(one.stage, run.1.ended);
            one.runs.push(run);
            // What comes after a failed stage would work on what it did not make.
            if !is_good {
                break 'all;
            }
        }
    }
    Ok(report(&session, plan, &measured))
}

fn is_good(stage: &Stage, ended: Ended) -> bool {
    matches!(ended, Ended::Code(code) if u8::try_from(code).is_ok_and(|code| stage.ok_codes.contains(&code)))
}

impl Session<'_> {
    /// One run of a stage, after its preparation.
    fn once(&self, stage: &Stage) -> Result<(f64, Recording), Failure> {
        if let Some(script) = &self.arguments.prepare {
            self.prepare(script)?;
        }
        let policy = &self.context.policy.policy;
        let max = policy.performance_benchmarks.max_processing_time_seconds;
        let is_fatal = policy.profile.limits_fail.contains(&Limit::Time);
        let offset = self.began.elapsed().as_secs_f64();
        let recorded = record::record(&record::Request {
            argv: &stage.argv,
            surroundings: Surroundings {
                variables: &stage.variables,
                directory: stage.directory.as_deref(),
            },
            hidden: &self.hidden,
            // A maximum that only warns stops nobody.
            timeout: is_fatal.then(|| Duration::try_from_secs_f64(max).unwrap_or(Duration::MAX)),
            interrupted: &self.context.progress.interrupted,
            stdout: self.stdout.as_ref(),
            sample_hz: policy.profile.sample_hz,
            enter: &self.enter,
            path: self.path.as_ref(),
        });
        let recording = recorded.map_err(|error| {
            let hint = format!("stage `{}` runs `{}`", stage.name, stage.shown);
            Failure::new(Kind::Input, error).with_hint(hint)
        })?;
        match recording.ended {
            Ended::Interrupted => Err(spine::interrupted()),
            _ => Ok((offset, recording)),
        }
    }

    fn prepare(&self, script: &str) -> Result<(), Failure> {
        let argv = ["/bin/sh", "-c", script].map(OsString::from);
        let governed = Governed {
            argv: &argv,
            hidden: &self.hidden,
            timeout: None,
            interrupted: &self.context.progress.interrupted,
            stdout: self.stdout.as_ref(),
        };
        let ended = process::govern(&governed, &mut |_| {})
            .map_err(|error| Failure::new(Kind::Input, error))?;
        match ended {
            Ended::Code(0) => Ok(()),
            Ended::Interrupted => Err(spine::interrupted()),
            ended => {
                let text = format!("the preparation ended with {ended}");
                Err(Failure::because(Kind::Input, text))
            }
        }
    }
}

fn report(session: &Session<'_>, plan: &Plan, measured: &[Measured<'_>]) -> Report {
    let mut findings = Vec::new();
    let mut degraded: Vec<String> = Vec::new();
    for one in measured {
        findings.extend(
            one.runs
                .iter()
                .flat_map(|(_, run)| found(session, one.stage, run)),
        );
        degraded.extend(one.runs.iter().flat_map(|(_, run)| run.degraded.clone()));
    }
    findings.dedup_by(|a, b| a == b);
    degraded.sort();
    degraded.dedup();
    if plan.workload == Workload::None {
        let targets = session.context.policy.policy.pipeline.targets.join("`, `");
        let text = format!(
            "no stage is configured, and no target of `pipeline.targets` is there: `{targets}`"
        );
        findings.push(Finding::new(&codes::PROFILE_NO_WORKLOAD, text));
    }
    let first = measured.iter().find_map(|one| one.runs.first());
    let machine = first.map_or_else(system::sample, |(_, run)| run.machine.clone());
    let body = ProfileBody {
        summary: summary(plan, measured),
        stages: measured.iter().map(section).collect(),
        measuring: Measuring {
            sample_hz: session.context.policy.policy.profile.sample_hz,
            degraded,
        },
        machine: Machine::of(&machine, system::fingerprint()),
    };
    let text = measured.iter().filter_map(line).collect();
    Report::new("profile", headline(&body.summary), findings)
        .with_body(&body)
        .with_text(text)
}

/// Everything worth a line about one run.
fn found(session: &Session<'_>, stage: &Stage, run: &Recording) -> Vec<Finding> {
    let policy = &session.context.policy.policy;
    let limits = Limits {
        benchmarks: &policy.performance_benchmarks,
        fail: &policy.profile.limits_fail,
        near_ratio: policy.alerts.resource_exhaustion_ratio,
        cpus: body::cpus_of(&run.machine),
    };
    let mut findings = limits::check(&stage.name, (&run.figures, run.ended), &limits);
    if !is_good(stage, run.ended) {
        let text = format!("stage `{}` ended with {}", stage.name, run.ended);
        findings.push(Finding::new(&codes::PROFILE_COMMAND_FAILED, text));
    }
    if run.left_running > 0 {
        let left = units::count(run.left_running, "process");
        let text = format!(
            "stage `{}` left {} running, stopped since",
            stage.name, left
        );
        findings.push(Finding::new(&codes::PROFILE_LEFT_RUNNING, text));
    }
    findings
}

fn summary(plan: &Plan, measured: &[Measured<'_>]) -> Summary {
    let workload = match plan.workload {
        Workload::Stages => "stages",
        Workload::Own => "own",
        Workload::None => "none",
    };
    let mut summary = Summary {
        workload: workload.to_owned(),
        ..Summary::default()
    };
    for one in measured {
        let Some(median) = one.median() else { continue };
        let (_, run) = &one.runs[median];
        let wall = run.figures.wall_seconds;
        summary.stages += 1;
        summary.runs += one.runs.len() as u64;
        summary.wall_seconds += wall;
        summary.cpu_seconds += run.figures.cpu_user_seconds + run.figures.cpu_system_seconds;
        let peaks = one
            .runs
            .iter()
            .map(|(_, run)| run.figures.peak_memory_bytes);
        summary.peak_memory_bytes = peaks.fold(summary.peak_memory_bytes, Option::max);
        if summary
            .slowest
            .as_ref()
            .is_none_or(|slowest| wall > slowest.wall_seconds)
        {
            summary.slowest = Some(Slowest {
                stage: one.stage.name.clone(),
                wall_seconds: wall,
                bottleneck: run.analysis.bottleneck.resource,
                share: run.analysis.bottleneck.share,
            });
        }
    }
    summary
}

fn headline(summary: &Summary) -> String {
    let Some(slowest) = &summary.slowest else {
        return "no workload is configured: nothing was profiled".to_owned();
    };
    let repeated = match summary.runs > summary.stages {
        true => format!(" in {}", units::count(summary.runs, "run")),
        false => String::new(),
    };
    let held_up = format!(
        "{} {:.0} %",
        slowest.bottleneck.word(),
        slowest.share * 100.0
    );
    match summary.stages {
        1 => format!(
            "profiled `{}`{repeated}: {:.2} s, CPU {:.2} s, {}; held up by {held_up}",
            slowest.stage,
            summary.wall_seconds,
            summary.cpu_seconds,
            memory(summary.peak_memory_bytes),
        ),
        stages => format!(
            "profiled {}{repeated}: {:.2} s, CPU {:.2} s, at most {}; slowest `{}` with {:.2} s, held up by {held_up}",
            units::count(stages, "stage"),
            summary.wall_seconds,
            summary.cpu_seconds,
            memory(summary.peak_memory_bytes),
            slowest.stage,
            slowest.wall_seconds,
        ),
    }
}

fn memory(peak_bytes: Option<u64>) -> String {
    peak_bytes.map_or_else(|| "memory not known".to_owned(), units::bytes)
}

/// A stage in a line for people.
fn line(measured: &Measured<'_>) -> Option<String> {
    let (_, run) = &measured.runs[measured.median()?];
    let figures = &run.figures;
    Some(format!(
        "  {}: {}; CPU {:.2} s, peak {}{}\n",
        measured.stage.name,
        bottleneck::told(&run.analysis, figures.wall_seconds),
        figures.cpu_user_seconds + figures.cpu_system_seconds,
        memory(figures.peak_memory_bytes),
        match measured.runs.len() {
            1 => String::new(),
            runs => format!(" (median of {runs} runs)"),
        }
    ))
}

fn section(measured: &Measured<'_>) -> StageSection {
    StageSection {
        stage: measured.stage.name.clone(),
        command: measured.stage.shown.clone(),
        median_run: measured.median().unwrap_or(0),
        runs: measured
            .runs
            .iter()
            .map(|run| run_section(measured.stage, run))
            .collect(),
    }
}

fn run_section(stage: &Stage, (offset_seconds, run): &(f64, Recording)) -> RunSection {
    let (exit_code, signal) = match run.ended {
        Ended::Code(code) => (Some(code), None),
        Ended::Signal(signal) => (None, Some(signal)),
        Ended::TimedOut | Ended::Interrupted => (None, None),
    };
    RunSection {
        started_at: run.started_at.to_string(),
        offset_seconds: *offset_seconds,
        outcome: match run.ended {
            Ended::TimedOut => "timed_out",
            ended if is_good(stage, ended) => "passed",
            _ => "failed",
        },
        exit_code,
        signal,
        figures: run.figures,
        time: run.analysis,
        left_running: run.left_running,
        time_line: TimeLine::of(&folded_to(&run.spans, SPANS_SHOWN_MAX)),
        cost: run.cost,
    }
}
