//! Budgets as a conversation: one JSON object a line asks or tells, one answers.
//!
//! `{"op":"predict","kind":"hash","features":{"files":12},"target":0.95}` is answered by a budget in
//! seconds, `{"op":"observe","kind":"hash","features":{"files":12},"seconds":9.8}` teaches and is
//! not answered; with `"timed_out":true` the job was killed after so many seconds. What cannot be
//! understood is answered by an `error`. The ceiling of the policy is not applied: who asks here
//! decides by itself.

use std::collections::VecDeque;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::forecast::{Amount, Features, Forecaster};

/// Runs that are remembered, to teach a forecaster of another target.
const REMEMBERED: usize = 2000;
/// Targets that are served at a time; the one that was asked for longest ago makes room.
const TARGETS_MAX: usize = 8;
/// Bytes of a kind's name.
const KIND_BYTES_MAX: usize = 1024;
/// No job takes longer, seconds.
const SECONDS_MAX: f64 = 1e9;

/// Answers lines.
pub struct Server {
    coverage: f64,
    first: f64,
    /// Newest last.
    forecasters: Vec<(f64, Forecaster)>,
    past: VecDeque<(String, Features, Amount)>,
}

#[derive(Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
enum Line {
    Predict {
        #[serde(default)]
        id: Value,
        #[serde(default)]
        kind: String,
        #[serde(default)]
        features: Map<String, Value>,
        target: Option<f64>,
    },
    Observe {
        #[serde(default)]
        kind: String,
        #[serde(default)]
        features: Map<String, Value>,
        seconds: f64,
        #[serde(default)]
        timed_out: bool,
    },
}

impl Server {
    /// One that knows no run yet; it answers `first` until it does, and for `coverage` where a line
    /// does not say.
    pub fn new(coverage: f64, first: f64) -> Self {
        Self {
            coverage,
            first,
            forecasters: Vec::new(),
            past: VecDeque::new(),
        }
    }

    /// The answer to a line, without its newline; `None` where none is due.
    pub fn answer(&mut self, line: &str) -> Option<String> {
        if line.trim().is_empty() {
            return None;
        }
        let answer = match serde_json::from_str(line) {
            Ok(line) => self.understood(line),
            Err(error) => Err(format!("not a request: {error}")),
        };
        match answer {
            Ok(answer) => answer.map(|answer| answer.to_string()),
            Err(message) => Some(json!({ "error": message }).to_string()),
        }
    }

    fn understood(&mut self, line: Line) -> Result<Option<Value>, String> {
        match line {
            Line::Predict {
                id,
                kind,
                features,
                target,
            } => {
                let features = numbers(&kind, &features)?;
                let target = target.unwrap_or(self.coverage);
                if !(target > 0.0 && target < 1.0) {
                    return Err(format!(
                        "`target`: expected a share between 0 and 1, found {target}"
                    ));
                }
                let forecast = self.forecaster(target).predict(&kind, &features);
                Ok(Some(json!({
                    "id": id,
                    "budget": forecast.budget,
                    "expected": forecast.expected,
                    "lower": forecast.lower,
                    "upper": forecast.upper,
                    "expert": forecast.expert,
                    "runs": forecast.runs,
                })))
            }
            Line::Observe {
                kind,
                features,
                seconds,
                timed_out,
            } => {
                let features = numbers(&kind, &features)?;
                if !(0.0..=SECONDS_MAX).contains(&seconds) {
                    return Err(format!(
                        "`seconds`: expected 0 to {SECONDS_MAX}, found {seconds}"
                    ));
                }
                let amount = match timed_out {
                    true => Amount::AtLeast(seconds),
                    false => Amount::Measured(seconds),
                };
                for (_, forecaster) in &mut self.forecasters {
                    forecaster.observe(&kind, &features, amount);
                }
                if self.past.len() == REMEMBERED {
                    self.past.pop_front();
                }
                self.past.push_back((kind, features, amount));
                Ok(None)
            }
        }
    }

