//! The part of `agp profile` that looks back: judge numbers, show and compact the history, compare
//! runs, accept one.

mod accept;
mod compare;

mod judge;
mod show;

use std::path::{Path, PathBuf};

pub use accept::{AcceptArgs, AcceptBody};
pub use compare::{CompareArgs, CompareBody};
pub use judge::JudgeArgs;
pub use show::HistoryArgs;

use super::failure::{Failure, Kind};
use super::spine::Context;
use crate::base::naming;
use crate::history::{self, Entry, HistoryError, Note, Past, Record};
use crate::report::{Finding, codes};

/// Where the history is kept.
pub(super) fn directory(context: &Context<'_>) -> PathBuf {
    context.state_dir.join("history")
}

/// The past of one key: that which is asked for, or the only one that there is.
struct Kept {
    key: String,
    past: Past,
}

/// Reads the past of the key that is meant.
fn read(context: &Context<'_>, key: Option<&str>) -> Result<Kept, Failure> {
    let directory = directory(context);
    if let Some(key) = key {
        let past = history::read(&directory, key).map_err(failure)?;
        let key = key.to_owned();
        return Ok(Kept { key, past });
    }
    let all = read_all(&directory)?;
    let mut keys: Vec<&str> = all
        .iter()
        .flat_map(Past::records)
        .map(|record| record.key.as_str())
        .collect();
    keys.sort_unstable();
    keys.dedup();
    match keys.as_slice() {
        [] => {
            let text = format!("no past run in `{}`", naming::shown(&directory));
            Err(Failure::because(Kind::Input, text)
                .with_hint("`agp profile` records runs; `--state-dir` says where"))
        }
        [key] => {
            let key = (*key).to_owned();
            let past = history::read(&directory, &key).map_err(failure)?;
            Ok(Kept { key, past })
        }
        keys => {
            let names: Vec<String> = keys.iter().map(|key| format!("`{key}`")).collect();
            let text = format!("the history has several keys: {}", names.join(", "));
            Err(Failure::because(Kind::Usage, text).with_hint("name one with `--key`"))
        }
    }
}

/// Reads every file.
fn read_all(directory: &Path) -> Result<Vec<Past>, Failure> {
    let files = history::files(directory).map_err(failure)?;
    files
        .iter()
        .map(|path| history::read_file(directory, path).map_err(failure))
        .collect()
}

fn failure(error: HistoryError) -> Failure {
    Failure::new(Kind::Input, error)
}

/// What was passed over, each a finding at its place.
pub(super) fn skipped(notes: &[Note]) -> Vec<Finding> {
    let finding = |note: &Note| {
        let finding = Finding::new(&codes::HISTORY_SKIPPED, note.message.clone());
        let finding = finding.at(note.path.to_string_lossy());
        match note.line {
            0 => finding,
            line => finding.on_line(line),
        }
    };
    notes.iter().map(finding).collect()
}

/// The records of the run that `word` means: a `run_id`, the beginning of only one, or `last`.
fn run_of<'a>(past: &'a Past, word: &str) -> Result<Vec<&'a Record>, Failure> {
    let mut ids: Vec<&str> = past
        .records()
        .map(|record| record.run_id.as_str())
        .collect();
    let last = ids.last().copied();
    ids.sort_unstable();
    ids.dedup();
    let fits = |id: &&str| *id == word || (word == "last" && Some(*id) == last);
    let meant = match ids.iter().copied().find(fits) {
        Some(id) => vec![id],
        None => ids.into_iter().filter(|id| id.starts_with(word)).collect(),
    };
    match meant.as_slice() {
        [id] => Ok(past
            .records()
            .filter(|record| record.run_id == *id)
            .collect()),
        [] => Err(
            Failure::because(Kind::Input, format!("no run `{word}` in the history"))
                .with_hint("`agp profile history` prints them with their `run_id`"),
        ),
        several => {
            let text = format!("{} runs begin with `{word}`", several.len());
            Err(Failure::because(Kind::Usage, text).with_hint("give more of its `run_id`"))
        }
    }
}

/// All entries of a past, as the verdict wants them.
fn entries(past: &Past) -> Vec<&Entry> {
    past.entries().collect()
}
