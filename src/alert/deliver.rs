//! Sending: every channel in a thread of its own, the oldest message first, and an end in time.
//!
//! Whoever sends to a channel holds its lock, so that two runs keep the order and send nothing twice. Who is still
//! at it when time is up is left behind: the process ends, and the message is in the spool.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use super::channel::{Trouble, Way};
use super::spool::{Entry, Spool, SpoolError};
use super::{News, Request, in_words};
use crate::base::clock::Timestamp;

/// How long all channels together may take.
const DELIVERY_MAX: Duration = Duration::from_secs(30);
/// How long they may take where the run was interrupted before.
const INTERRUPTED_MAX: Duration = Duration::from_secs(5);
/// How often it is looked whether the user wants an end.
const LOOK: Duration = Duration::from_millis(50);

/// What is to be done for one channel.
pub(super) struct Job {
    pub(super) channel: String,
    way: Result<Way, String>,
    /// The identifier of this run's own message, where it has one.
    pub(super) own: Option<String>,
    /// This run's own message, where no spool keeps it.
    pub(super) unkept: Option<Entry>,
}

impl Job {
    pub(super) fn new(channel: &str, way: Result<Way, String>) -> Self {
        Self {
            channel: channel.to_owned(),
            way,
            own: None,
            unkept: None,
        }
    }

    /// The same with a message that no spool keeps.
    pub(super) fn with(mut self, entry: Entry) -> Self {
        self.own = Some(entry.message.id.clone());
        self.unkept = Some(entry);
        self
    }

    /// The news of a channel that did not come to an end.
    fn unfinished(&self, why: &str) -> News {
        let (channel, why) = (self.channel.clone(), why.to_owned());
        let (count, is_own) = (1, self.own.is_some());
        match self.unkept {
            Some(_) => News::Lost {
                channel,
                count,
                is_own,
                why,
            },
            None => News::Kept {
                channel,
                count,
                is_own,
                why,
            },
        }
    }
}