    /// The forecaster of a target, taught what is remembered if it is new.
    fn forecaster(&mut self, target: f64) -> &mut Forecaster {
        let known = self
            .forecasters
            .iter()
            .position(|(known, _)| *known == target);
        let one = match known {
            Some(at) => self.forecasters.remove(at),
            None => {
                if self.forecasters.len() == TARGETS_MAX {
                    self.forecasters.remove(0);
                }
                let mut forecaster = Forecaster::new(target, self.first);
                for (kind, features, amount) in &self.past {
                    forecaster.observe(kind, features, *amount);
                }
                (target, forecaster)
            }
        };
        self.forecasters.push(one);
        let last = self.forecasters.len() - 1;
        &mut self.forecasters[last].1
    }
}

/// The features that are numbers; what else there is says nothing of how long a job takes.
fn numbers(kind: &str, features: &Map<String, Value>) -> Result<Features, String> {
    if kind.len() > KIND_BYTES_MAX {
        return Err(format!("`kind`: longer than {KIND_BYTES_MAX} bytes"));
    }
    let numbers = features.iter();
    Ok(numbers
        .filter_map(|(name, value)| Some((name.clone(), value.as_f64()?)))
        .collect())
}

#[cfg(test)]
#[expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may stop at the first surprise"
)]
mod tests {
    use super::*;

    fn budget(server: &mut Server, line: &str) -> f64 {
        let answer: Value = serde_json::from_str(&server.answer(line).unwrap()).unwrap();
        answer["budget"]
            .as_f64()
            .unwrap_or_else(|| panic!("{answer}"))
    }

    #[test]
    fn predicts_learns_and_keeps_targets_apart() {
        let mut server = Server::new(0.95, 90.0);
        let ask = r#"{"op":"predict","id":7,"kind":"hash","features":{"files":12,"name":"x"}}"#;
        assert_eq!(budget(&mut server, ask), 90.0);
        assert!(server.answer(ask).unwrap().contains("\"id\":7"));
        for at in 0..40 {
            let seconds = 9.0 + f64::from(at % 5) * 0.5;
            let line = json!({"op": "observe", "kind": "hash", "features": {"files": 12}, "seconds": seconds});
            assert_eq!(server.answer(&line.to_string()), None);
        }
        let usual = budget(&mut server, ask);
        assert!((9.0..15.0).contains(&usual), "{usual}");
        let strict = budget(
            &mut server,
            r#"{"op":"predict","kind":"hash","features":{"files":12},"target":0.999}"#,
        );
        assert!(strict > usual, "{strict} {usual}");
        assert_eq!(budget(&mut server, ask), usual);
    }

    #[test]
    fn answers_what_it_cannot_understand_with_an_error_and_goes_on() {
        let mut server = Server::new(0.95, 90.0);
        for line in [
            "nonsense",
            "[]",
            r#"{"op":"forget"}"#,
            r#"{"op":"observe","kind":"x"}"#,
            r#"{"op":"observe","kind":"x","seconds":-1}"#,
            r#"{"op":"observe","kind":"x","seconds":1e99}"#,
            r#"{"op":"predict","kind":"x","target":1}"#,
            r#"{"op":"predict","kind":7}"#,
            r#"{"op":"predict","kind":"x","features":[1]}"#,
        ] {
            let answer: Value = serde_json::from_str(&server.answer(line).unwrap()).unwrap();
            assert!(answer["error"].is_string(), "{line}: {answer}");
        }
        assert_eq!(server.answer("  "), None);
        assert_eq!(budget(&mut server, r#"{"op":"predict"}"#), 90.0);
    }

    #[test]
    fn only_so_many_targets_and_runs_are_remembered() {
        let mut server = Server::new(0.95, 90.0);
        for at in 0..REMEMBERED + 10 {
            let line = json!({"op": "observe", "kind": "k", "seconds": 1.0 + (at % 7) as f64});
            server.answer(&line.to_string());
        }
        for at in 1..20 {
            let line = json!({"op": "predict", "kind": "k", "target": f64::from(at) / 20.0});
            budget(&mut server, &line.to_string());
        }
        assert_eq!(
            (server.past.len(), server.forecasters.len()),
            (REMEMBERED, TARGETS_MAX)
        );
    }
}
