//! Floor 2, a recorder: who hears of what a run found, and how it reaches them.
//!
//! A message is written down before it is sent ([`spool`]) and taken out once it has arrived; what did not
//! arrive is sent by the next run. All channels are tried at the same time, each within 30 seconds, and none of
//! them changes an answer: what went wrong is told to the caller, who makes findings of it.
//!
//! In reading order: `message` (findings become events, events a message), `route` (which channel hears of
//! what), `told` (and whether it has heard it already), `spool`, `channel` (the ways out), `deliver`.

mod channel;
mod deliver;
mod message;
mod route;
mod spool;
#[cfg(test)]
mod tests;
mod told;

pub use channel::{Lookup, Surroundings};
pub use message::{Facts, Happened, Message, Sender, Shown};

use std::fs::File;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use crate::base::clock::Timestamp;
use crate::base::event::Event;
use crate::base::severity::Severity;
use crate::policy::{Alerts, ChannelType};
use crate::report::{Finding, Verdict, codes};
use channel::Way;
use deliver::Job;
use message::Happening;
use spool::{Entry, Spool, SpoolError};
use told::{Moment, Told};

/// What alerts need to know.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// Who hears of what.
    pub alerts: &'a Alerts,
    /// The values of variables.
    pub lookup: Lookup<'a>,
    /// What surrounds every channel.
    pub surroundings: &'a Surroundings,
    /// Where messages on their way are kept; `None` where nothing may be.
    pub spool: Option<&'a Path>,
    /// Now.
    pub now: Timestamp,
    /// Set where the user wants an end: what is on its way stays in the spool.
    pub interrupted: &'a AtomicBool,
}

/// What became of a message, or of several on one channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// It has arrived.
    Delivered {
        /// The channel.
        channel: String,
        /// How many, earlier ones included.
        count: usize,
    },
    /// It has not, and is kept for the next run.
    Kept {
        /// The channel.
        channel: String,
        /// How many, earlier ones included.
        count: usize,
        /// Whether this run's own is among them.
        is_own: bool,
        /// Why not.
        why: String,
    },
    /// It has not, and never will.
    Lost {
        /// The channel.
        channel: String,
        /// How many.
        count: usize,
        /// Whether this run's own is among them.
        is_own: bool,
        /// Why not.
        why: String,
    },
    /// A channel that routes lead to cannot be used.
    Unconfigured {
        /// The channel.
        channel: String,
        /// Why not.
        why: String,
    },
    /// The spool, or an entry of it.
    Spool(String),
}

/// The JSON Schema of a message (draft 2020-12).
pub fn schema() -> serde_json::Value {
    let settings = schemars::generate::SchemaSettings::draft2020_12();
    let schema = settings.into_generator().into_root_schema_for::<Message>();
    schema.to_value()
}

/// Tells everybody who is to hear of a run, and sends what earlier runs left. `None` for a run that has no
/// report, and so nothing of its own to say.
pub fn tell(request: &Request<'_>, facts: Option<&Facts<'_>>) -> Vec<News> {
    let alerts = request.alerts;
    let used = alerts.channels.iter();
    let used = used.filter(|(name, _)| route::is_used(alerts, name));
    let mut news = Vec::new();
    let mut jobs = Vec::new();
    for (name, channel) in used {
        let way = Way::open(channel, (request.lookup, request.surroundings));
        if let Err(why) = &way {
            let (channel, why) = (name.clone(), why.clone());
            news.push(News::Unconfigured { channel, why });
        }
        jobs.push(Job::new(name, way));
    }
    let spool = prepare(request, facts, (&mut jobs, &mut news));
    news.extend(deliver::all(jobs, (spool, request)));
    news
}

/// Sends a message that says it is a test to every channel, past routes and spool: each with its own
/// answer.
pub fn test(request: &Request<'_>, facts: &Facts<'_>) -> Vec<(String, Vec<News>)> {
    let sample = [message::sample()];
    let happenings = message::happenings(&sample);
    let mut news = Vec::new();
    let mut jobs = Vec::new();
    for (name, channel) in &request.alerts.channels {
        match Way::open(channel, (request.lookup, request.surroundings)) {
            Ok(way) => {
                let entry = Entry::new(name, facts.message(name, &happenings), Vec::new());
                jobs.push(Job::new(name, Ok(way)).with(entry));
            }
            Err(why) => news.push(News::Unconfigured {
                channel: name.clone(),
                why,
            }),
        }
    }
    news.extend(deliver::all(jobs, (None, request)));
    let of = |name: &String| {
        let own = news.iter().filter(|news| news.channel() == Some(name));
        (name.clone(), own.cloned().collect())
    };
    request.alerts.channels.keys().map(of).collect()
}

impl News {
    fn channel(&self) -> Option<&String> {
        match self {
            Self::Delivered { channel, .. }
            | Self::Kept { channel, .. }
            | Self::Lost { channel, .. }
            | Self::Unconfigured { channel, .. } => Some(channel),
            Self::Spool(_) => None,
        }
    }
}

