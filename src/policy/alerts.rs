//! The section `alerts` of the policy as a value: who hears of what, and how.
//!
//! The doc comments of the fields are the reference's text. Knows nothing of deliveries.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::shape;
pub use crate::base::event::Event;
use crate::base::severity::Severity;

/// Who hears of what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Alerts {
    /// Ways out, by name.
    pub channels: BTreeMap<String, Channel>,
    /// Which events go which way.
    pub routes: Vec<Route>,
    /// Shortest time between two alerts about the same thing that got no worse, seconds.
    #[schemars(with = "shape::WholeSeconds")]
    pub repeat_interval_seconds: u64,
    /// Whether an alert that could not be delivered changes the exit code.
    pub require_notify: bool,
    /// The share of a maximum from which a resource counts as nearly exhausted.
    #[schemars(with = "shape::Share")]
    pub resource_exhaustion_ratio: f64,
}

impl Default for Alerts {
    fn default() -> Self {
        Self {
            channels: BTreeMap::new(),
            routes: Vec::new(),
            repeat_interval_seconds: 14_400,
            require_notify: false,
            resource_exhaustion_ratio: 0.9,
        }
    }
}

/// A way out for alerts. Text that its type does not need may stay empty.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Channel {
    /// What kind of way it is.
    pub r#type: ChannelType,
    /// The environment variable that holds the URL.
    #[serde(default)]
    #[schemars(with = "shape::VariableOrEmpty")]
    pub url_env: String,
    /// The environment variable that holds the secret of a webhook's signature.
    #[serde(default)]
    #[schemars(with = "shape::VariableOrEmpty")]
    pub secret_env: String,
    /// The mail server.
    #[serde(default)]
    pub smtp_host: String,
    /// The mail server's port.
    #[serde(default = "submission_port")]
    #[schemars(with = "shape::Port")]
    pub smtp_port: u16,
    /// How the connection to the mail server is secured.
    #[serde(default)]
    pub smtp_tls: SmtpTls,
    /// The environment variable that holds the mail server's user.
    #[serde(default)]
    #[schemars(with = "shape::VariableOrEmpty")]
    pub username_env: String,
    /// The environment variable that holds the mail server's password.
    #[serde(default)]
    #[schemars(with = "shape::VariableOrEmpty")]
    pub password_env: String,
    /// The address that mail comes from.
    #[serde(default)]
    pub from: String,
    /// The addresses that mail goes to.
    #[serde(default)]
    #[schemars(with = "Vec<shape::Filled>")]
    pub to: Vec<String>,
    /// Program and arguments that get the event on standard input; no shell.
    #[serde(default)]
    pub argv: Vec<String>,
    /// How long an Alertmanager keeps an alert that no run repeats, seconds: longer than the time between two
    /// runs.
    #[serde(default = "a_day_and_an_hour")]
    #[schemars(with = "shape::WholeSeconds")]
    pub ttl_seconds: u64,
}

/// The port of mail submission (RFC 6409).
fn submission_port() -> u16 {
    587
}

/// So that the alert of a nightly run holds until the next one.
fn a_day_and_an_hour() -> u64 {
    90_000
}

/// What kind of way out a channel is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChannelType {
    /// An incoming webhook of Slack; needs `url_env`.
    Slack,
    /// A POST of the event; needs `url_env`.
    Webhook,
    /// A message by SMTP; needs `smtp_host`, `from` and `to`.
    Email,
    /// An Alertmanager; needs `url_env`.
    Alertmanager,
    /// A program; needs `argv`.
    Command,
}

/// How a connection to a mail server is secured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SmtpTls {
    /// Plain at first, then upgraded; never sent without.
    #[default]
    Starttls,
    /// From the first byte.
    Tls,
    /// Not at all.
    None,
}

/// Which events go which way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// The events that take this route.
    #[serde(default = "every_event")]
    pub events: Vec<Event>,
    /// The lowest severity that takes this route.
    #[serde(default = "high")]
    pub severity_min: Severity,
    /// Names of channels.
    #[schemars(with = "Vec<shape::Filled>")]
    pub channels: Vec<String>,
}

fn every_event() -> Vec<Event> {
    Event::ALL.to_vec()
}

fn high() -> Severity {
    Severity::High
}
