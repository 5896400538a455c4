//! `agp budget`: says how long work may take, from what such work took before.

use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use clap::Args;

use super::failure::{Failure, Kind};
use super::spine::{self, Conduct, Context, Done};
use super::{budget_text, env};
use crate::audit::ReadError;
use crate::base::clock;
use crate::base::naming;
use crate::budget::{
    self, Advice, Past, Question, Recorded, Server, WeighError, WeighRequest, Weighed, Window,
};
use crate::history::{
    self, Entry, Host, Metrics, Outcome, Pressure, RECORD_VERSION, Record, System,
};
use crate::inventory::{Progress, TakeError};
use crate::report::{Report, Resource};
use crate::system::{self, Sample};

/// The kind of work where neither a flag nor the history says.
const KIND: &str = "job";
/// Bytes of a line of `--serve`; the rest of a longer one is passed over.
const LINE_BYTES_MAX: u64 = 1 << 20;
/// How often a server looks whether to stop while it waits for a line, milliseconds.
const WAIT_MILLISECONDS: i64 = 200;

/// Say how long work may take, from what such work took before
///
/// Weighs the targets, looks at the machine and at past runs, and recommends a budget that the
/// share of jobs asked for keeps within. A budget is advice, so the exit code is 0 also where the
/// policy's maximum binds. `timeout $(agp budget --json | jq .budget_seconds) COMMAND` keeps to it.
#[derive(Debug, Args)]
#[command(
    after_help = "Example: agp budget --config config/assets_quality_policy.json --output budget_recommendations.json --verbose"
)]
pub struct BudgetArgs {
    /// Weigh this tree; may be repeated [default: the policy's `pipeline.targets` that are there]
    #[arg(long, value_name = "DIR")]
    pub target: Vec<PathBuf>,
    /// Forecast work of this kind: a record's kind or stage [default: the only one of the history, or
    /// `job`]
    #[arg(long, value_name = "KIND", value_parser = parse_kind)]
    pub kind: Option<String>,
    /// The share of jobs that should keep within [default: the policy's `adaptive_budget.coverage`]
    #[arg(long, value_name = "SHARE", value_parser = parse_coverage)]
    pub coverage: Option<f64>,
    /// Show what each expert says and how the budget comes about
    #[arg(long)]
    pub explain: bool,
    /// Show what budgets would have been worth for all past runs
    #[arg(long)]
    pub backtest: bool,
    /// Answer lines of JSON on stdin until it ends: `predict` and `observe`
    #[arg(long, conflicts_with_all = ["target", "kind", "explain", "backtest", "record", "timed_out"])]
    pub serve: bool,
    /// Record in the history that a job of this kind and weight took so many seconds
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds)]
    pub record: Option<f64>,
    /// Record that it was stopped: at its budget, or after the seconds of `--record`
    #[arg(long)]
    pub timed_out: bool,
}

fn parse_kind(text: &str) -> Result<String, String> {
    match text.is_empty() || text.len() > 1024 {
        true => Err("expected 1 to 1024 bytes".into()),
        false => Ok(text.to_owned()),
    }
}

fn parse_coverage(text: &str) -> Result<f64, String> {
    let share = text
        .parse()
        .ok()
        .filter(|share| *share > 0.0 && *share < 1.0);
    share.ok_or_else(|| "expected a share between 0 and 1, as 0.95".into())
}

fn parse_seconds(text: &str) -> Result<f64, String> {
    let seconds = text
        .parse()
        .ok()
        .filter(|seconds| *seconds > 0.0 && *seconds <= 1e9);
    seconds.ok_or_else(|| "expected seconds above 0, as 12.5".into())
}

impl BudgetArgs {
    /// How the spine treats it.
    pub fn conduct(&self) -> Conduct {
        let records = self.records();
        Conduct {
            name: "budget",
            event: if records {
                "budget.record"
            } else {
                "budget.advise"
            },
            changes: records,
            reports_to_output: !self.serve,
        }
    }

    fn records(&self) -> bool {
        self.record.is_some() || self.timed_out
    }

