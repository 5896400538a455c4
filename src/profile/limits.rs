//! What the policy's maxima say of a run (pure).

use super::record::Figures;
use crate::base::units;
use crate::policy::{Limit, PerformanceBenchmarks};
use crate::process::Ended;
use crate::report::{Code, Finding, Verdict, codes};

/// The maxima, and what a breach of each makes of the answer.
#[derive(Clone, Copy, Debug)]
pub struct Limits<'a> {
    /// The maxima.
    pub benchmarks: &'a PerformanceBenchmarks,
    /// Those whose breach fails.
    pub fail: &'a [Limit],
    /// Approaching a maximum by this share of it warns, 0 to 1.
    pub near_ratio: f64,
    /// Processors that the run could use; above 0.
    pub cpus: f64,
}

/// Everything that a run breaks, or comes near to.
pub fn check(
    stage: &str,
    (figures, ended): (&Figures, Ended),
    limits: &Limits<'_>,
) -> Vec<Finding> {
    let measures = measures(figures, limits);
    let found = measures.iter().filter_map(|measure| {
        let is_over = measure.value > measure.max
            || (measure.limit == Limit::Time && ended == Ended::TimedOut)
            || (measure.limit == Limit::Memory && ended == Ended::TooLarge);
        let near = measure.max * limits.near_ratio;
        let (code, verdict, text) = match (is_over, limits.fail.contains(&measure.limit)) {
            (true, fails) => {
                let verdict = if fails {
                    Verdict::Regression
                } else {
                    Verdict::Pass
                };
                (measure.code, verdict, measure.over(ended))
            }
            (false, _) if measure.value > near => (
                &codes::PROFILE_LIMIT_NEAR,
                Verdict::Pass,
                measure.near(limits.near_ratio),
            ),
            (false, _) => return None,
        };
        let mut finding = Finding::new(code, format!("stage `{stage}`: {text}"));
        finding.verdict = verdict;
        Some(finding)
    });
    found.collect()
}

/// One figure and its maximum.
struct Measure {
    limit: Limit,
    code: &'static Code,
    key: &'static str,
    value: f64,
    max: f64,
    shown: fn(f64) -> String,
}

impl Measure {
    fn over(&self, ended: Ended) -> String {
        let max = (self.shown)(self.max);
        match (self.limit, ended) {
            (Limit::Time, Ended::TimedOut) => {
                format!(
                    "it did not end within `{}`, {max}, and was stopped",
                    self.key
                )
            }
            (Limit::Memory, Ended::TooLarge) => {
                format!("it took more than `{}`, {max}, and was stopped", self.key)
            }
            _ => format!("{}, and `{}` is {max}", (self.shown)(self.value), self.key),
        }
    }

    fn near(&self, ratio: f64) -> String {
        format!(
            "{}, which is above {:.0} % of `{}`, {}",
            (self.shown)(self.value),
            ratio * 100.0,
            self.key,
            (self.shown)(self.max)
        )
    }
}

