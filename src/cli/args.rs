//! The command line: every flag and its help text.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::{audit, guard, rollback, sign, tool, verify};

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

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Seal a tree: write a manifest of its files, signed with HMAC-SHA256
    Sign(sign::SignArgs),
    /// Prove a tree intact against its signed manifest
    Verify(verify::VerifyArgs),
    /// Find secrets, suspicious files, unauthorized operations and configuration violations
    Guard(guard::GuardArgs),
    /// Take snapshots of trees, put them back all or nothing, and undo that
    Rollback(rollback::RollbackArgs),
    /// Verify, show and export the audit log
    Audit(audit::AuditArgs),
    /// Make keys, check and show policies, print schemas, completions and man pages
    Tool(tool::ToolArgs),
}

/// Flags of every command.
#[derive(Clone, Debug, Default, Args)]
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
    #[arg(long, global = true, help_heading = "Global options")]
    pub json: bool,
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
}

/// What stdout carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A summary for people
    Text,
    /// The report as one JSON document
    Json,
    /// A page, where the command has one
    Markdown,
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
#[derive(Clone, Debug, Default, Args)]
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

    /// Whether stdout is to carry a page.
    pub fn wants_markdown(&self) -> bool {
        self.format == Some(Format::Markdown)
    }

    /// Whether `--output` means stdout.
    pub fn output_is_stdout(&self) -> bool {
        self.output
            .as_deref()
            .is_some_and(|path| path.as_os_str() == "-")
    }
}
