//! `agp tool`: keys, policies, schemas, completions, man pages and references. Governs nothing,
//! so it neither needs a policy nor leaves a record; but for the merge, which becomes another command.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use zeroize::Zeroizing;

use super::answer::no_report;
use super::args::{Global, KeyArgs};
use super::failure::{Failure, Kind};
use super::merge::MergeArgs;
use super::spine::{Done, key_failure, policy_failure};
use super::{env, keys, notify, reference};
use crate::base::files;
use crate::pipeline::{self, Work, WorkRequest};
use crate::policy::{self, LoadRequest, Loaded};
use crate::process::{self, Confine, Enclosure};
use crate::seal::Secret;

/// Make keys, check and show policies, merge parts, print schemas, completions and man pages
#[derive(Debug, Args)]
pub struct ToolArgs {
    /// Which tool.
    #[command(subcommand)]
    pub tool: Tool,
}

/// The tools.
#[derive(Debug, Subcommand)]
pub enum Tool {
    /// Make a signing secret, or show which keys are at hand
    Keys {
        /// What to do.
        #[command(subcommand)]
        action: KeysAction,
    },
    /// Check, show or start a policy file
    Policy {
        /// What to do.
        #[command(subcommand)]
        action: PolicyAction,
    },
    /// Send a message that says it is a test to every channel of the policy's alerts
    NotifyTest,
    /// Make one manifest or report of the parts that shards of `sign`, `verify` or `guard` wrote
    Merge(Box<MergeArgs>),
    /// Print a JSON Schema
    Schema {
        /// Of what
        #[arg(value_enum)]
        of: reference::Schema,
    },
    /// Print a completion script
    Completions {
        /// For which shell
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// Print a man page
    Man {
        /// Of which command, as `sign` or `audit verify` [default: agp itself]
        command: Vec<String>,
    },
    /// Print a page of the reference, in Markdown
    Reference {
        /// Which page
        #[arg(value_enum)]
        page: Page,
    },
    /// Enter a control group or a confinement, or both, and become a command
    ///
    /// How `agp profile` gets a command into its group before its first instruction.
    #[command(hide = true)]
    Enter {
        /// The group's folder
        #[arg(long)]
        group: Option<PathBuf>,
        /// Write in this directory only where `--writable` says
        #[arg(long)]
        within: Option<PathBuf>,
        /// Write here all the same
        #[arg(long, requires = "within")]
        writable: Vec<PathBuf>,
        /// The command and its arguments
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
    /// Do one stage of this program's own work on targets, for `agp profile` to measure
    #[command(hide = true)]
    Work {
        /// Which stage
        #[arg(value_parser = parse_work)]
        work: Work,
        /// Where stages leave what later ones need
        #[arg(long)]
        scratch: PathBuf,
        /// The trees
        #[arg(required = true)]
        targets: Vec<PathBuf>,
    },
}

/// Becomes the command; comes back with why that was not possible.
fn not_entered(enclosure: &Enclosure<'_>, command: &[OsString]) -> Failure {
    let (_, error) = process::enter(enclosure, command);
    let program = command
        .first()
        .map(|name| name.to_string_lossy().into_owned());
    let text = format!("cannot become `{}`", program.unwrap_or_default());
    Failure::new(Kind::Input, anyhow::Error::new(error).context(text))
}

fn parse_work(text: &str) -> Result<Work, String> {
    Work::named(text).ok_or_else(|| format!("no stage `{text}`"))
}

/// What to do with keys.
#[derive(Debug, Subcommand)]
pub enum KeysAction {
    /// Print a new random secret of 32 bytes, or write it to a new file with `--output`
    Generate,
    /// Print the identifier, status and origin of every key at hand
    Show(KeyArgs),
}

/// What to do with policies.
#[derive(Debug, Subcommand)]
pub enum PolicyAction {
    /// Say whether the policy file is valid, with every problem and its place
    Check,
    /// Print the policy that counts, with every default filled in
    Show,
    /// Print a policy file with every key at its default
    Init,
}

/// Pages of the reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Page {
    /// Every command and flag
    Cli,
    /// Every policy key
    Policy,
    /// Every exit code
    ExitCodes,
    /// Every finding code
    Findings,
    /// Every environment variable
    Environment,
}

impl ToolArgs {
    /// Does it.
    ///
    /// # Errors
    /// A policy that is not valid, keys that cannot be had, a file that must not be overwritten.
    pub fn run(&self, global: &Global) -> Result<Done, Failure> {
        if global.wants_json() {
            let text = "`agp tool` prints what it makes, not a report";
            return Err(Failure::because(Kind::Usage, text).with_hint("leave `--json` out"));
        }
        if global.wants_report() {
            return Err(no_report());
        }
        match &self.tool {
            Tool::Keys {
                action: KeysAction::Generate,
            } => generate(global),
            Tool::Keys {
                action: KeysAction::Show(flags),
            } => show_keys(global, flags),
            Tool::Policy { action } => run_policy(global, action),
            Tool::NotifyTest => notify::test(&load(global)?),
            // Has become the command of its parts before.
            Tool::Merge(merge) => merge.command().and_then(|_| Err(no_report())),
            Tool::Schema { of } => Ok(json(&of.schema())),
            Tool::Completions { shell } => {
                let shell = *shell;
                Ok(Done::Data(Box::new(move |out| {
                    let mut script = Vec::new();
                    clap_complete::generate(shell, &mut super::command(), "agp", &mut script);
                    out.write_all(&script)
                })))
            }
            Tool::Man { command } => man(command),
            Tool::Enter {
                group,
                within,
                writable,
                command,
            } => {
                let enclosure = Enclosure {
                    group: group.as_deref(),
                    confine: within.as_deref().map(|within| Confine { within, writable }),
                };
                Err(not_entered(&enclosure, command))
            }
            Tool::Work {
                work,
                scratch,
                targets,
            } => {
                let policy = &load(global)?.policy;
                let request = WorkRequest {
                    policy,
                    scratch,
                    targets,
                };
                match pipeline::work(*work, &request) {
                    Ok(()) => Ok(Done::Told(String::new())),
                    Err(error) => Err(Failure::new(Kind::Input, error)),
                }
            }
            Tool::Reference { page } => Ok(text(match page {
                Page::Cli => reference::command_line(),
                Page::Policy => policy::reference(),
                Page::ExitCodes => reference::exit_codes(),
                Page::Findings => reference::findings(),
                Page::Environment => reference::environment(),
            })),
        }
    }
}

fn text(text: String) -> Done {
    Done::Data(Box::new(move |out| out.write_all(text.as_bytes())))
}

fn json(value: &impl serde::Serialize) -> Done {
    let rendered = serde_json::to_string_pretty(value).map(|text| text + "\n");
    Done::Data(Box::new(move |out| out.write_all(rendered?.as_bytes())))
}

/// A new secret: on stdout, or in a file that did not exist and that only its owner may read.
fn generate(global: &Global) -> Result<Done, Failure> {
    let mut bytes = Zeroizing::new([0u8; 32]);
    getrandom::fill(&mut *bytes)
        .map_err(|error| Failure::new(Kind::Input, io::Error::other(error)))?;
    let line = Zeroizing::new(format!("hex:{}\n", hex::encode(*bytes)));
    let Some(path) = global
        .output
        .as_deref()
        .filter(|_| !global.output_is_stdout())
    else {
        return Ok(Done::Data(Box::new(move |out| {
            out.write_all(line.as_bytes())
        })));
    };
    files::create_new(path, 0o600, line.as_bytes()).map_err(|error| {
        let is_taken = error.source.kind() == io::ErrorKind::AlreadyExists;
        let failure = Failure::new(Kind::Output, error);
        match is_taken {
            true => failure.with_hint("a key file is never overwritten; name a new one"),
            false => failure,
        }
    })?;
    let secret =
        Secret::decode(line.as_bytes(), 32).map_err(|error| Failure::new(Kind::Key, error))?;
    Ok(Done::Told(format!("key {}", secret.key_id())))
}

fn show_keys(global: &Global, flags: &KeyArgs) -> Result<Done, Failure> {
    let loaded = load(global)?;
    let keyring = keys::keyring(flags, &loaded.policy).map_err(key_failure)?;
    if keyring.is_empty() {
        return Err(key_failure(crate::seal::KeyError::Missing));
    }
    let mut lines = String::new();
    for key in keyring.iter() {
        let status = match key.status {
            crate::seal::Status::Active => "active",
            crate::seal::Status::VerifyOnly => "verify_only",
            crate::seal::Status::Revoked => "revoked",
        };
        lines.push_str(&format!("{} {status} {}\n", key.id, key.origin));
    }
    Ok(text(lines))
}

fn load(global: &Global) -> Result<Loaded, Failure> {
    let from_environment = env::config();
    let named: Option<PathBuf> = global.config.clone().or(from_environment);
    policy::load(&LoadRequest {
        named: named.as_deref(),
    })
    .map_err(policy_failure)
}

fn run_policy(global: &Global, action: &PolicyAction) -> Result<Done, Failure> {
    match action {
        PolicyAction::Init => Ok(text(policy::starter())),
        PolicyAction::Show => Ok(json(&load(global)?.policy)),
        PolicyAction::Check => {
            let loaded = load(global)?;
            let mut lines = format!("valid: {}\n", loaded.source);
            for warning in &loaded.warnings {
                let place = format!("{}:{}:{}", loaded.source, warning.line, warning.column);
                lines.push_str(&format!("{place}: warning: {}\n", warning.message));
            }
            Ok(text(lines))
        }
    }
}

fn man(words: &[String]) -> Result<Done, Failure> {
    let mut command = super::command();
    command.build();
    let mut name = "agp".to_owned();
    for word in words {
        let Some(inner) = command.find_subcommand(word) else {
            return Err(Failure::because(
                Kind::Usage,
                format!("there is no command `{name} {word}`"),
            ));
        };
        name = format!("{name}-{word}");
        command = inner.clone();
    }
    let manual = clap_mangen::Man::new(command);
    Ok(Done::Data(Box::new(move |mut out| manual.render(&mut out))))
}
