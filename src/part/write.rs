//! Writes a part: the head, a line for each entry, and the seal. The same part gives the same bytes, so that a
//! worker that is tried again changes nothing.

use std::io::{self, BufWriter, Write};

use super::line::{Line, Seal};
use super::{PAYLOAD_TYPE, Part};
use crate::base::digest::Hasher;
use crate::seal::Secret;

/// Writes a part, sealed where there is a part key.
///
/// # Errors
/// Those of the sink.
pub fn write(part: &Part, key: Option<&Secret>, out: &mut dyn Write) -> io::Result<()> {
    let mut lines = Lines {
        out: BufWriter::with_capacity(1 << 16, out),
        hasher: Hasher::default(),
        count: 0,
    };
    lines.push(&part.head)?;
    for (path, entry) in &part.entries {
        lines.push(&Line::of_entry(path, entry))?;
    }
    for line in part.problems.iter().filter_map(Line::of_problem) {
        lines.push(&line)?;
    }
    for suspect in &part.suspects {
        lines.push(&Line::of_suspect(suspect))?;
    }
    let Lines {
        mut out,
        hasher,
        count,
    } = lines;
    let sha256 = hasher.finish();
    let seal = Seal {
        lines: count,
        sha256,
        key_id: key.map(|key| key.key_id().to_string()),
        mac: key.map(|key| key.mac_of(PAYLOAD_TYPE, &sha256.0)),
    };
    serde_json::to_writer(&mut out, &seal)?;
    out.write_all(b"\n")?;
    out.flush()
}

struct Lines<'o> {
    out: BufWriter<&'o mut dyn Write>,
    hasher: Hasher,
    count: u64,
}

impl Lines<'_> {
    fn push(&mut self, line: &impl serde::Serialize) -> io::Result<()> {
        let mut bytes = serde_json::to_vec(line)?;
        bytes.push(b'\n');
        self.hasher.update(&bytes);
        self.count += 1;
        self.out.write_all(&bytes)
    }
}
