//! The command line: every flag and its help text.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};

use super::{audit, budget, guard, profile, rollback, run, sign, tool, verify};
use crate::base::{files, naming};
use crate::export;

/// Govern a tree of assets: seal it, prove it intact, and know what happened to it
#[derive(Debug, Parser)]
#[command(name = "agp", version, max_term_width = 100)]
#[command(
    after_help = "Exit codes: 0 good, 1 no, 2 could not answer, 18 performance regression, 19 policy violation."
)]
pub struct Cli {
    /// Flags of every command.
    #[command(flatten)]
    pub global: Global,
    /// The verb.
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// Whether the report would go where something stands that the command reads, or keeps.
    pub fn replaces_what_it_reads(&self) -> bool {
        self.global.files().any(|output| self.is_read(output))
    }

    /// Whether parts of others are believed without a key.
    pub fn trusts_parts(&self) -> bool {
        match &self.command {
            Command::Sign(sign) => sign.share.trusts(),
            Command::Verify(verify) => verify.share.trusts(),
            Command::Guard(guard) => guard.share.trusts(),
            _ => false,
        }
    }

    fn is_read(&self, output: &Path) -> bool {
        let mut read: Vec<&PathBuf> = self.global.config.iter().collect();
        match &self.command {
            Command::Verify(verify) => {
                let is_found = |directory| {
                    output
                        .file_name()
                        .is_some_and(|name| name == sign::MANIFEST_NAME)
                        && naming::path_within(directory, output).is_some()
                };
                if verify.all.as_deref().is_some_and(is_found) {
                    return true;
                }
                read.extend(verify.manifest.iter().chain(&verify.state));
                read.extend(verify.key.key_file.iter().chain(verify.share.parts()));
            }
            Command::Audit(audit) => {
                read.extend(audit.manifests());
                read.extend(audit.key().and_then(|key| key.key_file.as_ref()));
            }
            Command::Guard(guard) => {
                read.extend(guard.rules.iter().chain(&guard.baseline));
                read.extend(guard.operations_log.iter().chain(&guard.key.key_file));
                read.extend(guard.share.parts());
            }
            Command::Rollback(rollback) => read.extend(rollback.reads()),
            Command::Profile(profile) => read.extend(&profile.secret.key_file),
            Command::Run(run) => read.extend(&run.key.key_file),
            // It replaces nothing but manifests; parts are read besides.
            Command::Sign(sign) => read = sign.share.parts().iter().collect(),
            // What a tool prints is not a report.
            Command::Tool(_) => return false,
            Command::Budget(_) => {}
        }
        let output = place(output);
        output.is_some() && read.into_iter().any(|read| place(read) == output)
    }
}

/// Where a file is, or would be, links followed.
fn place(path: &Path) -> Option<PathBuf> {
    let there = path.canonicalize().ok();
    there.or_else(|| {
        Some(
            files::parent_of(path)
                .canonicalize()
                .ok()?
                .join(path.file_name()?),
        )
    })
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Take trees through a pipeline: better and sealed, or exactly as they were
    Run(run::RunArgs),
    /// Seal a tree: write a manifest of its files, signed with HMAC-SHA256
    Sign(sign::SignArgs),
    /// Prove a tree intact against its signed manifest
    Verify(verify::VerifyArgs),
    /// Find secrets, suspicious files, unauthorized operations and configuration violations
    Guard(guard::GuardArgs),
    /// Take snapshots of trees, put them back all or nothing, and undo that
    Rollback(rollback::RollbackArgs),
    /// Say how long work may take, from what such work took before
    Budget(budget::BudgetArgs),
    /// Run stages, measure what they take, and find what holds them up
    Profile(profile::ProfileArgs),
    /// Verify, show and export the audit log
    Audit(audit::AuditArgs),
    /// Make keys, check and show policies, merge parts, print schemas, completions and man pages
    Tool(tool::ToolArgs),
}

/// Flags of every command.
#[derive(Clone, Debug, Default, PartialEq, Args)]
pub struct Global {
    /// Use this policy file [default: config/assets_quality_policy.json, if it is there]
    #[arg(
        short = 'c',
        long,
        global = true,
        value_name = "FILE",
        help_heading = "Global options"
    )]
    pub config: Option<PathBuf>,
    /// Write the command's JSON artifact to this file, `-` for stdout
    #[arg(
        short = 'o',
        long,
        global = true,
        value_name = "FILE",
        help_heading = "Global options"
    )]
    pub output: Option<PathBuf>,
    /// Choose what stdout carries
    #[arg(
        long,
        global = true,
        value_enum,
        value_name = "FORMAT",
        help_heading = "Global options"
    )]
    pub format: Option<Format>,
    /// Put the report on stdout as JSON (the same as `--format json`)
    #[arg(
        long,
        global = true,
        conflicts_with = "format",
        help_heading = "Global options"
    )]
    pub json: bool,
    /// Write the report in this format to this file, `-` for stdout; repeatable. Formats: json,
    /// sarif, junit, csv, markdown, github, gitlab, html, trace, prometheus
    #[arg(
        long,
        global = true,
        value_name = "FORMAT=FILE",
        value_parser = OsStringValueParser::new().try_map(|text| ReportTo::parse(&text)),
        help_heading = "Global options"
    )]
    pub report: Vec<ReportTo>,
    /// Leave the run's metrics in this file in Prometheus' text format, beside those of other commands
    #[arg(
        long,
        global = true,
        value_name = "FILE.prom",
        value_parser = OsStringValueParser::new().try_map(metrics_file),
        help_heading = "Global options"
    )]
    pub metrics_file: Option<PathBuf>,
    /// Choose what stderr carries: text for people, or one JSON object a line for collectors of logs
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t,
        value_name = "FORMAT",
        help_heading = "Global options"
    )]
    pub log_format: LogFormat,
    /// Say more; twice for everything
    #[arg(short = 'v', long, global = true, action = clap::ArgAction::Count, help_heading = "Global options")]
    pub verbose: u8,
    /// Say nothing but errors
    #[arg(
        short = 'q',
        long,
        global = true,
        conflicts_with = "verbose",
        help_heading = "Global options"
    )]
    pub quiet: bool,
    /// Colour the text for people
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t,
        value_name = "WHEN",
        help_heading = "Global options"
    )]
    pub color: Color,
    /// Keep the audit log and caches in this directory [default: .agp]
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        help_heading = "Global options"
    )]
    pub state_dir: Option<PathBuf>,
    /// Fail (exit code 2, unless the answer is 19) where an alert of this run is not delivered
    #[arg(long, global = true, help_heading = "Global options")]
    pub require_notify: bool,
}

