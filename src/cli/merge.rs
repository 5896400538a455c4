//! `agp tool merge`: parts made one answer. It becomes the command whose shards wrote them, with the parts in the
//! place of the work, and goes the way of that command: audited, judged and reported as if it had done all.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::args::{Cli, Command, KeyArgs};
use super::failure::{Failure, Kind};
use super::share::{Merge, ShareArgs};
use crate::base::naming::shown;
use crate::part::{self, Verb};
use crate::report::{Finding, codes};

/// Make one manifest or report of the parts that shards of `sign`, `verify` or `guard` wrote
///
/// Every shard has to be there exactly once, with the same policy, flags and program. The answer, the report in
/// every format and the exit code are those of the command over everything; a manifest is signed once, here.
#[derive(Debug, Args)]
#[command(
    after_help = "Example: agp tool merge parts/*.jsonl --part-key-file part.key --key-file release.key --output output/integrity_manifest.json"
)]
pub struct MergeArgs {
    /// The parts, one of every shard, in any order
    #[arg(required = true, value_name = "PART")]
    pub parts: Vec<PathBuf>,
    /// Check the seals of the parts with the key in this file [default: the variable AGP_PART_KEY]
    #[arg(long, value_name = "FILE")]
    pub part_key_file: Option<PathBuf>,
    /// Believe parts without a key; the audit record that a signed manifest names says so
    #[arg(long, conflicts_with = "part_key_file")]
    pub trust_parts: bool,
    /// Where the signing secret comes from.
    #[command(flatten)]
    pub key: KeyArgs,
    /// The command that the shards ran, without `agp`, `--shard` and the flags of every command: then what the
    /// parts say of it need not be believed
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

impl MergeArgs {
    /// The command that answers.
    ///
    /// # Errors
    /// No part to learn the command from, or words that are no such command.
    pub(super) fn command(&self) -> Result<Command, Failure> {
        let command = match self.command.is_empty() {
            true => self.of_parts()?,
            false => self.restated()?,
        };
        let share = ShareArgs {
            shard: None,
            part_key_file: self.part_key_file.clone(),
            merge: Some(Merge {
                parts: self.parts.clone(),
                trusts: self.trust_parts,
                is_restated: !self.command.is_empty(),
            }),
        };
        let key = self.key.clone();
        match command {
            Command::Sign(arguments) => Ok(Command::Sign(super::sign::SignArgs {
                share,
                key,
                ..arguments
            })),
            Command::Verify(arguments) => Ok(Command::Verify(super::verify::VerifyArgs {
                share,
                key,
                ..arguments
            })),
            Command::Guard(arguments) => Ok(Command::Guard(super::guard::GuardArgs {
                share,
                key,
                ..arguments
            })),
            _ => Err(not_shared()),
        }
    }

    /// The command that the first part speaks of. Nothing is proven yet: before anything is done by it, every part
    /// is checked.
    fn of_parts(&self) -> Result<Command, Failure> {
        let Some(first) = self.parts.first() else {
            return Err(Failure::because(Kind::Usage, "there is no part"));
        };
        let refused = |text: String| {
            let finding = Finding::new(&codes::PART_REFUSED, text).at(shown(first));
            Failure::of(Kind::Input, finding)
        };
        let head = part::head(first).map_err(|error| refused(error.to_string()))?;
        let command = match head.verb {
            Verb::Sign => flags(head.asked).map(Command::Sign),
            Verb::Verify => flags(head.asked).map(Command::Verify),
            Verb::Guard => flags(head.asked).map(Command::Guard),
        };
        command.map_err(|error| refused(format!("its flags cannot be read: {error}")))
    }

    /// The command in the caller's own words.
    fn restated(&self) -> Result<Command, Failure> {
        let words = [OsString::from("agp")]
            .into_iter()
            .chain(self.command.iter().cloned());
        let cli = Cli::try_parse_from(words).map_err(|error| {
            let text = error.to_string();
            let text = text.strip_prefix("error: ").unwrap_or(&text);
            let line = text.lines().next().unwrap_or_default();
            Failure::because(Kind::Usage, format!("behind `--`: {line}"))
        })?;
        let (share, key) = match &cli.command {
            Command::Sign(arguments) => (&arguments.share, &arguments.key),
            Command::Verify(arguments) => (&arguments.share, &arguments.key),
            Command::Guard(arguments) => (&arguments.share, &arguments.key),
            _ => return Err(not_shared()),
        };
        let is_plain = cli.global == super::args::Global::default()
            && share.shard.is_none()
            && *key == KeyArgs::default();
        match is_plain {
            true => Ok(cli.command),
            false => {
                let text = "behind `--` stands what the shards were asked for, and nothing else";
                let hint = "keys and the flags of every command go before it; leave `--shard` out";
                Err(Failure::because(Kind::Usage, text).with_hint(hint))
            }
        }
    }
}

fn flags<T: DeserializeOwned>(asked: Map<String, Value>) -> serde_json::Result<T> {
    serde_json::from_value(Value::Object(asked))
}

fn not_shared() -> Failure {
    let text = "behind `--` stands `sign`, `verify` or `guard`: nothing else is shared out";
    Failure::because(Kind::Usage, text)
}