    /// Advises, records or serves.
    ///
    /// # Errors
    /// A target that was named and cannot be opened, and a history that cannot be read or written.
    pub fn run(&self, context: &Context<'_>) -> Result<Done, Failure> {
        if self.serve {
            return self.server(context);
        }
        let (targets, weighed) = self.weigh(context)?;
        let directory = context.state_dir.join("history");
        let window = if self.backtest {
            Window::Whole
        } else {
            Window::Newest
        };
        let past = budget::past(&directory, window).map_err(unread)?;
        let sample = system::sample();
        let kind = self.kind.as_deref().or(past.only_kind()).unwrap_or(KIND);
        let shown: Vec<String> = targets.iter().map(|target| naming::shown(target)).collect();
        let place = targets.first().map_or(Path::new("."), PathBuf::as_path);
        let mut advice = budget::advise(&Question {
            policy: &context.policy.policy,
            kind,
            coverage: self.coverage(context),
            past: &past,
            weighed: weighed.as_ref(),
            targets: &shown,
            sample: &sample,
            disk: system::disk_room(place),
        });
        if self.backtest {
            advice.body.backtest = Some(self.replay(context, &past));
        }
        if self.records() {
            let record = self.record(context, (&advice, weighed.as_ref(), &sample));
            let key = record.key.clone();
            advice.body.recorded = Some(recorded(&record));
            let entry = Entry::Record(record);
            history::append(&directory, &key, &[entry])
                .map_err(|error| Failure::new(Kind::Output, error))?;
        }
        Ok(Done::Report(self.report(&shown, advice)))
    }

    fn coverage(&self, context: &Context<'_>) -> f64 {
        let policy = &context.policy.policy.adaptive_budget;
        self.coverage.unwrap_or(policy.coverage)
    }

    /// The trees that are there, and their weight.
    fn weigh(&self, context: &Context<'_>) -> Result<(Vec<PathBuf>, Option<Weighed>), Failure> {
        let targets: Vec<PathBuf> = match self.target.is_empty() {
            false => self.target.clone(),
            true => {
                let usual = context
                    .policy
                    .policy
                    .pipeline
                    .targets
                    .iter()
                    .map(PathBuf::from);
                usual.filter(|target| target.is_dir()).collect()
            }
        };
        if targets.is_empty() {
            return Ok((targets, None));
        }
        let _bar = context.show_progress();
        let trees: Vec<&Path> = targets.iter().map(PathBuf::as_path).collect();
        let weighed = budget::weigh(&WeighRequest {
            targets: &trees,
            state_dir: &context.state_dir,
            progress: context.progress,
        });
        let weighed = weighed.map_err(|error| match error {
            WeighError::Take(TakeError::Interrupted) => spine::interrupted(),
            WeighError::Take(TakeError::Open { .. }) => {
                Failure::new(Kind::Input, error).with_hint("name a directory with `--target`")
            }
        })?;
        Ok((targets, Some(weighed)))
    }

    fn replay(&self, context: &Context<'_>, past: &Past) -> budget::Backtest {
        let policy = &context.policy.policy.adaptive_budget;
        budget::backtest(&past.runs, self.coverage(context), budget::formula(policy))
    }

    /// The record of a run that was told.
    fn record(
        &self,
        context: &Context<'_>,
        (advice, weighed, sample): (&Advice, Option<&Weighed>, &Sample),
    ) -> Record {
        let seconds = self.record.unwrap_or(advice.body.budget_seconds);
        let finished_at = clock::now();
        let host = Host {
            fingerprint: None,
            cpus: Some(sample.cpus),
            memory_bytes: advice.body.utilization.memory_total_bytes,
        };
        let workload = weighed.map(|weighed| weighed.workload.clone());
        let (os, architecture) = (std::env::consts::OS, std::env::consts::ARCH);
        Record {
            record_version: RECORD_VERSION.to_owned(),
            run_id: context.run_id.clone(),
            key: key(context),
            kind: Some(advice.body.summary.kind.clone()),
            stage: advice.body.summary.kind.clone(),
            size_class: history::size_class(workload.as_ref()),
            host_class: history::host_class(os, architecture, &host),
            gate_verdict: None,
            started_at: finished_at.plus_seconds(-(seconds.round() as i64)),
            finished_at,
            outcome: if self.timed_out {
                Outcome::TimedOut
            } else {
                Outcome::Passed
            },
            host,
            workload,
            system: Some(machine_of(sample)),
            metrics: Metrics {
                wall_seconds: Some(seconds),
                ..Metrics::default()
            },
            budget: Some(history::Budget {
                predicted_seconds: advice.body.budget_seconds,
                coverage: self.coverage(context),
                expert: Some(advice.body.budgets.processing_seconds.expert.clone()),
            }),
        }
    }

