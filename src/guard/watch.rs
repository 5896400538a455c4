//! A content, from its first bytes to its last, past everything that does not ask for patterns:
//! what kind of file it is, whether it deceives, whether it is what the policy wants.

use std::io::{self, Read};

use super::files::{self, Bomb, Facts, Member};
use super::found::Found;
use super::notes::{Item, Notes};
use super::rule::Pack;
use super::{settings, wide};
use crate::inventory::Kind;
use crate::policy::Policy;

/// All such checks, ready.
#[derive(Debug)]
pub(super) struct Checks<'p> {
    pack: &'p Pack,
    files: files::Checks<'p>,
    settings: settings::Checks<'p>,
}

impl<'p> Checks<'p> {
    /// Makes the checks ready.
    pub(super) fn new(pack: &'p Pack, policy: &'p Policy) -> Self {
        Self {
            pack,
            files: files::Checks::new(pack),
            settings: settings::Checks::new(policy),
        }
    }

    /// What is wrong with an entry of a tree, from outside.
    pub(super) fn entry(&self, item: Item<'_>, facts: &Facts<'_>) -> Vec<Found> {
        let mut notes = Notes::new(self.pack, item);
        self.files.entry(facts, &mut notes);
        if facts.kind == Kind::File {
            self.settings.entry(facts.size_bytes, &mut notes);
        }
        notes.into_found()
    }

    /// What is wrong with a member of an archive, from outside.
    pub(super) fn member(&self, member: &Member<'_>) -> Vec<Found> {
        let mut notes = Notes::new(self.pack, member.item);
        self.files.member(member, &mut notes);
        notes.into_found()
    }

    /// That an archive unpacks to more than anybody wants.
    pub(super) fn bomb(&self, item: &Item<'_>, bomb: &Bomb) -> Vec<Found> {
        let mut notes = Notes::new(self.pack, *item);
        bomb.note(&mut notes);
        notes.into_found()
    }

    /// Begins to look at a content which begins like this, and which is text of that wider
    /// encoding, if it is any.
    pub(super) fn watch<'a>(
        &'a self,
        item: Item<'a>,
        (head, form): (&[u8], Option<wide::Form>),
    ) -> Watch<'a> {
        let mut notes = Notes::new(self.pack, item);
        let files = self.files.watch((head, form.is_some()), &mut notes);
        let settings = self.settings.watch((head, form), &item);
        Watch {
            notes,
            files,
            settings,
        }
    }
}

/// A content on its way through.
pub(super) struct Watch<'a> {
    notes: Notes<'a>,
    files: files::Watch,
    settings: settings::Watch<'a>,
}

impl Watch<'_> {
    fn feed(&mut self, bytes: &[u8]) {
        self.files.feed(bytes, &mut self.notes);
        self.settings.feed(bytes);
    }

    /// What was found.
    pub(super) fn finish(mut self) -> Vec<Found> {
        self.files.finish(&mut self.notes);
        self.settings.finish(&mut self.notes);
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
