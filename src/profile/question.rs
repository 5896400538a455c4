//! The question and answer of `agp profile judge`: one JSON object each, for other programs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::regress::{self, Series, Settings};
use crate::history::GateVerdict;

/// A question. Fields that it does not have are ignored, so that askers may keep their own.
#[derive(Debug, Deserialize)]
struct Question {
    history: Vec<f64>,
    current: Vec<f64>,
    #[serde(default)]
    history_probe: Option<Vec<f64>>,
    #[serde(default)]
    current_probe: Option<Vec<f64>>,
}

/// The answer to a question.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Answer {
    /// Whether it is a regression.
    pub regression: bool,
    /// Further runs that would help to tell; 0 where the verdict stands.
    pub more: usize,
    /// The verdict.
    pub verdict: GateVerdict,
    /// How likely runs at least this slow are where nothing changed; null without a history.
    pub p: Option<f64>,
    /// The change as a share of the level.
    pub effect: Option<f64>,
    /// The 95 % interval of the effect.
    pub effect_interval: Option<[f64; 2]>,
    /// The smallest slowdown that would be found four times in five, as a share.
    pub minimum_detectable_effect: Option<f64>,
    /// How many runs were judged.
    pub runs: usize,
    /// How many past runs were looked at.
    pub history_runs: usize,
    /// The noise of one run, as a share.
    pub noise: Option<f64>,
    /// Why, in words.
    pub why: String,
}

/// Answers a question: JSON with `history` and `current`, and optionally `history_probe` and
/// `current_probe`.
///
/// # Errors
/// Text that is no such object, and values that are no measurements; in words.
pub fn answer(question: &[u8], settings: &Settings) -> Result<Answer, String> {
    let asked: Question = serde_json::from_slice(question)
        .map_err(|error| format!("not a question with `history` and `current`: {error}"))?;
    let probe = match (&asked.history_probe, &asked.current_probe) {
        (Some(past), Some(now)) => Some((past.as_slice(), now.as_slice())),
        (None, None) => None,
        _ => return Err("`history_probe` and `current_probe` belong together".into()),
    };
    let series = Series {
        history: &asked.history,
        current: &asked.current,
        probe,
        accepted_from: 0,
    };
    let judged = regress::judge(&series, settings).map_err(|error| error.to_string())?;
    Ok(Answer {
        regression: judged.verdict == GateVerdict::Regression,
        more: judged.more,
        verdict: judged.verdict,
        p: judged.p,
        effect: judged.effect,
        effect_interval: judged.interval.map(|(low, high)| [low, high]),
        minimum_detectable_effect: judged.minimum_detectable,
        runs: judged.runs,
        history_runs: judged.history_runs,
        noise: judged.noise,
        why: judged.why,
    })
}
