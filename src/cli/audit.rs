//! `agp audit`: verifies, shows and exports the audit log.

use std::io;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::args::KeyArgs;
use super::failure::{Failure, Kind};
use super::spine::{Conduct, Context, Done};
use crate::audit::{self, ExpectedHead, Format, ShowRequest, VerifyRequest};
use crate::base::clock::Timestamp;
use crate::base::naming;
use crate::integrity;

/// Verify, show and export the audit log
///
/// The log is JSON Lines under the state directory. Each record holds the digest of the one before it, and
/// with a signing secret a MAC, so that what was changed later shows.
#[derive(Debug, Args)]
pub struct AuditArgs {
    /// What to do with it.
    #[command(subcommand)]
    pub action: Action,
}

/// What to do with the log.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Prove the log unchanged, record by record
    Verify(VerifyArgs),
    /// Print records as JSON Lines, the oldest first
    Show(Filter),
    /// Print records for a log collector
    Export(ExportArgs),
}

/// Flags of `agp audit verify`.
#[derive(Debug, Args)]
#[command(after_help = "Example: agp audit verify --manifest output/integrity_manifest.json")]
pub struct VerifyArgs {
    /// Fail unless the newest record is sealed with a MAC
    #[arg(long)]
    pub require_keyed: bool,
    /// Fail unless the log contains this head, as `LOG_ID:SEQUENCE:MAC`; repeatable
    #[arg(long, value_name = "HEAD", value_parser = ExpectedHead::parse)]
    pub expect_head: Vec<ExpectedHead>,
    /// Fail unless the log contains the head that this signed manifest holds; repeatable
    #[arg(long, value_name = "FILE")]
    pub manifest: Vec<PathBuf>,
    /// Where the secret comes from.
    #[command(flatten)]
    pub key: KeyArgs,
}

/// Which records.
#[derive(Debug, Args)]
pub struct Filter {
    /// Only the last so many
    #[arg(long, value_name = "N")]
    pub last: Option<usize>,
    /// Only events that begin with this, as `integrity.`
    #[arg(long, value_name = "PREFIX")]
    pub event: Option<String>,
    /// Only from this time on, as 2026-11-23T14:06:00Z
    #[arg(long, value_name = "TIME", value_parser = Timestamp::parse)]
    pub since: Option<Timestamp>,
}

/// Flags of `agp audit export`.
#[derive(Debug, Args)]
#[command(after_help = "Example: agp audit export --to ecs --since 2026-11-01T00:00:00Z")]
pub struct ExportArgs {
    /// The form that the collector reads
    #[arg(long, value_enum, value_name = "FORM")]
    pub to: Form,
    /// Which records.
    #[command(flatten)]
    pub filter: Filter,
}

/// The form of an export.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Form {
    /// Elastic Common Schema, one JSON object a line
    Ecs,
    /// RFC 5424, one message a line
    Syslog,
}

impl AuditArgs {
    /// How the spine treats it.
    pub fn conduct(&self) -> Conduct {
        let (event, reports_to_output) = match &self.action {
            Action::Verify(_) => ("audit.verify", true),
            Action::Show(_) => ("audit.show", false),
            Action::Export(_) => ("audit.export", false),
        };
        Conduct {
            name: "audit",
            event,
            changes: false,
            reports_to_output,
        }
    }

    /// The manifests whose heads it compares.
    pub fn manifests(&self) -> &[PathBuf] {
        match &self.action {
            Action::Verify(arguments) => &arguments.manifest,
            Action::Show(_) | Action::Export(_) => &[],
        }
    }

    /// The key flags, where the action has any.
    pub fn key(&self) -> Option<&KeyArgs> {
        match &self.action {
            Action::Verify(arguments) => Some(&arguments.key),
            Action::Show(_) | Action::Export(_) => None,
        }
    }

    /// Does it.
    ///
    /// # Errors
    /// A log that cannot be read, and a manifest that does not verify.
    pub fn run(&self, context: &Context<'_>) -> Result<Done, Failure> {
        let directory = context.state_dir.join("audit");
        match &self.action {
            Action::Verify(arguments) => arguments.run(context, &directory),
            Action::Show(filter) => Ok(filter.to_data(directory, None)),
            Action::Export(arguments) => {
                let format = match arguments.to {
                    Form::Ecs => Format::Ecs,
                    Form::Syslog => Format::Syslog,
                };
                Ok(arguments.filter.to_data(directory, Some(format)))
            }
        }
    }
}

impl VerifyArgs {
    fn run(&self, context: &Context<'_>, directory: &std::path::Path) -> Result<Done, Failure> {
        let keyring = context.keyring()?;
        let mut heads: Vec<_> = self
            .expect_head
            .iter()
            .map(|head| ("`--expect-head`".to_owned(), head.clone()))
            .collect();
        for manifest in &self.manifest {
            let sealed = integrity::read_authentic(manifest, keyring)
                .map_err(|finding| Failure::of(Kind::Input, finding))?;
            let origin = format!("`{}`", naming::shown(manifest));
            match &sealed.manifest.audit_head {
                Some(head) => heads.push((origin, ExpectedHead::from(head))),
                None => context.note(&format!("{origin} holds no audit head")),
            }
        }
        let request = VerifyRequest {
            directory,
            keyring,
            require_keyed: self.require_keyed,
            heads: &heads,
        };
        audit::verify(&request)
            .map(Done::Report)
            .map_err(|error| Failure::new(Kind::Input, error))
    }
}

impl Filter {
    fn to_data(&self, directory: PathBuf, format: Option<Format>) -> Done {
        let (last, event, since) = (self.last, self.event.clone(), self.since);
        Done::Data(Box::new(move |mut out| {
            let request = ShowRequest {
                directory: &directory,
                last,
                event_prefix: event.as_deref(),
                since,
            };
            let shown = match format {
                Some(format) => audit::export(&request, format, out),
                None => audit::show(&request, &mut |record| {
                    serde_json::to_writer(&mut out, record)?;
                    out.write_all(b"\n")
                }),
            };
            shown.map(|_| ()).map_err(io::Error::other)
        }))
    }
}
