//! Logs of operations, one JSON object a line, held against the lists. Owns the format and its
//! limits.
//!
//! ```text
//! {"operation": "read_asset", "resource": "assets/a.json", "actor": "…", "time": "…"}
//! ```
//!
//! `operation` is a name; `resource`, where it is there, is what was touched. Other members are the
//! writer's own and not read. Empty lines are skipped. A line that is anything else is told with
//! its number, and the lines behind it are still judged: no line hides another.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use serde::Deserialize;

use super::found::{Found, Place};
use super::operations::{Operation, Operations};
use super::rule::Pack;
use crate::base::files::{self, FileError};
use crate::base::naming::shown;
use crate::base::units::{self, printable};
use crate::report::codes;

/// The longest line, bytes.
const LINE_BYTES_MAX: usize = 64 << 10;
/// How many lines that cannot be read are told.
const UNREADABLE_MAX: u64 = 20;
/// How many different operations of one log are told.
const REFUSED_MAX: usize = 1000;

/// What a log says.
#[derive(Debug, Default)]
pub struct Reading {
    /// Refused operations, each once, and lines that cannot be read, in the order of the lines.
    pub found: Vec<Found>,
    /// How many operations were judged.
    pub operations: u64,
}

#[derive(Deserialize)]
struct Line {
    operation: String,
    resource: Option<String>,
}

/// Reads a log and judges every operation in it.
///
/// # Errors
/// A file that cannot be read.
pub fn read_log(path: &Path, operations: &Operations, pack: &Pack) -> Result<Reading, FileError> {
    let file = files::open_regular(path)?;
    let log = Log {
        shown: shown(path),
        reading: Reading::default(),
        refused: BTreeMap::new(),
        repeated: BTreeMap::new(),
        unreadable: 0,
        untold: 0,
    };
    log.read(BufReader::new(file), operations, pack)
        .map_err(FileError::at("read", path))
}

struct Log {
    shown: String,
    reading: Reading,
    /// By operation, where what was refused stands among what was found.
    refused: BTreeMap<(String, Option<String>), usize>,
    /// On how many more lines it stands.
    repeated: BTreeMap<usize, u64>,
    unreadable: u64,
    untold: u64,
}

impl Log {
    fn read(
        mut self,
        mut reader: impl BufRead,
        operations: &Operations,
        pack: &Pack,
    ) -> io::Result<Reading> {
        let mut line = Vec::new();
        for number in 1.. {
            line.clear();
            let limit = LINE_BYTES_MAX as u64 + 1;
            if (&mut reader).take(limit).read_until(b'\n', &mut line)? == 0 {
                break;
            }
            if line.len() > LINE_BYTES_MAX && !line.ends_with(b"\n") {
                reader.skip_until(b'\n')?;
                let size = units::bytes(LINE_BYTES_MAX as u64);
                self.cannot_read(number, &format!("it is longer than {size}"));
                continue;
            }
            let text = line.trim_ascii();
            if text.is_empty() {
                continue;
            }
            match operation(text) {
                Ok(operation) => self.judge(number, operation, (operations, pack)),
                Err(problem) => self.cannot_read(number, &problem),
            }
        }
        Ok(self.finish())
    }

    fn place(&self, line: u64) -> Place<'_> {
        Place {
            shown: &self.shown,
            line: Some(line),
            ..Place::default()
        }
    }

    fn judge(&mut self, line: u64, operation: Operation, (operations, pack): (&Operations, &Pack)) {
        self.reading.operations += 1;
        let Some(found) = operations.refuse(&operation, &self.place(line), pack) else {
            return;
        };
        let key = (operation.name, operation.resource);
        if let Some(at) = self.refused.get(&key) {
            *self.repeated.entry(*at).or_default() += 1;
        } else if self.refused.len() < REFUSED_MAX {
            self.refused.insert(key, self.reading.found.len());
            self.reading.found.push(found);
        } else {
            self.untold += 1;
        }
    }

    fn cannot_read(&mut self, line: u64, problem: &str) {
        self.unreadable += 1;
        if self.unreadable <= UNREADABLE_MAX {
            let message = format!("the line says no operation: {problem}");
            let found = Found::by_code(&codes::COMMAND_INPUT, &self.place(line), message);
            let hint = "a line is a JSON object with `operation` and, if it likes, `resource`";
            let finding = found.finding.clone().with_hint(hint);
            self.reading.found.push(Found { finding, ..found });
        }
    }

    fn finish(mut self) -> Reading {
        for (at, times) in std::mem::take(&mut self.repeated) {
            let lines = units::count(times, "more line");
            let message = &mut self.reading.found[at].finding.message;
            message.push_str(&format!(", here and on {lines}"));
        }
        let place = Place {
            shown: &self.shown,
            ..Place::default()
        };
        let mut rest = Vec::new();
        if self.unreadable > UNREADABLE_MAX {
            let lines = units::count(self.unreadable - UNREADABLE_MAX, "more line");
            let message = format!("{lines} say no operation");
            rest.push(Found::by_code(&codes::COMMAND_INPUT, &place, message));
        }
        if self.untold > 0 {
            let lines = units::count(self.untold, "more line");
            let message = format!("{lines} with refused operations are not listed");
            rest.push(Found::by_code(&codes::COMMAND_INPUT, &place, message));
        }
        self.reading.found.extend(rest);
        self.reading
    }
}

fn operation(text: &[u8]) -> Result<Operation, String> {
    let unreadable = |error: serde_json::Error| {
        let text = error.to_string();
        let (problem, place) = text.split_once(" at line 1").unwrap_or((&text, ""));
        let short: String = problem.chars().take(120).collect();
        format!("{}{}", printable(&short), place)
    };
    let Line {
        operation,
        resource,
    } = serde_json::from_slice(text).map_err(unreadable)?;
    let named: Operation = operation
        .replace('=', " ")
        .parse()
        .map_err(|_| "its `operation` is no name".to_owned())?;
    let resource = resource.filter(|resource| !resource.is_empty());
    Ok(Operation { resource, ..named })
}