/// Sends everything that waits, and gives what became of it, in the order of the channels.
pub(super) fn all(jobs: Vec<Job>, (spool, request): (Option<Spool>, &Request<'_>)) -> Vec<News> {
    let was_interrupted = request.interrupted.load(Ordering::Relaxed);
    let time = if was_interrupted {
        INTERRUPTED_MAX
    } else {
        DELIVERY_MAX
    };
    let until = Instant::now() + time;
    let has_work = |job: &Job| match was_interrupted {
        true => job.own.is_some(),
        false => has_work(job, spool.as_ref()),
    };
    let (sender, receiver) = mpsc::channel();
    // What is to be said of each channel; at first that it came to no end.
    let mut answers: Vec<Vec<News>> = Vec::new();
    let mut running = 0;
    for job in jobs.into_iter().filter(has_work) {
        let at = answers.len();
        answers.push(vec![
            job.unfinished("it took too long, or the run was interrupted"),
        ]);
        let (sender, spool, now) = (sender.clone(), spool.clone(), request.now);
        let work = move || {
            // Nobody listens any more where time is up.
            let _ = sender.send((at, Sending::of(job, (spool, until, now))));
        };
        // A thread that cannot be had leaves the first answer standing.
        running += usize::from(thread::Builder::new().spawn(work).is_ok());
    }
    drop(sender);
    let wants_an_end = || !was_interrupted && request.interrupted.load(Ordering::Relaxed);
    while running > 0 && Instant::now() < until && !wants_an_end() {
        match receiver.recv_timeout(LOOK) {
            Ok((at, news)) => {
                answers[at] = news;
                running -= 1;
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    answers.into_iter().flatten().collect()
}

fn has_work(job: &Job, spool: Option<&Spool>) -> bool {
    let waits = |spool: &Spool| {
        spool
            .waiting(&job.channel)
            .is_ok_and(|paths| !paths.is_empty())
    };
    job.own.is_some() || spool.is_some_and(waits)
}

/// Messages that did not arrive.
#[derive(Default)]
struct Tally {
    count: usize,
    /// Whether this run's own is among them.
    is_own: bool,
    /// Why the last one did not.
    why: String,
}

impl Tally {
    fn add(&mut self, is_own: bool, why: impl Into<String>) {
        self.count += 1;
        self.is_own |= is_own;
        self.why = why.into();
    }
}

/// The messages of one channel, as far as they have come.
struct Sending {
    job: Job,
    until: Instant,
    now: Timestamp,
    delivered: usize,
    kept: Tally,
    lost: Tally,
    /// What every further message would meet.
    obstacle: Option<String>,
    news: Vec<News>,
}

impl Sending {
    /// Sends what waits for a channel.
    fn of(job: Job, (spool, until, now): (Option<Spool>, Instant, Timestamp)) -> Vec<News> {
        let mut sending = Self {
            obstacle: job.way.as_ref().err().cloned(),
            job,
            until,
            now,
            delivered: 0,
            kept: Tally::default(),
            lost: Tally::default(),
            news: Vec::new(),
        };
        if let Some(spool) = &spool
            && let Err(error) = sending.spooled(spool)
        {
            sending.news.push(News::Spool(in_words(&error)));
            let is_own = sending.job.own.is_some();
            sending.kept.add(is_own, "the spool cannot be used");
        }
        if let Some(mut entry) = sending.job.unkept.take()
            && let Err(trouble) = sending.attempt(&mut entry)
        {
            sending.lost.add(true, trouble.why);
        }
        sending.told()
    }

    fn spooled(&mut self, spool: &Spool) -> Result<(), SpoolError> {
        let _lock = match spool.lock_channel(&self.job.channel, self.until) {
            Err(SpoolError::Busy(_)) => {
                let is_own = self.job.own.is_some();
                self.kept.add(is_own, "another run is still sending to it");
                return Ok(());
            }
            locked => locked?,
        };
        for path in spool.waiting(&self.job.channel)? {
            let result = match spool.read(&path, &self.job.channel) {
                Ok(entry) => self.one(spool, (&path, entry)),
                Err(error) if error.is_absence() => Ok(()),
                Err(error) => {
                    self.news.push(News::Spool(in_words(&error)));
                    spool.set_aside(&path)
                }
            };
            // One entry in the way is no reason to keep the others.
            if let Err(error) = result {
                self.news.push(News::Spool(in_words(&error)));
            }
        }
        Ok(())
    }

    /// Sends one message, and writes down what became of it.
    fn one(&mut self, spool: &Spool, (path, mut entry): (&Path, Entry)) -> Result<(), SpoolError> {
        let is_own = self.job.own.as_ref() == Some(&entry.message.id);
        let was_tried = self.obstacle.is_none();
        let Err(trouble) = self.attempt(&mut entry) else {
            return spool.remove(path);
        };
        let goes_on = match was_tried {
            true => entry.tried(self.now),
            false => !entry.is_old(self.now),
        };
        let tally = match goes_on {
            true => &mut self.kept,
            false => &mut self.lost,
        };
        tally.add(is_own, trouble.why);
        match (goes_on, was_tried) {
            (true, true) => spool.write(path, &entry),
            (true, false) => Ok(()),
            (false, _) => spool.remove(path),
        }
    }

    fn attempt(&mut self, entry: &mut Entry) -> Result<(), Trouble> {
        if self.obstacle.is_none() && Instant::now() >= self.until {
            self.obstacle = Some("there was no more time".into());
        }
        let obstacle = self.obstacle.clone();
        let sent = match (&self.job.way, obstacle) {
            (Ok(way), None) => way.send(entry, self.until),
            (Err(why), _) => Err(Trouble::of_channel(why.clone())),
            (Ok(_), Some(why)) => Err(Trouble::of_channel(why)),
        };
        match sent {
            Ok(()) => {
                self.delivered += 1;
                Ok(())
            }
            Err(trouble) => {
                if trouble.is_of_channel {
                    self.obstacle.get_or_insert_with(|| trouble.why.clone());
                }
                if trouble.remaining.is_some() {
                    entry.remaining.clone_from(&trouble.remaining);
                }
                Err(trouble)
            }
        }
    }

    fn told(self) -> Vec<News> {
        let channel = || self.job.channel.clone();
        let mut news = self.news;
        if self.delivered > 0 {
            news.push(News::Delivered {
                channel: channel(),
                count: self.delivered,
            });
        }
        let Tally { count, is_own, why } = self.kept;
        if count > 0 {
            news.push(News::Kept {
                channel: channel(),
                count,
                is_own,
                why,
            });
        }
        let Tally { count, is_own, why } = self.lost;
        if count > 0 {
            news.push(News::Lost {
                channel: channel(),
                count,
                is_own,
                why,
            });
        }
        news
    }
}
