//! Ways out: each type of channel, ready to send.
//!
//! Owns the addresses and secrets of one run, which have no form that shows them. Every error here is in words
//! that were chosen here: what libraries and servers say may repeat an address, a password or a stranger's text.

mod alertmanager;
mod command;
mod email;
mod http;
mod slack;
mod tls;
mod webhook;

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use super::spool::Entry;
use crate::policy::{Channel, ChannelType};
use crate::process;

/// How long an attempt may take.
const ATTEMPT_MAX: Duration = Duration::from_secs(10);

/// The values of variables.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// What surrounds every channel.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// Certificates in PEM to trust in place of the built-in ones.
    pub certificates: Option<PathBuf>,
    /// Variables that no program gets to see.
    pub hidden: Vec<OsString>,
}

/// A channel, ready to send.
pub(super) struct Way {
    kind: Kind,
    surroundings: Surroundings,
}

enum Kind {
    Slack(http::Address),
    Webhook(webhook::Webhook),
    Email(Box<email::Mailer>),
    Alertmanager(alertmanager::Alertmanager),
    Command(Vec<OsString>),
}

/// Why a message did not arrive.
#[derive(Debug)]
pub(super) struct Trouble {
    /// In words of ours.
    pub(super) why: String,
    /// Whether other messages would fare the same.
    pub(super) is_of_channel: bool,
    /// The recipients who do not have it, where others do.
    pub(super) remaining: Option<Vec<String>>,
}

impl Trouble {
    pub(super) fn of_channel(why: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            is_of_channel: true,
            remaining: None,
        }
    }

    fn of_message(why: impl Into<String>) -> Self {
        Self {
            is_of_channel: false,
            ..Self::of_channel(why)
        }
    }
}

impl Way {
    /// Makes a channel ready: looks its variables up, and connects to nothing.
    ///
    /// # Errors
    /// A variable that is not set or does not hold what it should, named, without its value.
    pub(super) fn open(
        channel: &Channel,
        (lookup, surroundings): (Lookup<'_>, &Surroundings),
    ) -> Result<Self, String> {
        let address = |may_be_plain| {
            let url = secret(&channel.url_env, lookup)?;
            let parsed = http::Address::parse(url.trim(), may_be_plain);
            parsed.map_err(|why| format!("`{}` {why}", channel.url_env))
        };
        let kind = match channel.r#type {
            ChannelType::Slack => Kind::Slack(address(false)?),
            ChannelType::Webhook => {
                let secret = named(&channel.secret_env, lookup)?;
                let webhook = webhook::Webhook::new(address(false)?, secret.as_ref());
                Kind::Webhook(webhook.map_err(|why| format!("`{}` {why}", channel.secret_env))?)
            }
            ChannelType::Email => Kind::Email(Box::new(email::Mailer::new(channel, lookup)?)),
            // Inside of its own network an Alertmanager mostly listens without TLS.
            ChannelType::Alertmanager => Kind::Alertmanager(alertmanager::Alertmanager::new(
                address(true)?,
                channel.ttl_seconds,
            )),
            ChannelType::Command => {
                Kind::Command(channel.argv.iter().map(OsString::from).collect())
            }
        };
        // From here on a secret is in our memory.
        process::forbid_dumps();
        Ok(Self {
            kind,
            surroundings: surroundings.clone(),
        })
    }

    /// Sends a message.
    ///
    /// # Errors
    /// A message that did not arrive, or not with certainty.
    pub(super) fn send(&self, entry: &Entry, until: Instant) -> Result<(), Trouble> {
        let message = &entry.message;
        match &self.kind {
            Kind::Slack(address) => {
                let body = slack::body(message).to_string();
                let post = http::Post {
                    address,
                    body: body.as_bytes(),
                    headers: &|_| Vec::new(),
                    until,
                };
                http::post(&post, &self.surroundings)
            }
            Kind::Webhook(webhook) => webhook.send(message, (&self.surroundings, until)),
            Kind::Alertmanager(manager) => manager.send(entry, (&self.surroundings, until)),
            Kind::Email(mailer) => mailer.send(entry, &self.surroundings),
            Kind::Command(argv) => command::send(message, (argv, &self.surroundings.hidden)),
        }
    }
}

/// The value of a variable that must be there.
fn secret(name: &str, lookup: Lookup<'_>) -> Result<Zeroizing<String>, String> {
    let value = lookup(name).filter(|value| value != OsStr::new(""));
    let value = value.ok_or_else(|| format!("the environment variable `{name}` is not set"))?;
    let text = value.into_string().map(Zeroizing::new);
    text.map_err(|_| format!("`{name}` is not UTF-8"))
}

/// The same of a variable that need not be named.
fn named(name: &str, lookup: Lookup<'_>) -> Result<Option<Zeroizing<String>>, String> {
    match name.is_empty() {
        true => Ok(None),
        false => secret(name, lookup).map(Some),
    }
}

/// The body of a message as JSON.
fn json(message: &super::Message) -> Vec<u8> {
    // Plain data always serializes.
    serde_json::to_vec(message).unwrap_or_default()
}

/// What the system said, without what a library has added.
fn io_in_words(error: &io::Error) -> String {
    let inner = error.get_ref();
    if let Some(error) = inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        return tls::in_words(error);
    }
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "the connection was refused".into(),
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => {
            format!("no answer within {} s", ATTEMPT_MAX.as_secs())
        }
        io::ErrorKind::UnexpectedEof
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe => "it closed the connection".into(),
        // The standard library has no kind for a name that does not resolve.
        _ if error.to_string().starts_with("failed to lookup address") => {
            "its host does not resolve".into()
        }
        kind => format!("no connection: {kind}"),
    }
}