/// Gives every channel what it is to hear of this run, on disk first. Gives the spool, as far as it can be
/// used.
fn prepare(
    request: &Request<'_>,
    facts: Option<&Facts<'_>>,
    (jobs, news): (&mut [Job], &mut Vec<News>),
) -> Option<Spool> {
    let happenings = facts.map_or_else(Vec::new, |facts| message::happenings(facts.findings));
    let locked = locked(request, happenings.is_empty()).unwrap_or_else(|error| {
        news.push(News::Spool(in_words(&error)));
        None
    });
    if let Some(facts) = facts {
        let spool = locked.as_ref().map(|(spool, _)| spool);
        enqueue(request, (facts, &happenings), (spool, jobs, news));
    }
    locked.map(|(spool, _)| spool)
}

/// The spool and its lock. Where nothing is to be said and nothing was before, nothing is touched.
fn locked(request: &Request<'_>, is_quiet: bool) -> Result<Option<(Spool, File)>, SpoolError> {
    let Some(spool) = request.spool.map(Spool::at) else {
        return Ok(None);
    };
    if !spool.exists()? && is_quiet {
        return Ok(None);
    }
    spool.create()?;
    let lock = spool.lock()?;
    Ok(Some((spool, lock)))
}

fn enqueue(
    request: &Request<'_>,
    (facts, happenings): (&Facts<'_>, &[Happening<'_>]),
    (spool, jobs, news): (Option<&Spool>, &mut [Job], &mut Vec<News>),
) {
    let mut told = spool.map_or_else(Told::default, |spool| told(spool, news));
    let before = told.clone();
    let scope = facts.scope();
    let moment = Moment {
        now: request.now,
        repeat_interval_seconds: request.alerts.repeat_interval_seconds,
        scope: &scope,
        is_complete: facts.is_complete,
    };
    for job in &mut *jobs {
        let (heard, over) = heard(request, (&job.channel, happenings), (&mut told, moment));
        if heard.is_empty() && over.is_empty() {
            continue;
        }
        let entry = Entry::new(&job.channel, facts.message(&job.channel, &heard), over);
        job.own = Some(entry.message.id.clone());
        match spool.map(|spool| spool.add(&entry)).transpose() {
            Ok(None) => job.unkept = Some(entry),
            Ok(Some(0)) => {}
            Ok(Some(count)) => news.push(News::Lost {
                channel: job.channel.clone(),
                count,
                is_own: false,
                why: format!("more than {} wait for it", spool::WAITING_MAX),
            }),
            Err(error) => {
                news.push(News::Spool(in_words(&error)));
                job.unkept = Some(entry);
            }
        }
    }
    told.forget(request.now);
    if let Some(spool) = spool.filter(|_| told != before)
        && let Err(error) = spool.set_told(&told)
    {
        news.push(News::Spool(in_words(&error)));
    }
}

/// What a channel is to hear now, and what is over for an Alertmanager.
fn heard<'f>(
    request: &Request<'_>,
    (channel, happenings): (&str, &[Happening<'f>]),
    (told, moment): (&mut Told, Moment<'_>),
) -> (Vec<Happening<'f>>, Vec<(Event, Severity)>) {
    let heard = happenings.iter().filter_map(|happening| {
        let of = (channel, happening.event);
        happening.from(route::severity_min(request.alerts, of)?)
    });
    let heard: Vec<Happening<'f>> = heard.collect();
    let kind = request.alerts.channels.get(channel).map(|one| one.r#type);
    match kind {
        Some(ChannelType::Alertmanager) => {
            let over = told.follow(channel, &heard, moment);
            (heard, over)
        }
        _ => (told.sift(channel, heard, moment), Vec::new()),
    }
}

/// What channels were told; nothing where that cannot be known.
fn told(spool: &Spool, news: &mut Vec<News>) -> Told {
    spool.told().unwrap_or_else(|error| {
        news.push(News::Spool(in_words(&error)));
        if let Err(error) = spool.set_told_aside() {
            news.push(News::Spool(in_words(&error)));
        }
        Told::default()
    })
}

/// An error with its causes.
fn in_words(error: &SpoolError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(source) = cause {
        text.push_str(&format!(": {source}"));
        cause = source.source();
    }
    text
}

/// Whether any route leads to any channel.
pub fn is_used(alerts: &Alerts) -> bool {
    let mut names = alerts.channels.keys();
    names.any(|name| route::is_used(alerts, name))
}

/// Whether what was found is all that there is to say of the target: a run that could not answer, or looked at
/// a part only, ends no alert.
pub fn is_complete(verdict: Verdict, findings: &[Finding]) -> bool {
    let is_partial = |finding: &Finding| finding.code == &codes::SCOPE_PARTIAL;
    verdict != Verdict::Error && !findings.iter().any(is_partial)
}
