//! Stages in their order, each as often as it takes, and the report of it all.

use std::ffi::OsString;
use std::time::{Duration, Instant};

use super::again::SecondLook;
use super::body::{
    self, Machine, Measuring, ProfileBody, RunSection, Slowest, StageSection, Summary, TimeLine,
};
use super::history::{self, Past};
use super::stages::{self, Origin, Plan, Stage};
use super::{MeasureArgs, Runs};
use crate::base::units;
use crate::cli::failure::{Failure, Kind};
use crate::cli::spine::{self, Context};
use crate::cli::{env, keys};
use crate::history::{GateVerdict, Outcome, Record};
use crate::policy::Limit;
use crate::process::{self, Confine, Ended, Governed, Identity, Surroundings};
use crate::profile::RunJudgement;
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

/// What a run may not go beyond, beside the policy's maxima.
#[derive(Default)]
pub(in crate::cli) struct Bounds<'a> {
    /// When it is stopped, seconds.
    pub(in crate::cli) seconds_max: Option<f64>,
    /// Where it may write.
    pub(in crate::cli) confine: Option<Confine<'a>>,
    /// Variables that it sees beside those of its stage.
    pub(in crate::cli) variables: &'a [(OsString, OsString)],
}

/// What runs need to know.
pub(super) struct Session<'a> {
    arguments: &'a MeasureArgs,
    pub(super) context: &'a Context<'a>,
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
    let session = Session::new(arguments, context)?;
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
    let mut past = Past::read(arguments, context)?;
    let rounds = match arguments.runs {
        Runs::Exactly(runs) => runs,
        // Both take turns, so that there is a past to compare with.
        Runs::Auto if arguments.baseline_cmd.is_some() => TURNS,
        Runs::Auto => 1,
    };
    let baseline = session.baseline(plan)?;
    let mut is_complete = true;
    for round in 0..rounds {
        if let Some(stage) = &baseline {
            past.add(session.turn((stage, &past.key), round)?);
        }
        is_complete = is_complete && session.round(&mut measured)?;
    }
    let judgement = judged(&session, (&past, is_complete), &mut measured)?;
    Ok(report(&session, plan, (&measured, &past, judgement)))
}

