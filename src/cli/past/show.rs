//! `agp profile history`: past runs as they are kept, and files made smaller.

use clap::{Args, Subcommand};

use super::{directory, failure, read_all};
use crate::base::units;
use crate::cli::failure::{Failure, Kind};
use crate::cli::spine::{Context, Done};
use crate::history::{self, CompactRequest, Entry};

/// Print past runs as JSON Lines, the oldest first, or make their files smaller
///
/// Each line is one stage of one run, or the acceptance of a run; `docs/formats/history.md` says what it
/// holds. What cannot be believed is left out, and stderr says where it stands.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Example: agp profile history --stage pack | jq .metrics.wall_seconds"
)]
pub struct HistoryArgs {
    /// Only this key
    #[arg(long, value_name = "KEY")]
    pub key: Option<String>,
    /// Only this stage
    #[arg(long, value_name = "NAME")]
    pub stage: Option<String>,
    /// Only the last so many lines
    #[arg(long, value_name = "N")]
    pub last: Option<usize>,
    /// What else to do.
    #[command(subcommand)]
    pub action: Option<Action>,
}

/// What else to do with the history.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Drop all but the newest runs of each series, and what cannot be believed
    Compact(CompactArgs),
}

/// Flags of `agp profile history compact`.
#[derive(Debug, Args)]
pub struct CompactArgs {
    /// Keep so many runs of each stage, size class and host class
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..))]
    pub runs_kept: u64,
}

impl HistoryArgs {
    /// Whether it changes the history.
    pub fn compacts(&self) -> bool {
        self.action.is_some()
    }

    pub(in crate::cli) fn run(&self, context: &Context<'_>) -> Result<Done, Failure> {
        if context.global.wants_json() {
            let text = "`agp profile history` prints lines of JSON, not a report";
            return Err(Failure::because(Kind::Usage, text).with_hint("leave `--json` out"));
        }
        match &self.action {
            Some(Action::Compact(arguments)) => compact(context, arguments),
            None => self.print(context),
        }
    }

    fn print(&self, context: &Context<'_>) -> Result<Done, Failure> {
        let all = read_all(&directory(context))?;
        let mut lines: Vec<String> = Vec::new();
        for past in &all {
            for note in &past.notes {
                let path = note.path.to_string_lossy();
                context.note(&format!("left out: {path}:{}: {}", note.line, note.message));
            }
            let runs: std::collections::BTreeSet<&str> = past
                .records()
                .filter(|record| self.key.as_ref().is_none_or(|key| record.key == *key))
                .map(|record| record.run_id.as_str())
                .collect();
            let is_wanted = |entry: &Entry| match entry {
                Entry::Record(record) => {
                    runs.contains(record.run_id.as_str())
                        && self.key.as_ref().is_none_or(|key| record.key == *key)
                        && self
                            .stage
                            .as_ref()
                            .is_none_or(|stage| record.stage == *stage)
                }
                Entry::Acceptance(acceptance) => runs.contains(acceptance.accepts.as_str()),
            };
            let wanted = past.lines.iter().filter(|line| is_wanted(&line.entry));
            lines.extend(wanted.map(|line| line.text.clone()));
        }
        let skipped = self.last.map_or(0, |last| lines.len().saturating_sub(last));
        lines.drain(..skipped);
        Ok(Done::Data(Box::new(move |out| {
            lines.iter().try_for_each(|line| writeln!(out, "{line}"))
        })))
    }
}

fn compact(context: &Context<'_>, arguments: &CompactArgs) -> Result<Done, Failure> {
    let directory = directory(context);
    let request = CompactRequest {
        runs_kept: usize::try_from(arguments.runs_kept).unwrap_or(usize::MAX),
    };
    let (mut before, mut after) = (0, 0);
    let files = history::files(&directory).map_err(failure)?;
    for path in &files {
        let rewritten =
            history::rewrite(&directory, path, |lines| history::compact(lines, &request));
        let (had, has) = rewritten.map_err(failure)?;
        before += had;
        after += has;
    }
    Ok(Done::Told(format!(
        "kept {after} of {} in {}",
        units::count(before as u64, "line"),
        units::count(files.len() as u64, "file"),
    )))
}
