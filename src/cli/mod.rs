//! Floor 4, the shell: alone knows clap, the terminal, the environment and exit codes.
//!
//! A command line becomes one verb's report and one exit code here; [`spine`] is the way between.

pub mod args;
pub mod audit;
pub mod env;
pub mod exit;
pub mod failure;
mod keys;
mod record;
pub mod reference;
mod render;
pub mod sign;
mod spine;
pub mod tool;
pub mod verify;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser};

use args::{Cli, Global};
use render::Printer;

/// Runs a command line, from its arguments to its exit code.
pub fn main() -> ExitCode {
    let arguments = env::arguments();
    ExitCode::from(match Cli::try_parse_from(&arguments) {
        Ok(cli) => spine::run(&cli),
        Err(error) => without_command(&error, &arguments),
    })
}

/// Help and version are data on stdout. Anything else is a usage error, told where the caller
/// asked for reports, as far as that can be made out, so that nobody reads yesterday's answer.
fn without_command(error: &clap::Error, arguments: &[OsString]) -> u8 {
    let printer = Printer::new(&Global::default());
    if !error.use_stderr() {
        let text = error.render();
        let written = printer.text(&text.ansi().to_string());
        return written.map_or(2, |()| 0);
    }
    let (verb, global) = guess(arguments);
    let message = error.render().to_string();
    spine::refuse(&global, &verb, message.trim_end())
}

/// The verb and the global flags of a command line that does not parse.
fn guess(arguments: &[OsString]) -> (String, Global) {
    let lenient = Cli::command()
        .ignore_errors(true)
        .try_get_matches_from(arguments);
    let Ok(matches) = lenient else {
        return (String::new(), Global::default());
    };
    let (verb, matches) = match matches.subcommand() {
        Some((verb, inner)) => (verb.to_owned(), inner.clone()),
        None => (String::new(), matches),
    };
    let mut global = Global::from_arg_matches(&matches).unwrap_or_default();
    // What is not an answer of this verb must not be replaced by a report.
    if verb != "verify" {
        global.output = None::<PathBuf>;
    }
    (verb, global)
}

/// The command line as a value, for completions, man pages and the reference.
pub fn command() -> clap::Command {
    Cli::command()
}