/// Refuses what is no file that others can collect.
fn metrics_file(text: OsString) -> Result<PathBuf, &'static str> {
    match text.as_bytes() {
        b"" => Err("no file"),
        b"-" => {
            Err("`-` is no file; `--report prometheus=-` puts the metrics of this run on stdout")
        }
        _ => Ok(text.into()),
    }
}

/// A report in one more format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportTo {
    /// Which format.
    pub format: export::Format,
    /// Where it goes; `-` is stdout.
    pub file: PathBuf,
}

impl ReportTo {
    /// Reads `FORMAT=FILE`.
    ///
    /// # Errors
    /// No `=`, no such format, no file.
    pub fn parse(text: &OsStr) -> Result<Self, String> {
        let bytes = text.as_bytes();
        let Some(at) = bytes.iter().position(|byte| *byte == b'=') else {
            return Err("expected FORMAT=FILE, as `sarif=agp.sarif`".into());
        };
        let (name, file) = (String::from_utf8_lossy(&bytes[..at]), &bytes[at + 1..]);
        let Some(format) = export::Format::named(&name) else {
            let known = export::Format::ALL.map(export::Format::name).join(", ");
            return Err(format!("no format `{name}`; there are {known}"));
        };
        match file.is_empty() {
            true => Err(format!("no file behind `{name}=`; `-` is stdout")),
            false => Ok(Self {
                format,
                file: OsStr::from_bytes(file).into(),
            }),
        }
    }

    /// Whether it goes to stdout.
    pub fn is_stdout(&self) -> bool {
        self.file.as_os_str() == "-"
    }
}

/// What stdout carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A summary for people
    Text,
    /// The report as one JSON document
    Json,
    /// The report as a page in Markdown
    Markdown,
}

/// What stderr carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Text for people
    #[default]
    Text,
    /// One JSON object a line
    Json,
}

/// When to colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless `NO_COLOR` is set
    #[default]
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// Where the signing secret comes from. There is no flag that takes the secret itself.
#[derive(Clone, Debug, Default, PartialEq, Args)]
#[group(multiple = false)]
pub struct KeyArgs {
    /// Read the signing secret from this file, which only its owner may read
    #[arg(long, value_name = "FILE", help_heading = "Signing secret")]
    pub key_file: Option<PathBuf>,
    /// Ask this command for the signing secret (words, no shell; it has 10 seconds)
    #[arg(long, value_name = "CMD", help_heading = "Signing secret")]
    pub key_command: Option<String>,
    /// Read the signing secret from stdin
    #[arg(long, help_heading = "Signing secret")]
    pub key_stdin: bool,
}

impl Global {
    /// Whether stdout is to carry the report as JSON.
    pub fn wants_json(&self) -> bool {
        self.json || self.format == Some(Format::Json)
    }

    /// The files that `--output`, `--report` and `--metrics-file` name.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let output = self.output.as_deref();
        let output = output.filter(|_| !self.output_is_stdout());
        output.into_iter().chain(self.files_beside())
    }

    /// The same without `--output`.
    pub fn files_beside(&self) -> impl Iterator<Item = &Path> {
        let reports = self.report.iter().filter(|wanted| !wanted.is_stdout());
        let reports = reports.map(|wanted| wanted.file.as_path());
        reports.chain(self.metrics_file.as_deref())
    }

    /// The formats in which stdout is to carry the report in place of text for people.
    pub fn stdout_formats(&self) -> impl Iterator<Item = export::Format> {
        let chosen = match self.format {
            Some(Format::Markdown) => Some(export::Format::Markdown),
            _ => self.wants_json().then_some(export::Format::Json),
        };
        let reports = self.report.iter().filter(|wanted| wanted.is_stdout());
        chosen
            .into_iter()
            .chain(reports.map(|wanted| wanted.format))
    }

    /// Whether the report is asked for in a format that not every command can answer with.
    pub fn wants_report(&self) -> bool {
        self.format == Some(Format::Markdown)
            || !self.report.is_empty()
            || self.metrics_file.is_some()
    }

    /// Whether `--output` means stdout.
    pub fn output_is_stdout(&self) -> bool {
        self.output
            .as_deref()
            .is_some_and(|path| path.as_os_str() == "-")
    }
}
