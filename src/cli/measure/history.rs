//! What was measured as records of the history, and what the past makes of them.

use super::MeasureArgs;
use super::body::{JudgementSection, Level, SeriesSection};
use super::run::{Measured, is_good};
use super::stages::Stage;
use crate::cli::env;
use crate::cli::failure::{Failure, Kind};
use crate::cli::past;
use crate::cli::spine::Context;
use crate::history::{
    self, Entry, Host, Metrics, Outcome, Pressure, RECORD_VERSION, Record, System,
};
use crate::policy;
use crate::process::Ended;
use crate::profile::record::Recording;
use crate::profile::{self, RunJudgement, RunRequest, StageJudgement};
use crate::report::{Finding, Verdict};
use crate::system;

/// What a run is compared with, and where it goes.
pub(super) struct Past {
    pub(super) key: String,
    entries: Vec<Entry>,
    policy: policy::Profile,
    /// Whether the verdict fails nothing.
    is_harmless: bool,
    /// What of the history was passed over.
    pub(super) notes: Vec<Finding>,
}

impl Past {
    /// Reads the past of the key that counts.
    pub(super) fn read(arguments: &MeasureArgs, context: &Context<'_>) -> Result<Self, Failure> {
        let key = key(arguments, context);
        let mut policy = context.policy.policy.profile.clone();
        if !arguments.gate.is_empty() {
            policy.gate.clone_from(&arguments.gate);
        }
        let mut past = Self {
            key,
            entries: Vec::new(),
            policy,
            is_harmless: arguments.no_gate,
            notes: Vec::new(),
        };
        // The command to compare with is the past.
        if arguments.baseline_cmd.is_none() {
            let read = history::read(&past::directory(context), &past.key);
            let read = read.map_err(|error| Failure::new(Kind::Input, error))?;
            past.notes = past::skipped(&read.notes);
            past.entries = read.lines.into_iter().map(|line| line.entry).collect();
        }
        Ok(past)
    }

    /// Adds a run to compare with.
    pub(super) fn add(&mut self, record: Record) {
        self.entries.push(Entry::Record(record));
    }

    /// Judges what was measured so far.
    pub(super) fn judge(&self, records: &[Record], peaks_are_seen: bool) -> RunJudgement {
        self.judge_with((records, peaks_are_seen), profile::judge_run)
    }

    /// Judges a second look at what the first found slower.
    pub(super) fn judge_again(
        &self,
        first: RunJudgement,
        (records, peaks_are_seen): (&[Record], bool),
        others: &[String],
    ) -> RunJudgement {
        let judge = |request: &RunRequest<'_>| profile::judge_again(first, request, others);
        self.judge_with((records, peaks_are_seen), judge)
    }