/// Judges, and runs again what that asks for.
fn judged(
    session: &Session<'_>,
    (past, is_complete): (&Past, bool),
    measured: &mut [Measured<'_>],
) -> Result<RunJudgement, Failure> {
    let runs_max = session.context.policy.policy.profile.runs_max;
    let may_repeat =
        is_complete && session.arguments.runs == Runs::Auto && !session.arguments.is_compared();
    loop {
        let records = history::records(measured, (&past.key, session.context));
        let judgement = past.judge(&records, history::has_seen_peaks(measured));
        let mut has_run = false;
        for one in measured.iter_mut() {
            let more = judgement.more.get(&one.stage.name).copied().unwrap_or(0);
            for _ in 0..more {
                if may_repeat && (one.runs.len() as u64) < runs_max {
                    one.runs.push(session.once(one.stage)?);
                    has_run = true;
                }
            }
        }
        if !has_run {
            return match may_repeat {
                true => look_again(session, (past, judgement), measured),
                false => Ok(judgement),
            };
        }
    }
}

/// Looks a second time at what was found slower, and lets that decide.
fn look_again(
    session: &Session<'_>,
    (past, first): (&Past, RunJudgement),
    measured: &mut [Measured<'_>],
) -> Result<RunJudgement, Failure> {
    let second = match SecondLook::after(first, measured) {
        Ok(second) => second,
        Err(first) => return Ok(first),
    };
    while second.lacks(measured) {
        session.pause(second.pause())?;
        for one in &mut *measured {
            if second.wants(&one.stage.name) {
                one.runs.push(session.once(one.stage)?);
            }
        }
    }
    Ok(second.judge(past, (measured, session.context)))
}

/// How often a stage and the command to compare it with take turns.
const TURNS: u32 = 9;

/// Whether a stage came to a good end.
pub(super) fn is_good(stage: &Stage, ended: Ended) -> bool {
    let is_ok = |code| u8::try_from(code).is_ok_and(|code| stage.ok_codes.contains(&code));
    matches!(ended, Ended::Code(code) if is_ok(code))
}

impl<'a> Session<'a> {
    pub(super) fn new(
        arguments: &'a MeasureArgs,
        context: &'a Context<'a>,
    ) -> Result<Self, Failure> {
        let words = ["tool", "enter"].map(OsString::from);
        Ok(Self {
            arguments,
            context,
            hidden: keys::hidden_variables(&context.policy.policy),
            enter: [stages::own_program()?].into_iter().chain(words).collect(),
            path: env::lookup("PATH"),
            stdout: context.stdout_of_children(),
            began: Instant::now(),
        })
    }

    /// Every stage once, in order; `false` where one failed, and what comes after it would work on
    /// what it did not make.
    fn round(&self, measured: &mut [Measured<'_>]) -> Result<bool, Failure> {
        for one in measured {
            let run = self.once(one.stage)?;
            let is_good = is_good(one.stage, run.1.ended);
            one.runs.push(run);
            if !is_good {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The command to compare with, as a stage of the same name as the only one.
    fn baseline(&self, plan: &Plan) -> Result<Option<Stage>, Failure> {
        let Some(script) = &self.arguments.baseline_cmd else {
            return Ok(None);
        };
        let [stage] = &plan.stages[..] else {
            let text = "`--baseline-cmd` is compared with one stage";
            let hint = "choose one with `--stage NAME`";
            return Err(Failure::because(Kind::Usage, text).with_hint(hint));
        };
        Ok(Some(Stage {
            argv: ["/bin/sh", "-c", script].map(OsString::from).into(),
            shown: script.clone(),
            ..stage.clone()
        }))
    }

    /// A run of the command to compare with, as a record of the past.
    fn turn(&self, (stage, key): (&Stage, &str), round: u32) -> Result<Record, Failure> {
        let (_, run) = self.once(stage)?;
        if !is_good(stage, run.ended) {
            let text = format!("the command to compare with ended with {}", run.ended);
            return Err(Failure::because(Kind::Input, text));
        }
        let run_id = format!("baseline-{round}");
        Ok(history::record(
            (stage, &run),
            (key, &run_id),
            Outcome::Passed,
        ))
    }

    /// Waits, unless somebody interrupts.
    pub(super) fn pause(&self, duration: Duration) -> Result<(), Failure> {
        let end = Instant::now() + duration;
        while Instant::now() < end {
            if self.context.progress.is_interrupted() {
                return Err(spine::interrupted());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// One run of a stage, after its preparation.
    fn once(&self, stage: &Stage) -> Result<(f64, Recording), Failure> {
        self.within(stage, &Bounds::default(), &mut |_| {})
    }

    /// The same within bounds; `started` learns who it is.
    pub(super) fn within(
        &self,
        stage: &Stage,
        bounds: &Bounds<'_>,
        started: &mut dyn FnMut(Identity),
    ) -> Result<(f64, Recording), Failure> {
        if let Some(script) = &self.arguments.prepare {
            self.prepare(script)?;
        }
        let policy = &self.context.policy.policy;
        let benchmarks = &policy.performance_benchmarks;
        // A maximum that only warns stops nobody.
        let is_fatal = |limit| policy.profile.limits_fail.contains(&limit);
        let seconds = [
            is_fatal(Limit::Time).then_some(benchmarks.max_processing_time_seconds),
            bounds.seconds_max,
        ];
        let seconds = seconds.into_iter().flatten().reduce(f64::min);
        let memory = is_fatal(Limit::Memory).then_some(benchmarks.max_memory_usage_mb << 20);
        let offset = self.began.elapsed().as_secs_f64();
        let variables = [&stage.variables[..], bounds.variables].concat();
        let request = record::Request {
            argv: &stage.argv,
            surroundings: Surroundings {
                variables: &variables,
                directory: stage.directory.as_deref(),
            },
            hidden: &self.hidden,
            timeout: seconds.map(|max| Duration::try_from_secs_f64(max).unwrap_or(Duration::MAX)),
            memory_bytes_max: memory,
            confine: bounds.confine,
            interrupted: &self.context.progress.interrupted,
            stdout: self.stdout.as_ref(),
            sample_hz: policy.profile.sample_hz,
            enter: &self.enter,
            path: self.path.as_ref(),
        };
        let recording = record::record(&request, started).map_err(|error| {
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
            exceeded: None,
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

pub(super) fn report(
    session: &Session<'_>,
    plan: &Plan,
    (measured, past, judgement): (&[Measured<'_>], &Past, RunJudgement),
) -> Report {
    let context = session.context;
    let records = history::records(measured, (&past.key, context));
    let mut findings = past.notes.clone();
    findings.extend(judgement.findings.iter().cloned());
    let section = (!records.is_empty()).then(|| past.section(&judgement, &records));
    // A comparison of two commands is no part of the history of one.
    if !records.is_empty()
        && !session.arguments.is_compared()
        && let Err(failure) = past.append(records, (&judgement, context))
    {
        findings.extend(failure.findings);
    }
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
    if plan.origin == Origin::None {
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
        stages: measured.iter().map(stage_section).collect(),
        judgement: section,
        measuring: Measuring {
            sample_hz: session.context.policy.policy.profile.sample_hz,
            degraded,
        },
        machine: Machine::of(&machine, system::fingerprint()),
    };
    let text = measured.iter().filter_map(line).collect();
    let headline = headline(&body.summary) + verdict(&judgement);
    Report::new("profile", headline, findings)
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
    let workload = match plan.origin {
        Origin::Stages => "stages",
        Origin::Own => "own",
        Origin::None => "none",
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

/// What the past makes of it, in a few words behind the headline.
fn verdict(judgement: &RunJudgement) -> &'static str {
    match judgement.verdict {
        None => "",
        Some(GateVerdict::Regression) => "; SLOWER than before",
        Some(GateVerdict::Inconclusive) => "; perhaps slower than before",
        Some(GateVerdict::Improvement) => "; better than before",
        Some(GateVerdict::Ok) => "; as before",
        Some(GateVerdict::NotEnoughHistory) => "; too few runs to compare with",
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
        units::printable(&measured.stage.name),
        bottleneck::told(&run.analysis, figures.wall_seconds),
        figures.cpu_user_seconds + figures.cpu_system_seconds,
        memory(figures.peak_memory_bytes),
        match measured.runs.len() {
            1 => String::new(),
            runs => format!(" (median of {runs} runs)"),
        }
    ))
}

fn stage_section(measured: &Measured<'_>) -> StageSection {
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
        Ended::TimedOut | Ended::TooLarge | Ended::Interrupted => (None, None),
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
