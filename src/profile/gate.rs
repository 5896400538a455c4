//! The verdict about a run: all its stages and metrics together (pure).
//!
//! Thirty verdicts at one percent each would alarm in every fourth clean run, so that the evidence
//! of each is held against how many there are (Holm 1979). What makes all stages slower at once is
//! the machine, as far as the past shows that this helps; it is then judged as a stage of its own.

use std::collections::BTreeMap;

use serde::Serialize;

use super::numbers::median;
use super::regress::{self, Assessment, Family, Judgement, Series, Settings, percent};
use super::series::{self, Line, Past};
use super::siblings::Siblings;
use super::trend;
use crate::history::{Entry, GateVerdict, Outcome, Record};
use crate::policy::{self, Metric};
use crate::report::{Finding, Verdict, codes};

/// The stage that stands for what all stages of a run have in common.
pub const ALL_STAGES: &str = "*";

/// What a run is judged by.
#[derive(Debug)]
pub struct RunRequest<'a> {
    /// Everything written before this run, oldest first; other keys, stages and hosts do not
    /// matter.
    pub history: &'a [&'a Entry],
    /// The run's own records: all stages, the repetitions of each in their order. They share one
    /// key and one `run_id`.
    pub run: &'a [Record],
    /// The gate, the floor and the most runs.
    pub policy: &'a policy::Profile,
    /// Whether peaks of memory were only seen from the side: how high a peak is that nobody kept depends on
    /// when somebody looked.
    pub peaks_are_seen: bool,
}

/// The least change, as a share, of a peak of memory that was only seen. Runs of one short job came out 8 %
/// apart.
const SEEN_PEAK_FLOOR: f64 = 0.25;
/// The least change of a duration, seconds: a tick of the scheduler, or what starting a process may differ by …
const SECONDS_MIN: f64 = 0.005;
/// … and of a size, bytes: what the kernel maps around a fault or reads ahead.
const BYTES_MIN: f64 = 262_144.0;
/// So many of the newest runs tell how large a metric is.
const NEWEST: usize = 9;

impl RunRequest<'_> {
    /// The least change that counts of a stage's metric with this past, as a share.
    pub(super) fn effect_floor(&self, (stage, metric): (&str, Metric), history: &[f64]) -> f64 {
        let newest = &history[history.len().saturating_sub(NEWEST)..];
        // Without a past nothing is judged.
        let size = median(newest).max(f64::MIN_POSITIVE);
        let least = match metric {
            // What all have in common has no unit.
            _ if stage == ALL_STAGES => 0.0,
            Metric::CpuSeconds | Metric::CpuUserSeconds | Metric::CpuSystemSeconds => SECONDS_MIN,
            Metric::WallSeconds | Metric::RunQueueSeconds => SECONDS_MIN,
            Metric::IoStallSeconds | Metric::MemoryStallSeconds => SECONDS_MIN,
            Metric::PeakMemoryBytes | Metric::ReadBytes | Metric::WrittenBytes => BYTES_MIN,
            Metric::IoOperations => 0.0,
        };
        let is_seen = metric == Metric::PeakMemoryBytes && self.peaks_are_seen;
        let floor = if is_seen { SEEN_PEAK_FLOOR } else { 0.0 };
        self.policy.effect_floor.max(floor).max(least / size)
    }

    pub(super) fn settings(&self, series: (&str, Metric), history: &[f64]) -> Settings {
        Settings {
            effect_floor: self.effect_floor(series, history),
            runs_max: usize::try_from(self.policy.runs_max).unwrap_or(usize::MAX),
        }
    }
}

/// What is said of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct RunJudgement {
    /// The verdict of all together: what the run's records bear as `gate_verdict`. `None` where
    /// the policy gates nothing, or nothing was measured.
    pub verdict: Option<GateVerdict>,
    /// Every stage and metric of the gate that was measured, by stage and then as the gate names
    /// them.
    pub stages: Vec<StageJudgement>,
    /// How many further repetitions of a stage would help to tell; stages that need none are not
    /// there.
    pub more: BTreeMap<String, usize>,
    /// What is worth a line, sorted.
    pub findings: Vec<Finding>,
}

/// One stage and metric.
#[derive(Clone, Debug, PartialEq)]
pub struct StageJudgement {
    /// The stage; [`ALL_STAGES`] for what they have in common.
    pub stage: String,
    /// The metric.
    pub metric: Metric,
    /// What is said of it.
    pub judgement: Judgement,
    /// By what its chance is multiplied, since others are judged with it.
    pub factor: f64,
    /// The past it was compared with: what each past run took, oldest first.
    pub history: Vec<f64>,
    /// From which of these on somebody accepted another level; 0 for none.
    pub accepted_from: usize,
    /// Whether the other stages told the machine's speed, so that only repetitions of all help.
    pub needs_all: bool,
}