    fn report(&self, targets: &[String], advice: Advice) -> Report {
        let headline = budget_text::headline(&advice.body);
        let mut lines = budget_text::lines(&advice.body);
        if self.explain {
            lines.extend(budget_text::explanation(&advice.body));
        }
        let resources = targets.iter().map(|target| Resource {
            path: target.clone(),
            access: "read",
            sha256: None,
        });
        let resources = resources.collect();
        Report::new("budget", headline, advice.findings)
            .with_body(&advice.body)
            .with_text(lines.join("\n"))
            .with_resources(resources)
    }

    /// Lines in, lines out, until stdin ends or somebody interrupts.
    fn server(&self, context: &Context<'_>) -> Result<Done, Failure> {
        if context.global.wants_json() {
            let text = "`agp budget --serve` answers lines and makes no report";
            return Err(Failure::because(Kind::Usage, text).with_hint("leave `--json` out"));
        }
        let policy = &context.policy.policy.adaptive_budget;
        let mut server = Server::new(self.coverage(context), budget::formula(policy));
        let progress = Arc::clone(context.progress);
        Ok(Done::Data(Box::new(move |out| {
            serve(&mut server, &progress, out)
        })))
    }
}

/// What the history calls this place: the policy's subject, or the working directory's name.
fn key(context: &Context<'_>) -> String {
    let subject = context.policy.policy.integrity.subject.clone();
    let directory = env::directory();
    let name = Path::new(&directory).file_name();
    let name = name.map(|name| name.to_string_lossy().into_owned());
    subject.or(name).unwrap_or_else(|| "root".to_owned())
}

fn machine_of(sample: &Sample) -> System {
    let share = |pressure: Option<system::Pressure>| {
        pressure.map(|one| (one.some_percent / 100.0).clamp(0.0, 1.0))
    };
    System {
        psi: Some(Pressure {
            cpu: share(sample.pressure_cpu),
            io: share(sample.pressure_io),
            memory: share(sample.pressure_memory),
        }),
        load: sample.load.map(|load| load[0]),
        available_memory_bytes: sample.memory.map(|memory| memory.available_bytes),
        probe_seconds: None,
    }
}

fn recorded(record: &Record) -> Recorded {
    Recorded {
        run_id: record.run_id.clone(),
        key: record.key.clone(),
        seconds: record.metrics.wall_seconds.unwrap_or_default(),
        timed_out: record.outcome == Outcome::TimedOut,
        budget_seconds: record
            .budget
            .as_ref()
            .map_or(0.0, |budget| budget.predicted_seconds),
    }
}

fn unread(error: history::HistoryError) -> Failure {
    Failure::new(Kind::Input, error)
}

fn serve(server: &mut Server, progress: &Progress, out: &mut dyn Write) -> io::Result<()> {
    let mut input = BufReader::with_capacity(1 << 16, Input { progress });
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = input
            .by_ref()
            .take(LINE_BYTES_MAX)
            .read_until(b'\n', &mut line)?;
        if progress.interrupted.load(Ordering::Relaxed) {
            return Err(io::Error::other(ReadError::Interrupted));
        }
        if read == 0 {
            return Ok(());
        }
        let answer = match std::str::from_utf8(&line) {
            Ok(text) if line.ends_with(b"\n") || (line.len() as u64) < LINE_BYTES_MAX => {
                server.answer(text)
            }
            Ok(_) => {
                input.skip_until(b'\n')?;
                Some(r#"{"error":"longer than a line may be"}"#.to_owned())
            }
            Err(_) => Some(r#"{"error":"not UTF-8 text"}"#.to_owned()),
        };
        if let Some(answer) = answer {
            writeln!(out, "{answer}")?;
            out.flush()?;
        }
    }
}

/// Stdin that ends when somebody interrupts: a blocked read would not notice.
struct Input<'a> {
    progress: &'a Progress,
}

impl Read for Input<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        use rustix::event::{PollFd, PollFlags, Timespec};
        let stdin = io::stdin();
        let wait = Timespec {
            tv_sec: 0,
            tv_nsec: WAIT_MILLISECONDS * 1_000_000,
        };
        loop {
            if self.progress.interrupted.load(Ordering::Relaxed) {
                return Ok(0);
            }
            let mut ready = [PollFd::new(&stdin, PollFlags::IN)];
            match rustix::event::poll(&mut ready, Some(&wait)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Ok(_) => return Ok(rustix::io::read(&stdin, &mut *buffer)?),
                Err(error) => return Err(error.into()),
            }
        }
    }
}
