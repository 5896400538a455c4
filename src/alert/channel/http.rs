//! One POST: bounded in time, without redirects, tried again where the other side asks for patience.
//!
//! An address is a secret: whoever knows that of a Slack webhook can write to the channel. So no error of the
//! library leaves this file as it is: only what happened, in words of ours.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use ureq::http::Uri;
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, http::HeaderMap};
use zeroize::Zeroizing;

use super::{ATTEMPT_MAX, Surroundings, Trouble, tls};
use crate::base::clock::{self, Timestamp};

/// How long a connection may take.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Attempts after the first.
const RETRIES: u32 = 2;
/// The wait before the first retry, doubled for the second; half of it is left to chance.
const WAIT: Duration = Duration::from_millis(500);
/// The longest wait that a server may ask for.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// Where to post; has no form that shows it.
pub(super) struct Address {
    uri: Zeroizing<String>,
    is_secured: bool,
    is_loopback: bool,
}

impl Address {
    /// Reads an address. Without TLS it must be this machine's own, unless it `may_be_plain`.
    ///
    /// # Errors
    /// What is wrong with it, without showing it.
    pub(super) fn parse(text: &str, may_be_plain: bool) -> Result<Self, &'static str> {
        let uri: Uri = text.parse().map_err(|_| "does not hold a URL")?;
        let host = uri.host().filter(|host| !host.is_empty());
        let host = host.ok_or("does not hold a URL with a host")?;
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let is_loopback = bare.eq_ignore_ascii_case("localhost")
            || bare
                .parse()
                .is_ok_and(|address: IpAddr| address.is_loopback());
        match uri.scheme_str() {
            Some("https") => {}
            Some("http") if is_loopback || may_be_plain => {}
            Some("http") => return Err("holds a URL without TLS that is not this machine's own"),
            _ => return Err("does not hold a URL of `https`"),
        }
        Ok(Self {
            uri: Zeroizing::new(text.to_owned()),
            is_secured: uri.scheme_str() == Some("https"),
            is_loopback,
        })
    }

    /// The same with something behind its path, unless that is there.
    pub(super) fn below(mut self, path: &str) -> Self {
        if !self.uri.ends_with(path) {
            let base = self.uri.trim_end_matches('/').to_owned();
            self.uri = Zeroizing::new(base + path);
        }
        self
    }
}

/// What to post.
pub(super) struct Post<'a> {
    pub(super) address: &'a Address,
    pub(super) body: &'a [u8],
    /// Headers beside the usual ones, made anew for each attempt.
    pub(super) headers: &'a dyn Fn(Timestamp) -> Vec<(&'static str, String)>,
    /// When there is no more time.
    pub(super) until: Instant,
}

/// Posts, and tries again twice where the answer is 429 or a server's error. Nothing of the answer but its
/// status and `Retry-After` is read.
///
/// # Errors
/// Every other answer than a good one, and none.
pub(super) fn post(post: &Post<'_>, surroundings: &Surroundings) -> Result<(), Trouble> {
    let agent = agent(post.address, surroundings).map_err(Trouble::of_channel)?;
    let mut retries = 0;
    loop {
        let (why, wait) = match attempt(&agent, post)? {
            Answer::Good => return Ok(()),
            Answer::Refused(status) => {
                return Err(Trouble::of_message(format!("it answered {status}")));
            }
            Answer::Later(status, wait) => (format!("it answered {status}"), wait),
        };
        let wait = wait.unwrap_or_else(|| backoff(retries));
        let is_in_time = wait <= WAIT_MAX && Instant::now() + wait + ATTEMPT_MAX <= post.until;
        if retries == RETRIES || !is_in_time {
            return Err(Trouble::of_channel(why));
        }
        std::thread::sleep(wait);
        retries += 1;
    }
}

enum Answer {
    Good,
    Refused(u16),
    /// The status, and how long the server wants us to wait.
    Later(u16, Option<Duration>),
}

fn attempt(agent: &Agent, post: &Post<'_>) -> Result<Answer, Trouble> {
    let now = clock::now();
    let mut request = agent.post(post.address.uri.as_str());
    request = request.header("content-type", "application/json");
    for (name, value) in (post.headers)(now) {
        request = request.header(name, value);
    }
    let response = request.send(post.body).map_err(|error| in_words(&error))?;
    let status = response.status().as_u16();
    Ok(match status {
        200..=299 => Answer::Good,
        429 | 500..=599 => Answer::Later(status, retry_after(response.headers(), now)),
        _ => Answer::Refused(status),
    })
}

