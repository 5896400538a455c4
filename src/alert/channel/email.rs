//! A message by SMTP: plain text and HTML, to every recipient who has it not yet.
//!
//! One refused recipient keeps no other from it. A password goes over a secured connection only.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lettre::Address;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart};
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{
    Certificate, CertificateStore, SmtpConnection, TlsParameters, TlsParametersBuilder,
};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::ClientId;
use zeroize::Zeroizing;

use super::super::message::Message;
use super::super::spool::Entry;
use super::{ATTEMPT_MAX, Lookup, Surroundings, Trouble, named, tls};
use crate::base::units::html_escaped;
use crate::policy::{Channel, SmtpTls};

/// A mail server, and who writes to whom.
pub(super) struct Mailer {
    host: String,
    port: u16,
    security: SmtpTls,
    login: Option<(Zeroizing<String>, Zeroizing<String>)>,
    from: Mailbox,
    to: Vec<Mailbox>,
}

impl Mailer {
    /// # Errors
    /// A variable that is not set, an address that is none, a password that would travel in the open.
    pub(super) fn new(channel: &Channel, lookup: Lookup<'_>) -> Result<Self, String> {
        let user = named(&channel.username_env, lookup)?;
        let password = named(&channel.password_env, lookup)?;
        let login = match (user, password) {
            (None, None) => None,
            (Some(user), Some(password)) => Some((user, password)),
            _ => return Err("`username_env` and `password_env` belong together".into()),
        };
        let host = channel.smtp_host.clone();
        let is_own = host == "localhost"
            || host
                .parse()
                .is_ok_and(|address: std::net::IpAddr| address.is_loopback());
        if login.is_some() && channel.smtp_tls == SmtpTls::None && !is_own {
            return Err("with `smtp_tls` `none` a password would travel in the open".into());
        }
        Ok(Self {
            host,
            port: channel.smtp_port,
            security: channel.smtp_tls,
            login,
            from: mailbox(&channel.from)?,
            to: channel
                .to
                .iter()
                .map(|to| mailbox(to))
                .collect::<Result<_, _>>()?,
        })
    }

    pub(super) fn send(&self, entry: &Entry, surroundings: &Surroundings) -> Result<(), Trouble> {
        let is_due = |to: &&Mailbox| {
            let remaining = entry.remaining.as_ref();
            remaining.is_none_or(|remaining| remaining.contains(&to.email.to_string()))
        };
        let due: Vec<&Address> = self.to.iter().filter(is_due).map(|to| &to.email).collect();
        // Whoever did not have it is no recipient any more.
        if due.is_empty() {
            return Ok(());
        }
        let mail = self.mail(&entry.message)?;
        let mut connection = self.connect(surroundings)?;
        let refused = self.hand_over(&mut connection, (&due, &mail))?;
        // The server has taken it; how we part changes nothing.
        let _ = connection.quit();
        match refused.first() {
            None => Ok(()),
            Some((_, code)) => Err(Trouble {
                remaining: Some(refused.iter().map(|(to, _)| to.to_string()).collect()),
                ..Trouble::of_message(format!(
                    "it refused {} of {} recipients with {code}",
                    refused.len(),
                    due.len()
                ))
            }),
        }
    }

    fn connect(&self, surroundings: &Surroundings) -> Result<SmtpConnection, Trouble> {
        let secured = match self.security {
            SmtpTls::None => None,
            SmtpTls::Starttls | SmtpTls::Tls => Some(self.trust(surroundings)?),
        };
        let at_once = secured.as_ref().filter(|_| self.security == SmtpTls::Tls);
        // Whoever we are is our own affair: the address literal of this machine.
        let hello = ClientId::default();
        let place = (self.host.as_str(), self.port);
        let connection = SmtpConnection::connect(place, Some(ATTEMPT_MAX), &hello, at_once, None);
        let mut connection = connection.map_err(|error| in_words(&error))?;
        if let Some(secured) = secured
            .as_ref()
            .filter(|_| self.security == SmtpTls::Starttls)
        {
            if !connection.can_starttls() {
                return Err(Trouble::of_channel("it does not offer STARTTLS"));
            }
            let upgraded = connection.starttls(secured, &hello);
            upgraded.map_err(|error| in_words(&error))?;
        }
        if let Some((user, password)) = &self.login {
            // A secret that came from a file mostly ends a line.
            let line = |text: &Zeroizing<String>| text.trim_end_matches(['\r', '\n']).to_owned();
            let login = Credentials::new(line(user), line(password));
            let proven = connection.auth(DEFAULT_MECHANISMS, &login);
            proven.map_err(|error| match error.status() {
                Some(code) => {
                    Trouble::of_channel(format!("it refused user or password with {code}"))
                }
                None => in_words(&error),
            })?;
        }
        Ok(connection)
    }

