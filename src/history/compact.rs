//! Which lines of a history are worth keeping (pure).

use std::collections::{BTreeMap, BTreeSet};

use super::{Entry, Line, Record};

/// How much is kept.
#[derive(Clone, Copy, Debug)]
pub struct CompactRequest {
    /// The newest runs of each series (key, stage, size class, host class) that stay.
    pub runs_kept: usize,
}

/// Gives the lines that stay, in their order: of every series the records of its newest
/// `runs_kept` runs, and the acceptances of runs that stay. Lines that were not understood are
/// none of `lines` and go.
pub fn compact<'a>(lines: &'a [Line], request: &CompactRequest) -> Vec<&'a Line> {
    let mut runs_of: BTreeMap<[&str; 4], Vec<&str>> = BTreeMap::new();
    let mut kept = BTreeSet::new();
    let mut kept_runs = BTreeSet::new();
    for (at, line) in lines.iter().enumerate().rev() {
        let Entry::Record(record) = &line.entry else {
            continue;
        };
        let runs = runs_of.entry(series(record)).or_default();
        // Repetitions stand together, so that the run before is nearly always the last one here.
        if !runs.iter().rev().any(|run| *run == record.run_id) {
            if runs.len() >= request.runs_kept {
                continue;
            }
            runs.push(&record.run_id);
        }
        kept.insert(at);
        kept_runs.insert(record.run_id.as_str());
    }
    let stays = |(at, line): (usize, &'a Line)| {
        let stays = match &line.entry {
            Entry::Record(_) => kept.contains(&at),
            Entry::Acceptance(acceptance) => kept_runs.contains(acceptance.accepts.as_str()),
        };
        stays.then_some(line)
    };
    lines.iter().enumerate().filter_map(stays).collect()
}

fn series(record: &Record) -> [&str; 4] {
    [
        &record.key,
        &record.stage,
        &record.size_class,
        &record.host_class,
    ]
}