/// Judges a run against its history.
pub fn judge_run(request: &RunRequest<'_>) -> RunJudgement {
    let past = Past::of(request.history.iter().copied());
    let mut candidates = Vec::new();
    for metric in &request.policy.gate {
        candidates.extend(candidates_of(*metric, &past, request.run));
    }
    let factors = holm(&candidates);
    let members = candidates.len();
    let mut of_stage: BTreeMap<String, usize> = BTreeMap::new();
    for candidate in &candidates {
        *of_stage.entry(candidate.stage.clone()).or_default() += 1;
    }
    let decide = |(candidate, factor): (Candidate, f64)| StageJudgement {
        judgement: candidate.assessment.decide(
            &request.settings(
                (&candidate.stage, candidate.metric),
                since(&candidate.history, candidate.accepted_from),
            ),
            &Family {
                members,
                repeated_together: match candidate.needs_all {
                    true => members,
                    false => of_stage.get(&candidate.stage).copied().unwrap_or(1),
                },
                factor,
            },
        ),
        stage: candidate.stage,
        metric: candidate.metric,
        factor,
        history: candidate.history,
        accepted_from: candidate.accepted_from,
        needs_all: candidate.needs_all,
    };
    let mut stages: Vec<StageJudgement> = candidates.into_iter().zip(factors).map(decide).collect();
    let place = |metric: Metric| request.policy.gate.iter().position(|gate| *gate == metric);
    stages.sort_by_key(|one| (one.stage.clone(), place(one.metric)));
    let more = more(&stages, request.run);
    RunJudgement::of(request, (stages, members), more)
}

impl RunJudgement {
    /// What is said of a run of which its stages are judged, as so many members of a family.
    pub(super) fn of(
        request: &RunRequest<'_>,
        (stages, members): (Vec<StageJudgement>, usize),
        more: BTreeMap<String, usize>,
    ) -> Self {
        Self {
            verdict: verdict(&stages),
            more,
            findings: findings(&stages, (request, members)),
            stages,
        }
    }
}

/// What may become a verdict.
struct Candidate {
    stage: String,
    metric: Metric,
    assessment: Assessment,
    history: Vec<f64>,
    accepted_from: usize,
    needs_all: bool,
}

/// The stages of a run that passed, each with what one metric says of its repetitions.
struct Measured<'a> {
    like: &'a Record,
    values: Vec<f64>,
    probes: Vec<Option<f64>>,
}

fn measured(metric: Metric, run: &[Record]) -> Vec<Measured<'_>> {
    let mut stages: Vec<Measured<'_>> = Vec::new();
    for record in run {
        // What a failed stage took says nothing, and neither do its other repetitions.
        let same = |other: &Record| other.stage == record.stage;
        let mut others = run.iter().filter(|other| same(other));
        if others.any(|other| other.outcome != Outcome::Passed) {
            continue;
        }
        let Some(value) = series::value(metric, &record.metrics) else {
            continue;
        };
        let place = stages.iter().position(|stage| same(stage.like));
        let place = place.unwrap_or_else(|| {
            stages.push(Measured {
                like: record,
                values: Vec::new(),
                probes: Vec::new(),
            });
            stages.len() - 1
        });
        stages[place].values.push(value);
        stages[place].probes.push(series::probe(record));
    }
    stages
}

fn candidates_of(metric: Metric, past: &Past<'_>, run: &[Record]) -> Vec<Candidate> {
    let stages = measured(metric, run);
    let lines: Vec<Line<'_>> = stages
        .iter()
        .map(|stage| past.line(stage.like, metric))
        .collect();
    let values: Vec<&[f64]> = stages.iter().map(|stage| stage.values.as_slice()).collect();
    // The probe is no part of what is judged, so that it is asked before the siblings are.
    let siblings = match stages
        .iter()
        .any(|stage| stage.probes.iter().any(Option::is_some))
    {
        true => None,
        false => Siblings::of(&lines, &values),
    };
    let mut found = Vec::new();
    let mut divided = false;
    for (at, (stage, line)) in stages.iter().zip(&lines).enumerate() {
        let probe = match &siblings {
            Some(siblings) => siblings.probe(at),
            None => own_probe(stage, line),
        };
        let history: Vec<f64> = line.points.iter().map(|point| point.value).collect();
        let series = Series {
            history: &history,
            current: &stage.values,
            probe: probe
                .as_ref()
                .map(|(past, now)| (past.as_slice(), now.as_slice())),
            accepted_from: line.accepted_from,
        };
        // Values and probes above 0 alone come this far.
        if let Ok(assessment) = regress::assess(&series) {
            let needs_all = siblings.is_some() && assessment.has_divided();
            divided |= needs_all;
            found.push(Candidate {
                stage: stage.like.stage.clone(),
                metric,
                assessment,
                history,
                accepted_from: line.accepted_from,
                needs_all,
            });
        }
    }
    // What was taken out of every stage may be no machine: it is judged by itself.
    let common = siblings.filter(|_| divided).and_then(|siblings| {
        let (history, current) = siblings.common();
        let series = Series {
            history: &history,
            current: &current,
            ..Series::default()
        };
        let assessment = regress::assess(&series).ok()?;
        Some(Candidate {
            stage: ALL_STAGES.to_owned(),
            metric,
            assessment,
            history,
            accepted_from: 0,
            needs_all: true,
        })
    });
    found.extend(common);
    found
}