fn measures(figures: &Figures, limits: &Limits<'_>) -> Vec<Measure> {
    let benchmarks = limits.benchmarks;
    let wall = figures.wall_seconds;
    let mut measures = vec![Measure {
        limit: Limit::Time,
        code: &codes::PROFILE_TIME_EXCEEDED,
        key: "max_processing_time_seconds",
        value: wall,
        max: benchmarks.max_processing_time_seconds,
        shown: |seconds| format!("{seconds:.2} s"),
    }];
    measures.extend(figures.peak_memory_bytes.map(|peak| Measure {
        limit: Limit::Memory,
        code: &codes::PROFILE_MEMORY_EXCEEDED,
        key: "max_memory_usage_mb",
        value: peak as f64,
        max: benchmarks.max_memory_usage_mb as f64 * f64::from(1 << 20),
        shown: |size| format!("{} of memory", units::bytes(size as u64)),
    }));
    // Over no time at all there is no rate.
    if wall > 0.0 {
        let cpu = figures.cpu_user_seconds + figures.cpu_system_seconds;
        measures.push(Measure {
            limit: Limit::Cpu,
            code: &codes::PROFILE_CPU_EXCEEDED,
            key: "cpu_utilization_threshold",
            value: cpu / wall / limits.cpus,
            max: benchmarks.cpu_utilization_threshold,
            shown: |share| format!("{:.0} % of the processors in use", share * 100.0),
        });
        measures.extend(figures.io_operations.map(|operations| Measure {
            limit: Limit::Io,
            code: &codes::PROFILE_IO_EXCEEDED,
            key: "io_operations_per_second_limit",
            value: operations as f64 / wall,
            max: benchmarks.io_operations_per_second_limit as f64,
            shown: |rate| format!("{rate:.0} operations on block devices per second"),
        }));
    }
    measures
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_maximum_fails_where_the_policy_says_and_warns_otherwise() {
        let benchmarks = PerformanceBenchmarks {
            max_processing_time_seconds: 10.0,
            max_memory_usage_mb: 100,
            cpu_utilization_threshold: 0.8,
            io_operations_per_second_limit: 1000,
        };
        let figures = |wall_seconds, mebibytes: u64, cpu_user_seconds, io_operations| Figures {
            wall_seconds,
            cpu_user_seconds,
            io_operations,
            peak_memory_bytes: Some(mebibytes << 20),
            ..Figures::default()
        };
        let default = [Limit::Time, Limit::Memory];
        let all = [Limit::Time, Limit::Memory, Limit::Cpu, Limit::Io];
        let good = Ended::Code(0);
        use Verdict::{Pass, Regression};
        for (figures, ended, fail, expected) in [
            (figures(5.0, 50, 1.0, Some(10)), good, &default[..], vec![]),
            (
                figures(9.5, 95, 14.0, Some(9400)),
                good,
                &default,
                vec![
                    ("profile.limit_near", Pass),
                    ("profile.limit_near", Pass),
                    ("profile.limit_near", Pass),
                    ("profile.limit_near", Pass),
                ],
            ),
            (
                figures(10.1, 101, 1.0, None),
                good,
                &default,
                vec![
                    ("profile.time_exceeded", Regression),
                    ("profile.memory_exceeded", Regression),
                ],
            ),
            (
                figures(10.1, 101, 1.0, None),
                good,
                &[],
                vec![
                    ("profile.time_exceeded", Pass),
                    ("profile.memory_exceeded", Pass),
                ],
            ),
            (
                figures(1.0, 1, 1.9, Some(1001)),
                good,
                &default,
                vec![
                    ("profile.cpu_exceeded", Pass),
                    ("profile.io_exceeded", Pass),
                ],
            ),
            (
                figures(1.0, 1, 1.9, Some(1001)),
                good,
                &all,
                vec![
                    ("profile.cpu_exceeded", Regression),
                    ("profile.io_exceeded", Regression),
                ],
            ),
            // Stopped a moment before its time by the clock of its wall time.
            (
                figures(9.99, 1, 0.0, None),
                Ended::TimedOut,
                &default,
                vec![("profile.time_exceeded", Regression)],
            ),
            (figures(0.0, 1, 0.0, Some(5)), good, &default, vec![]),
        ] {
            let limits = Limits {
                benchmarks: &benchmarks,
                fail,
                near_ratio: 0.9,
                cpus: 2.0,
            };
            let found = check("x", (&figures, ended), &limits);
            let found: Vec<_> = found.iter().map(|one| (one.code.id, one.verdict)).collect();
            assert_eq!(found, expected, "{figures:?}");
        }
    }

    #[test]
    fn says_what_and_how_much() {
        let benchmarks = PerformanceBenchmarks::default();
        let limits = Limits {
            benchmarks: &benchmarks,
            fail: &[],
            near_ratio: 0.9,
            cpus: 1.0,
        };
        let figures = Figures {
            wall_seconds: 280.0,
            ..Figures::default()
        };
        let found = check("pack", (&figures, Ended::Code(0)), &limits);
        assert_eq!(
            found[0].message,
            "stage `pack`: 280.00 s, which is above 90 % of `max_processing_time_seconds`, 300.00 s"
        );
        let found = check("pack", (&figures, Ended::TimedOut), &limits);
        assert_eq!(
            found[0].message,
            "stage `pack`: it did not end within `max_processing_time_seconds`, 300.00 s, and was stopped"
        );
    }
}