/// `Retry-After` as seconds or as a date (RFC 9110 §10.2.3).
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get("retry-after")?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = chrono::DateTime::parse_from_rfc2822(text).ok()?;
    let millis = date.timestamp_millis().saturating_sub(now.unix_millis());
    Some(Duration::from_millis(u64::try_from(millis).unwrap_or(0)))
}

/// So that many clients of a server that is back do not all come at once.
fn backoff(retries: u32) -> Duration {
    let mut chance = [0; 2];
    // Without randomness the waits are merely equal.
    let _ = getrandom::fill(&mut chance);
    let share = f64::from(u16::from_be_bytes(chance)) / f64::from(u16::MAX);
    (WAIT * 2_u32.pow(retries)).mul_f64(0.5 + share)
}

fn agent(address: &Address, surroundings: &Surroundings) -> Result<Agent, String> {
    let certificates = surroundings.certificates.as_deref();
    let certificates = certificates.filter(|_| address.is_secured);
    let roots = match tls::authorities(certificates)? {
        Some(certificates) => RootCerts::new_with_certs(&certificates),
        None => RootCerts::WebPki,
    };
    let mut config = Agent::config_builder()
        .timeout_global(Some(ATTEMPT_MAX))
        .timeout_connect(Some(CONNECT_MAX))
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .user_agent(concat!("agp/", env!("CARGO_PKG_VERSION")))
        .tls_config(TlsConfig::builder().root_certs(roots).build());
    if address.is_loopback {
        config = config.proxy(None);
    }
    Ok(config.build().new_agent())
}

/// What happened, without the address that the library's own words may hold.
fn in_words(error: &ureq::Error) -> Trouble {
    Trouble::of_channel(match error {
        ureq::Error::Timeout(ureq::Timeout::Connect) => {
            format!("no connection within {} s", CONNECT_MAX.as_secs())
        }
        ureq::Error::Timeout(_) => format!("no answer within {} s", ATTEMPT_MAX.as_secs()),
        ureq::Error::HostNotFound => "the host of its URL does not resolve".into(),
        ureq::Error::Rustls(error) => tls::in_words(error),
        ureq::Error::Io(error) => super::io_in_words(error),
        ureq::Error::Protocol(_) => "it does not speak HTTP as it should".into(),
        ureq::Error::InvalidProxyUrl | ureq::Error::ConnectProxyFailed(_) => {
            "the proxy did not let it through".into()
        }
        _ => "the request failed".into(),
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use super::*;

    #[test]
    fn without_tls_only_this_machine_is_an_address() {
        for good in [
            "https://hooks.example.org/a?b=c",
            "http://127.0.0.1:8080/x",
            "http://[::1]:80/",
            "http://LOCALHOST/",
        ] {
            assert!(Address::parse(good, false).is_ok(), "{good}");
        }
        for bad in [
            "",
            "hooks.example.org",
            "ftp://127.0.0.1/",
            "http://hooks.example.org/",
            "http://127.0.0.1@hooks.example.org/",
            "http://127.0.0.1.example.org/",
            "http://localhost.example.org/",
            "https:///path",
            "https://a b/",
        ] {
            assert!(Address::parse(bad, false).is_err(), "{bad}");
        }
        assert!(Address::parse("http://alertmanager:9093", true).is_ok());
        assert!(Address::parse("file:///etc/passwd", true).is_err());
    }

    #[test]
    fn a_path_is_added_once() {
        for (base, expected) in [
            ("http://a:1", "http://a:1/api"),
            ("http://a:1/", "http://a:1/api"),
            ("http://a:1/b/api", "http://a:1/b/api"),
        ] {
            let address = Address::parse(base, true).unwrap().below("/api");
            assert_eq!(*address.uri, expected);
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = Timestamp::parse("2026-11-25T12:00:00Z").unwrap();
        for (text, expected) in [
            ("7", Some(7)),
            ("Wed, 25 Nov 2026 12:00:09 GMT", Some(9)),
            ("Wed, 25 Nov 2026 11:00:00 GMT", Some(0)),
            ("-1", None),
            ("soon", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("retry-after", text.parse().unwrap());
            let found = retry_after(&headers, now);
            assert_eq!(found, expected.map(Duration::from_secs), "{text}");
        }
        let waits: Vec<_> = (0..2).map(backoff).collect();
        assert!(waits[0] >= WAIT / 2 && waits[1] <= WAIT * 3, "{waits:?}");
    }
}
