//! A content, from its first bytes to its last, past everything that does not ask for patterns:
//! what kind of file it is, whether it deceives, whether it is what the policy wants.

use std::io::{self, Read};

use super::files;
use super::found::Found;
use super::notes::{Item, Notes};
use super::rule::Pack;

/// All such checks, ready.
#[derive(Debug)]
pub(super) struct Checks<'p> {
    pack: &'p Pack,
    pub(super) files: files::Checks<'p>,
}

impl<'p> Checks<'p> {
    /// Makes the checks ready.
    pub(super) fn new(pack: &'p Pack) -> Self {
        Self {
            pack,
            files: files::Checks::new(pack),
        }
    }

    /// What is wrong with an entry, from outside.
    pub(super) fn entry(&self, item: Item<'_>, facts: &files::Facts<'_>) -> Vec<Found> {
        let mut notes = Notes::new(self.pack, item);
        self.files.entry(facts, &mut notes);
        notes.into_found()
    }

    /// Begins to look at a content, which begins like this.
    pub(super) fn watch<'a>(&'a self, item: Item<'a>, head: &[u8]) -> Watch<'a> {
        let mut notes = Notes::new(self.pack, item);
        let files = self.files.watch(head, &mut notes);
        Watch { notes, files }
    }
}

/// A content on its way through.
pub(super) struct Watch<'a> {
    notes: Notes<'a>,
    files: files::Watch,
}

impl Watch<'_> {
    fn feed(&mut self, bytes: &[u8]) {
        self.files.feed(bytes, &mut self.notes);
    }

    /// What was found.
    pub(super) fn finish(mut self) -> Vec<Found> {
        self.files.finish(&mut self.notes);
        self.notes.into_found()
    }
}

/// Reads what another reader reads, and shows it to a watch.
pub(super) struct Watched<'w, 'a, R> {
    pub(super) inner: R,
    pub(super) watch: &'w mut Watch<'a>,
}

impl<R: Read> Read for Watched<'_, '_, R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(out)?;
        self.watch.feed(&out[..count]);
        Ok(count)
    }
}