    fn trust(&self, surroundings: &Surroundings) -> Result<TlsParameters, Trouble> {
        let authorities = tls::authorities(surroundings.certificates.as_deref());
        let mut builder = TlsParametersBuilder::new(self.host.clone());
        builder = match authorities.map_err(Trouble::of_channel)? {
            None => builder.certificate_store(CertificateStore::WebpkiRoots),
            Some(authorities) => {
                let builder = builder.certificate_store(CertificateStore::None);
                let add = |builder: TlsParametersBuilder, one: &ureq::tls::Certificate<'_>| {
                    let one = Certificate::from_der(one.der().to_vec())?;
                    Ok(builder.add_root_certificate(one))
                };
                let added = authorities.iter().try_fold(builder, add);
                added.map_err(|error: Error| in_words(&error))?
            }
        };
        builder.build().map_err(|error| in_words(&error))
    }

    /// Gives the recipients whom the server refused, and its codes.
    fn hand_over<'a>(
        &self,
        connection: &mut SmtpConnection,
        (to, mail): (&[&'a Address], &[u8]),
    ) -> Result<Vec<(&'a Address, String)>, Trouble> {
        let words = |error: Error| in_words(&error);
        let from = Some(self.from.email.clone());
        connection
            .command(Mail::new(from, Vec::new()))
            .map_err(words)?;
        let mut refused = Vec::new();
        for to in to {
            match connection.command(Rcpt::new((*to).clone(), Vec::new())) {
                Ok(_) => {}
                Err(error) => match error.status() {
                    Some(code) => refused.push((*to, code.to_string())),
                    None => return Err(in_words(&error)),
                },
            }
        }
        if refused.len() < to.len() {
            connection.command(Data).map_err(words)?;
            connection.message(mail).map_err(words)?;
        }
        Ok(refused)
    }

    fn mail(&self, message: &Message) -> Result<Vec<u8>, Trouble> {
        let millis = u64::try_from(message.occurred_at.unix_millis()).unwrap_or(0);
        let date: SystemTime = UNIX_EPOCH + Duration::from_millis(millis);
        let mut builder = lettre::Message::builder()
            .from(self.from.clone())
            .subject(format!("[agp] {}", message.title()))
            .date(date)
            .message_id(Some(format!(
                "<{}@{}>",
                message.id,
                self.from.email.domain()
            )));
        for to in &self.to {
            builder = builder.to(to.clone());
        }
        let own = |name, value: &str| {
            HeaderValue::new(HeaderName::new_from_ascii_str(name), value.to_owned())
        };
        let mail = builder
            // RFC 3834: no vacation note answers.
            .raw_header(own("Auto-Submitted", "auto-generated"))
            .raw_header(own("X-Agp-Severity", message.severity.word()))
            .multipart(MultiPart::alternative_plain_html(
                text(message),
                html(message),
            ));
        let mail =
            mail.map_err(|_| Trouble::of_message("the message cannot be written as mail"))?;
        Ok(mail.formatted())
    }
}

fn mailbox(text: &str) -> Result<Mailbox, String> {
    let mailbox: Option<Mailbox> = text.parse().ok();
    let is_plain = |mailbox: &Mailbox| mailbox.email.to_string().is_ascii();
    mailbox
        .filter(is_plain)
        .ok_or_else(|| "an address in `from` or `to` is none that every server takes".into())
}

/// What happened, without what the server said.
fn in_words(error: &Error) -> Trouble {
    let source = std::error::Error::source(error);
    let io = source.and_then(|source| source.downcast_ref::<std::io::Error>());
    let secured = source.and_then(|source| source.downcast_ref::<rustls::Error>());
    if let Some(code) = error.status() {
        return Trouble::of_channel(format!("it answered {code}"));
    }
    Trouble::of_channel(match (io, secured) {
        (Some(error), _) => super::io_in_words(error),
        (None, Some(error)) => tls::in_words(error),
        (None, None) if error.is_timeout() => {
            format!("no answer within {} s", ATTEMPT_MAX.as_secs())
        }
        (None, None) if error.is_client() => "it does not offer what is needed".into(),
        (None, None) => "it does not speak SMTP as it should".into(),
    })
}

fn text(message: &Message) -> String {
    let mut out = format!("{}\n\n{}\n", message.title(), message.headline);
    for happened in &message.events {
        let _ = write!(
            out,
            "\n{} ({}):\n",
            happened.title(),
            happened.findings_total
        );
        for finding in &happened.findings {
            let _ = writeln!(out, "- {}", finding.in_words());
            if let Some(hint) = &finding.hint {
                let _ = writeln!(out, "  {hint}");
            }
        }
        let left_out = happened.left_out(usize::MAX);
        if left_out > 0 {
            let _ = writeln!(out, "and {left_out} more");
        }
    }
    out.push('\n');
    for (name, value) in message.circumstances() {
        let _ = writeln!(out, "{name}: {value}");
    }
    out
}

fn html(message: &Message) -> String {
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"></head><body>\n<h1>{}</h1>\n<p>{}</p>\n",
        html_escaped(&message.title()),
        html_escaped(&message.headline)
    );
    for happened in &message.events {
        let (title, total) = (happened.title(), happened.findings_total);
        let _ = writeln!(out, "<h2>{title} ({total})</h2>\n<ul>");
        for finding in &happened.findings {
            let _ = write!(out, "<li>{}", html_escaped(&finding.in_words()));
            if let Some(hint) = &finding.hint {
                let _ = write!(out, "<br><small>{}</small>", html_escaped(hint));
            }
            out.push_str("</li>\n");
        }
        out.push_str("</ul>\n");
        let left_out = happened.left_out(usize::MAX);
        if left_out > 0 {
            let _ = writeln!(out, "<p>and {left_out} more</p>");
        }
    }
    out.push_str("<table>\n");
    for (name, value) in message.circumstances() {
        let _ = writeln!(
            out,
            "<tr><th>{name}</th><td>{}</td></tr>",
            html_escaped(&value)
        );
    }
    out.push_str("</table>\n</body></html>\n");
    out
}
