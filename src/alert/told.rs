//! What channels have been told before, so that nobody hears the same thing all day, and what an
//! Alertmanager holds for true until a run says otherwise. Pure: its file is the spool's.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::message::Happening;
use crate::base::clock::Timestamp;
use crate::base::event::Event;
use crate::base::severity::Severity;

/// The version of the file.
const VERSION: u32 = 1;
/// What was told so long ago is forgotten, seconds: 90 days.
const FORGET_SECONDS: i64 = 90 * 86_400;

/// What every channel was told, by the channel's name, the scope, and the event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Told {
    version: u32,
    channels: BTreeMap<String, BTreeMap<String, BTreeMap<Event, Record>>>,
}

/// What a channel was told last of an event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Record {
    at: Timestamp,
    severity: Severity,
    kinds: BTreeMap<String, u64>,
}

/// The run as far as it matters here.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment<'a> {
    pub(super) now: Timestamp,
    pub(super) repeat_interval_seconds: u64,
    pub(super) scope: &'a str,
    /// Whether what is not among the events is over.
    pub(super) is_complete: bool,
}

impl Default for Told {
    fn default() -> Self {
        Self {
            version: VERSION,
            channels: BTreeMap::new(),
        }
    }
}

impl Told {
    /// Whether this is a file that this version understands.
    pub(super) fn is_known(&self) -> bool {
        self.version == VERSION
    }

    fn of(&mut self, channel: &str, scope: &str) -> &mut BTreeMap<Event, Record> {
        let scopes = self.channels.entry(channel.to_owned()).or_default();
        scopes.entry(scope.to_owned()).or_default()
    }

    /// Keeps what a channel has not heard within the interval, or what got worse since, and notes
    /// that it hears it now.
    pub(super) fn sift<'f>(
        &mut self,
        channel: &str,
        happenings: Vec<Happening<'f>>,
        moment: Moment<'_>,
    ) -> Vec<Happening<'f>> {
        let records = self.of(channel, moment.scope);
        let is_new = |happening: &Happening<'_>| match records.get(&happening.event) {
            Some(record) => {
                !record.is_fresh(moment) || record.is_exceeded_by(&Record::of(happening, moment))
            }
            None => true,
        };
        let new: Vec<Happening<'f>> = happenings.into_iter().filter(is_new).collect();
        for happening in &new {
            records.insert(happening.event, Record::of(happening, moment));
        }
        new
    }

    /// Notes what holds now for an Alertmanager, which does the sifting itself, and gives what held
    /// before and holds no more.
    pub(super) fn follow(
        &mut self,
        channel: &str,
        happenings: &[Happening<'_>],
        moment: Moment<'_>,
    ) -> Vec<(Event, Severity)> {
        let records = self.of(channel, moment.scope);
        let mut over = Vec::new();
        for event in Event::ALL {
            let now = happenings.iter().find(|happening| happening.event == event);
            let before = records.get(&event).map(|record| record.severity);
            let is_over = match now {
                Some(now) => before != Some(now.severity()),
                None => moment.is_complete,
            };
            over.extend(before.filter(|_| is_over).map(|severity| (event, severity)));
            match now {
                Some(now) => {
                    records.insert(event, Record::of(now, moment));
                }
                None if is_over => {
                    records.remove(&event);
                }
                None => {}
            }
        }
        over
    }

    /// Drops what was told too long ago to matter, and what is empty.
    pub(super) fn forget(&mut self, now: Timestamp) {
        let oldest = now.plus_seconds(-FORGET_SECONDS);
        for scopes in self.channels.values_mut() {
            for records in scopes.values_mut() {
                records.retain(|_, record| record.at >= oldest);
            }
            scopes.retain(|_, records| !records.is_empty());
        }
        self.channels.retain(|_, scopes| !scopes.is_empty());
    }
}

impl Record {
    fn of(happening: &Happening<'_>, moment: Moment<'_>) -> Self {
        Self {
            at: moment.now,
            severity: happening.severity(),
            kinds: happening.kinds(),
        }
    }

    /// Whether the interval is not over. A clock that was set back makes nothing fresh: better twice
    /// than not at all.
    fn is_fresh(&self, moment: Moment<'_>) -> bool {
        let age = moment.now.unix_seconds() - self.at.unix_seconds();
        u64::try_from(age).is_ok_and(|age| age < moment.repeat_interval_seconds)
    }

    /// Whether something is there that was not, or is worse than it was.
    fn is_exceeded_by(&self, other: &Self) -> bool {
        let mut kinds = other.kinds.iter();
        other.severity > self.severity
            || kinds.any(|(kind, count)| self.kinds.get(kind).is_none_or(|told| count > told))
    }
}