    fn judge_with(
        &self,
        (records, peaks_are_seen): (&[Record], bool),
        judge: impl FnOnce(&RunRequest<'_>) -> RunJudgement,
    ) -> RunJudgement {
        let history: Vec<&Entry> = self.entries.iter().collect();
        let mut judgement = judge(&RunRequest {
            history: &history,
            run: records,
            policy: &self.policy,
            peaks_are_seen,
        });
        if self.is_harmless {
            for finding in &mut judgement.findings {
                finding.verdict = Verdict::Pass;
            }
        }
        judgement
    }

    /// Keeps what was measured for later runs.
    pub(super) fn append(
        &self,
        mut records: Vec<Record>,
        (judgement, context): (&RunJudgement, &Context<'_>),
    ) -> Result<(), Failure> {
        for record in &mut records {
            record.gate_verdict = judgement.verdict;
        }
        let entries: Vec<Entry> = records.into_iter().map(Entry::Record).collect();
        history::append(&past::directory(context), &self.key, &entries)
            .map_err(|error| Failure::new(Kind::Output, error))
    }

    /// What the report says of it.
    pub(super) fn section(&self, judgement: &RunJudgement, records: &[Record]) -> JudgementSection {
        JudgementSection {
            key: self.key.clone(),
            verdict: judgement.verdict,
            series: judgement
                .stages
                .iter()
                .map(|one| series(one, records))
                .collect(),
        }
    }
}

/// The flag's, the policy's subject, or the directory's name.
fn key(arguments: &MeasureArgs, context: &Context<'_>) -> String {
    let subject = context.policy.policy.integrity.subject.clone();
    arguments.key.clone().or(subject).unwrap_or_else(|| {
        let directory = env::directory();
        let name = directory.rsplit('/').find(|part| !part.is_empty());
        name.unwrap_or("/").to_owned()
    })
}

fn series(one: &StageJudgement, records: &[Record]) -> SeriesSection {
    let own = records.iter().filter(|record| record.stage == one.stage);
    let current = own.filter_map(|record| profile::value(one.metric, &record.metrics));
    let judged = &one.judgement;
    let lines = profile::level_lines(&one.history, one.accepted_from);
    let levels: Vec<Level> = lines
        .iter()
        .map(|line| Level {
            from: line.from,
            to: line.to,
            level: line.level,
        })
        .collect();
    // What up to the most runs would find four times in five, either way from the last level.
    let band = levels
        .last()
        .zip(judged.minimum_detectable)
        .map(|(last, detectable)| {
            [
                last.level / (1.0 + detectable),
                last.level * (1.0 + detectable),
            ]
        });
    SeriesSection {
        stage: one.stage.clone(),
        metric: profile::metric_name(one.metric),
        verdict: judged.verdict,
        why: judged.why.clone(),
        effect: judged.effect,
        interval: judged.interval.map(|(low, high)| [low, high]),
        p: judged.p,
        minimum_detectable: judged.minimum_detectable,
        noise: judged.noise,
        runs: judged.runs,
        history_runs: judged.history_runs,
        history: one.history.clone(),
        current: current.collect(),
        levels,
        band,
    }
}

/// Whether the kernel kept the peak of memory of not every run.
pub(super) fn has_seen_peaks(measured: &[Measured<'_>]) -> bool {
    let mut runs = measured.iter().flat_map(|one| &one.runs);
    runs.any(|(_, run)| !run.has_kept_peak)
}

/// Everything that was measured, a record for each run.
pub(super) fn records(
    measured: &[Measured<'_>],
    (key, context): (&str, &Context<'_>),
) -> Vec<Record> {
    let each = measured
        .iter()
        .flat_map(|one| one.runs.iter().map(move |run| (one.stage, run)));
    each.map(|(stage, (_, run))| {
        let outcome = match run.ended {
            Ended::TimedOut => Outcome::TimedOut,
            ended if is_good(stage, ended) => Outcome::Passed,
            _ => Outcome::Failed,
        };
        record((stage, run), (key, &context.run_id), outcome)
    })
    .collect()
}

/// One run as a record.
pub(super) fn record(
    (stage, run): (&Stage, &Recording),
    (key, run_id): (&str, &str),
    outcome: Outcome,
) -> Record {
    let machine = super::body::Machine::of(&run.machine, system::fingerprint());
    let host = Host {
        fingerprint: machine.fingerprint,
        // Of a fraction of a processor there is one.
        cpus: Some(machine.cpus.ceil() as u32),
        memory_bytes: machine.memory_bytes,
    };
    Record {
        record_version: RECORD_VERSION.to_owned(),
        run_id: run_id.to_owned(),
        key: key.to_owned(),
        kind: None,
        stage: stage.name.clone(),
        size_class: history::size_class(None),
        host_class: history::host_class(std::env::consts::OS, std::env::consts::ARCH, &host),
        gate_verdict: None,
        started_at: run.started_at,
        finished_at: run.finished_at,
        outcome,
        host,
        workload: stage.expected.workload.clone(),
        system: Some(System {
            psi: Some(Pressure {
                cpu: machine.pressure.cpu,
                io: machine.pressure.io,
                memory: machine.pressure.memory,
            }),
            load: machine.load,
            available_memory_bytes: run.machine.memory.map(|memory| memory.available_bytes),
            probe_seconds: None,
        }),
        metrics: metrics(run),
        budget: stage.expected.budget.clone(),
    }
}

fn metrics(run: &Recording) -> Metrics {
    let figures = &run.figures;
    Metrics {
        wall_seconds: Some(figures.wall_seconds),
        cpu_user_seconds: Some(figures.cpu_user_seconds),
        cpu_system_seconds: Some(figures.cpu_system_seconds),
        run_queue_seconds: Some(figures.run_queue_seconds),
        io_stall_seconds: figures.io_stall_seconds,
        memory_stall_seconds: figures.memory_stall_seconds,
        peak_memory_bytes: figures.peak_memory_bytes,
        read_bytes: figures.read_bytes,
        written_bytes: figures.written_bytes,
        io_operations: figures.io_operations,
    }
}