/// The probes beside a stage; `None` unless every run has one.
fn own_probe(stage: &Measured<'_>, line: &Line<'_>) -> Option<(Vec<f64>, Vec<f64>)> {
    let past: Option<Vec<f64>> = line.points.iter().map(|point| point.probe).collect();
    let now: Option<Vec<f64>> = stage.probes.iter().copied().collect();
    past.zip(now)
}

/// By what the evidence of each is multiplied: the strongest by how many there are, the next by
/// one less, and so on, until one is not convicted; then none behind it is.
fn holm(candidates: &[Candidate]) -> Vec<f64> {
    let members = candidates.len();
    let evidence = |at: usize| {
        candidates[at]
            .assessment
            .evidence()
            .unwrap_or(f64::INFINITY)
    };
    let mut order: Vec<usize> = (0..members).collect();
    order.sort_by(|one, other| evidence(*one).total_cmp(&evidence(*other)));
    let mut factors = vec![members as f64; members];
    for (rank, at) in order.into_iter().enumerate() {
        let factor = (members - rank) as f64;
        if evidence(at) * factor >= 1.0 {
            break;
        }
        factors[at] = factor;
    }
    factors
}

/// One word for all: the worst that holds of any; a change for the better, where there is no worse.
fn verdict(stages: &[StageJudgement]) -> Option<GateVerdict> {
    let precedence = [
        GateVerdict::Regression,
        GateVerdict::Inconclusive,
        GateVerdict::Improvement,
        GateVerdict::Ok,
        GateVerdict::NotEnoughHistory,
    ];
    let holds = |verdict: &GateVerdict| stages.iter().any(|one| one.judgement.verdict == *verdict);
    precedence.into_iter().find(holds)
}

/// A stage needs as many repetitions as the neediest of its metrics. Where the other stages tell the
/// machine's speed, theirs are needed too.
fn more(stages: &[StageJudgement], run: &[Record]) -> BTreeMap<String, usize> {
    let mut more = BTreeMap::new();
    for one in stages.iter().filter(|one| one.judgement.more > 0) {
        let named = |record: &&Record| one.needs_all || record.stage == one.stage;
        for record in run.iter().filter(named) {
            let most = more.entry(record.stage.clone()).or_insert(0);
            *most = one.judgement.more.max(*most);
        }
    }
    more
}

fn findings(
    stages: &[StageJudgement],
    (request, members): (&RunRequest<'_>, usize),
) -> Vec<Finding> {
    let mut found = Vec::new();
    for one in stages {
        let subject = one.subject();
        match one.judgement.verdict {
            GateVerdict::Regression => {
                let message = format!("{subject}: {}", one.judgement.why);
                found.push(Finding::new(&codes::PERFORMANCE_REGRESSION, message));
            }
            GateVerdict::Inconclusive => {
                let message = format!("{subject}: {}", one.judgement.why);
                let mut finding = Finding::new(&codes::PERFORMANCE_INCONCLUSIVE, message);
                if request.policy.inconclusive_fails {
                    finding.verdict = Verdict::Regression;
                }
                found.push(finding);
            }
            GateVerdict::Improvement | GateVerdict::Ok | GateVerdict::NotEnoughHistory => {
                found.extend(one.creep(request, members));
            }
        }
    }
    found.sort();
    found
}

/// The past since somebody accepted another level.
pub(super) fn since(history: &[f64], accepted_from: usize) -> &[f64] {
    history.get(accepted_from..).unwrap_or_default()
}

impl StageJudgement {
    /// Whether it is a regression.
    pub fn is_slower(&self) -> bool {
        self.judgement.verdict == GateVerdict::Regression
    }

    /// `cpu_seconds` of stage `pack`.
    fn subject(&self) -> String {
        let metric = metric_name(self.metric);
        match self.stage.as_str() {
            ALL_STAGES => format!("`{metric}` of all stages together"),
            stage => format!("`{metric}` of stage `{stage}`"),
        }
    }

    /// A warning where the newest runs, this one included, crept up.
    fn creep(&self, request: &RunRequest<'_>, members: usize) -> Option<Finding> {
        let past = since(&self.history, self.accepted_from);
        let mut values = past.to_vec();
        let first = request
            .run
            .iter()
            .filter(|record| record.stage == self.stage)
            .find_map(|record| series::value(self.metric, &record.metrics))?;
        values.push(first);
        let creep = trend::creep(
            &values,
            (
                request.effect_floor((&self.stage, self.metric), past),
                members,
            ),
        )?;
        let message = format!(
            "{}: {} more over the last {} runs, a little each time",
            self.subject(),
            percent(creep.total),
            trend::RUNS,
        );
        Some(Finding::new(&codes::PERFORMANCE_CREEP, message))
    }
}

/// The metric as the policy names it.
pub fn metric_name(metric: Metric) -> String {
    #[derive(Serialize)]
    struct Named(Metric);
    let name = serde_json::to_value(Named(metric)).unwrap_or_default();
    name.as_str().unwrap_or_default().to_owned()
}
