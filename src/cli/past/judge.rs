//! `agp profile judge`: numbers in, a verdict out; for other programs.

use std::io::{self, BufRead, Read as _, Write};
use std::sync::Arc;

use clap::Args;
use serde_json::json;

use crate::cli::failure::{Failure, Kind};
use crate::cli::spine::{self, Context, Done};
use crate::profile::{self, Settings};

/// The longest question, bytes.
const QUESTION_BYTES_MAX: u64 = 64 << 20;

/// Judge numbers from stdin: is this slower than before?
///
/// Reads `{"history": [1.2, …], "current": [1.3]}`: what past runs took, the oldest first, and what the runs
/// in question took; lower is better, every number is above 0. With `history_probe` and `current_probe`, how
/// long other, fixed work took beside each of them, the machine's speed is taken out as far as that helps.
/// Answers with `regression`, and with `more`: how many further runs would help to tell. Ends with 0 whatever
/// the answer is, and with 2 where there is none.
#[derive(Debug, Args)]
#[command(
    after_help = "Example: echo '{\"history\":[1,1.01,0.99,1,1.02,1],\"current\":[1.5,1.52,1.49,1.51]}' | agp profile judge"
)]
pub struct JudgeArgs {
    /// Answer every line of stdin with a line, as they come; a line that is no question is answered
    /// with `error`, and makes the exit code 2
    #[arg(long)]
    pub batch: bool,
}

impl JudgeArgs {
    pub(in crate::cli) fn run(&self, context: &Context<'_>) -> Result<Done, Failure> {
        if context.global.wants_json() {
            let text = "`agp profile judge` prints its answer as JSON anyway, and no report";
            return Err(Failure::because(Kind::Usage, text).with_hint("leave `--json` out"));
        }
        let policy = &context.policy.policy.profile;
        let settings = Settings {
            effect_floor: policy.effect_floor,
            runs_max: usize::try_from(policy.runs_max).unwrap_or(usize::MAX),
        };
        let progress = Arc::clone(context.progress);
        if self.batch {
            let is_over = move || {
                progress
                    .interrupted
                    .load(std::sync::atomic::Ordering::Relaxed)
            };
            return Ok(Done::Data(Box::new(move |out| {
                batch(&mut io::stdin().lock(), out, (&settings, &is_over))
            })));
        }
        let mut question = Vec::new();
        let mut input = io::stdin().lock().take(QUESTION_BYTES_MAX + 1);
        let read = input.read_to_end(&mut question);
        read.map_err(|error| Failure::because(Kind::Input, format!("cannot read stdin: {error}")))?;
        let answer = match question.len() as u64 > QUESTION_BYTES_MAX {
            true => Err(too_long()),
            false => profile::answer(&question, &settings),
        };
        let answer =
            answer.map_err(|text| Failure::because(Kind::Input, format!("stdin: {text}")))?;
        Ok(Done::Data(Box::new(move |mut out| {
            serde_json::to_writer(&mut out, &answer)?;
            out.write_all(b"\n")
        })))
    }
}

fn too_long() -> String {
    let most = crate::base::units::bytes(QUESTION_BYTES_MAX);
    format!("longer than {most}")
}

/// Answers line by line; each answer is out before the next question is read.
fn batch(
    input: &mut dyn BufRead,
    mut out: &mut dyn Write,
    (settings, is_over): (&Settings, &dyn Fn() -> bool),
) -> io::Result<()> {
    let mut line = Vec::new();
    let mut unanswered = 0_u64;
    for number in 1_u64.. {
        line.clear();
        let limit = QUESTION_BYTES_MAX + 1;
        let read = (&mut *input).take(limit).read_until(b'\n', &mut line);
        let read = read.map_err(|error| {
            io::Error::other(Failure::because(
                Kind::Input,
                format!("cannot read stdin: {error}"),
            ))
        })?;
        if is_over() {
            return Err(io::Error::other(spine::interrupted()));
        }
        if read == 0 {
            break;
        }
        let answer = if read as u64 == limit && !line.ends_with(b"\n") {
            input.skip_until(b'\n')?;
            Err(too_long())
        } else if line.trim_ascii().is_empty() {
            continue;
        } else {
            profile::answer(&line, settings)
        };
        match answer {
            Ok(answer) => serde_json::to_writer(&mut out, &answer)?,
            Err(text) => {
                unanswered += 1;
                serde_json::to_writer(&mut out, &json!({"error": text, "line": number}))?;
            }
        }
        out.write_all(b"\n")?;
        out.flush()?;
    }
    match unanswered {
        0 => Ok(()),
        _ => {
            let lines = crate::base::units::count(unanswered, "line");
            let text = format!("{lines} of stdin could not be judged");
            let hint = "the answers to them say why";
            Err(io::Error::other(
                Failure::because(Kind::Input, text).with_hint(hint),
            ))
        }
    }
}
