//! Floor 4, the shell: alone knows clap, the terminal, the environment and exit codes.
//!
//! A command line becomes one verb's report and one exit code here; [`spine`] is the way between.

mod answer;
pub mod args;
pub mod audit;
pub mod budget;
mod budget_text;
mod deliver;
pub mod env;
pub mod exit;
pub mod failure;
pub mod guard;
pub mod guard_report;
mod kept;
mod keys;
mod log;
pub mod measure;
mod merge;
mod notify;
pub mod past;
pub mod profile;
mod publish;
mod record;
pub mod reference;
mod render;
pub mod rollback;
pub mod rules;
pub mod run;
mod scan;
mod share;
pub mod sign;
mod spine;
pub mod tool;
pub mod verify;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, ValueEnum};

use args::{Cli, Global, ReportTo};
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
    let action = matches.subcommand_name();
    let reports = match &*verb {
        "run" | "budget" | "profile" | "sign" | "verify" | "guard" | "rollback" => true,
        "audit" => action == Some("verify"),
        _ => false,
    };
    // Elsewhere it receives a manifest, or without an action the playbook.
    let reports_to_output = reports && verb != "sign" && (verb != "rollback" || action.is_some());
    let mut global = Global::from_arg_matches(&matches).unwrap_or_default();
    // The parser stops at what it does not know, so what stands behind that is looked for here.
    global.json |= arguments.iter().any(|word| word == "--json");
    let format = values_of(arguments, &["--format"]).into_iter().next();
    if let Some(format) = format.as_ref().and_then(|format| format.to_str()) {
        global.format = args::Format::from_str(format, false).ok();
    }
    // What is not an answer of this verb must not be replaced by a report, and what is named twice is
    // more than the report's place.
    let is_place = |file: &PathBuf| !file.as_os_str().is_empty() && is_named_once(arguments, file);
    let output = values_of(arguments, &["--output", "-o"]).into_iter().next();
    global.output = output
        .map(PathBuf::from)
        .filter(|output| reports_to_output && is_place(output));
    let wanted = values_of(arguments, &["--report"]).into_iter();
    global.report = wanted
        .filter_map(|value| ReportTo::parse(&value).ok())
        .filter(|wanted| reports && is_place(&wanted.file))
        .collect();
    let metrics = values_of(arguments, &["--metrics-file"]).into_iter().next();
    global.metrics_file = metrics
        .map(PathBuf::from)
        .filter(|file| reports && is_place(file));
    let log = values_of(arguments, &["--log-format"]).into_iter().next();
    if let Some(log) = log.as_ref().and_then(|log| log.to_str()) {
        global.log_format = args::LogFormat::from_str(log, false).unwrap_or_default();
    }
    (verb, global)
}

/// Whether no other word of the command line leads to this file. One that is not there is nobody's.
fn is_named_once(arguments: &[OsString], file: &Path) -> bool {
    let Ok(real) = file.canonicalize() else {
        return true;
    };
    let leads_there = |word: &&OsString| {
        // `FILE`, `--flag=FILE`, `--report=FORMAT=FILE`, `-fFILE`.
        let bytes = word.as_bytes();
        let equals = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'=');
        let starts = equals.map(|(at, _)| at + 1).chain([0, bytes.len().min(2)]);
        let mut names = starts.map(|start| Path::new(OsStr::from_bytes(&bytes[start..])));
        names.any(|name| name.canonicalize().is_ok_and(|name| name == real))
    };
    arguments.iter().filter(leads_there).count() < 2
}

/// All values of a flag, wherever it stands: `--flag VALUE`, `--flag=VALUE`, `-fVALUE`.
fn values_of(arguments: &[OsString], spellings: &[&str]) -> Vec<OsString> {
    let value = |(at, word): (usize, &OsString)| {
        let follows = |flag: &&str| word.as_bytes().strip_prefix(flag.as_bytes());
        let rest = spellings.iter().find_map(follows)?;
        let is_short = !word.as_bytes().starts_with(b"--");
        match rest.strip_prefix(b"=").unwrap_or(rest) {
            [] => arguments.get(at + 1).cloned(),
            value if is_short || rest.starts_with(b"=") => Some(OsString::from_vec(value.to_vec())),
            _ => None,
        }
    };
    arguments.iter().enumerate().filter_map(value).collect()
}

/// The command line as a value, for completions, man pages and the reference.
pub fn command() -> clap::Command {
    Cli::command()
}
