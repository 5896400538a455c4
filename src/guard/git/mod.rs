//! A repository, asked through `git` itself: what is staged, what has changed, what ever was.
//!
//! The repository may be a stranger's. Only plumbing is used, and nothing that its configuration
//! names is started: no hooks, no filters, no textconv, no external diff, no file system monitor, no
//! remote. Replacements and grafts, which show another history, do not count. Must never know what
//! is looked for.

mod blobs;
mod history;
mod list;
#[cfg(test)]
mod tests;

use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

pub(super) use blobs::Blob;

pub(super) use list::{Entry, Listing, Mode};

use crate::base::relpath::RelPath;
use crate::base::units::printable;
use crate::process::{Input, Program, Running, StreamError};

/// How long git may say nothing: the history of a large repository is put in order before a word.
const SILENCE_MAX: Duration = Duration::from_secs(300);
/// The most that a short answer may be, in bytes.
const ANSWER_BYTES_MAX: u64 = 1 << 20;

/// What every call of git begins with. Later settings win over those of any file.
const ALWAYS: [&str; 13] = [
    "git",
    "--no-replace-objects",
    "--literal-pathspecs",
    "-c",
    "core.fsmonitor=false",
    "-c",
    "core.hooksPath=/dev/null",
    "-c",
    "core.untrackedCache=false",
    // A file that only speeds things up could leave commits out.
    "-c",
    "core.commitGraph=false",
    "-c",
    "protocol.allow=never",
];

/// Variables of every call.
const VARIABLES: [(&str, &str); 7] = [
    // Messages are read in one language.
    ("LC_ALL", "C"),
    ("GIT_GRAFT_FILE", "/dev/null"),
    ("GIT_NO_LAZY_FETCH", "1"),
    ("GIT_OPTIONAL_LOCKS", "0"),
    ("GIT_TERMINAL_PROMPT", "0"),
    // What settings are given that name programs.
    (EMPTY, ""),
    (FALSE, "false"),
];

const EMPTY: &str = "AGP_GIT_EMPTY";
const FALSE: &str = "AGP_GIT_FALSE";

/// Why a repository gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// There is no `git`.
    #[error("cannot start `git`")]
    Missing(#[source] io::Error),
    /// The directory is in no repository.
    #[error("this directory lies in no git repository")]
    NoRepository,
    /// There are no files beside the repository.
    #[error("the repository has no working tree")]
    Bare,
    /// A target is elsewhere.
    #[error("`{0}` lies outside of the repository")]
    Outside(String),
    /// No commit has that name.
    #[error("`{0}` names no commit of the repository")]
    Revision(String),
    /// Git says something that this program does not understand.
    #[error("git answers with something else than {0}")]
    Answer(&'static str),
    /// Git failed.
    #[error("git cannot {act}")]
    Git {
        /// What it was to do.
        act: &'static str,
        /// What it said.
        #[source]
        source: StreamError,
    },
    /// The working tree cannot be opened.
    #[error("cannot open the working tree `{}`", printable(&path.to_string_lossy()))]
    Open {
        /// Where it is.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// A repository and how to ask it.
#[derive(Debug)]
pub(super) struct Repository<'a> {
    /// Where git runs: the top of the working tree once that is known.
    directory: PathBuf,
    stop: &'a AtomicBool,
    hidden: Vec<OsString>,
    variables: Vec<(OsString, OsString)>,
    /// Settings against those of the repository.
    settings: Vec<OsString>,
    /// From the directory up to the top, `../` for each step; `None` without a working tree.
    up: Option<String>,
    /// From the top down to the directory, each name with its slash.
    prefix: String,
    /// Whether older commits were left behind when it was fetched.
    pub(super) is_shallow: bool,
}

impl<'a> Repository<'a> {
    /// The repository in which a directory lies. `hidden` are variables that git does not get to
    /// see; its work ends when `stop` is set.
    ///
    /// # Errors
    /// No git, no repository, one that git does not trust.
    pub(super) fn open(
        directory: &Path,
        hidden: &[OsString],
        stop: &'a AtomicBool,
    ) -> Result<Self, GitError> {
        let pairs = VARIABLES.iter();
        let mut repository = Self {
            directory: directory.to_owned(),
            stop,
            hidden: hidden.to_vec(),
            variables: pairs
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
            settings: Vec::new(),
            up: None,
            prefix: String::new(),
            is_shallow: false,
        };
        let act = "find the repository";
        let words = [
            "rev-parse",
            "--is-inside-work-tree",
            "--is-shallow-repository",
        ];
        let answer = repository.ask(act, &words).map_err(|error| match error {
            GitError::Git {
                source: StreamError::Failed { ref complaint, .. },
                ..
            } if complaint.contains("not a git repository") => GitError::NoRepository,
            other => other,
        })?;
        let lines: Vec<&[u8]> = answer.split(|byte| *byte == b'\n').collect();
        repository.is_shallow = lines.get(1) == Some(&&b"true"[..]);
        if lines.first() == Some(&&b"true"[..]) {
            let one = |word| {
                repository
                    .ask(act, &["rev-parse", word])
                    .map(|line| text(&line))
            };
            let (up, prefix) = (one("--show-cdup")?, one("--show-prefix")?);
            if !up.is_empty() {
                repository.directory.push(&up);
            }
            (repository.up, repository.prefix) = (Some(up), prefix);
        }
        repository.silence_filters()?;
        Ok(repository)
    }

    /// Where the working tree begins.
    ///
    /// # Errors
    /// A repository without one.
    pub(super) fn top(&self) -> Result<&Path, GitError> {
        match self.up {
            Some(_) => Ok(&self.directory),
            None => Err(GitError::Bare),
        }
    }

    /// A path of the repository as one would type it in the directory.
    pub(super) fn shown(&self, path: &RelPath) -> String {
        let path = path.to_string();
        match (path.strip_prefix(&self.prefix), &self.up) {
            (Some(below), _) => below.to_owned(),
            (None, Some(up)) => format!("{up}{path}"),
            (None, None) => path,
        }
    }

    /// The full identifier of a commit; `None` where there is none of that name.
    fn commit(&self, name: &str) -> Result<Option<String>, GitError> {
        let wanted = format!("{name}^{{commit}}");
        let words = [
            "rev-parse",
            "--verify",
            "--quiet",
            "--end-of-options",
            &wanted,
        ];
        match self.ask("look a commit up", &words) {
            Ok(line) => Ok(Some(identifier(line.trim_ascii_end())?)),
            Err(GitError::Git {
                source: StreamError::Failed { status, .. },
                ..
            }) if status.code() == Some(1) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Takes from every filter that the configuration names its programs. Where git compares a file
    /// with what it keeps, it would start them.
    fn silence_filters(&mut self) -> Result<(), GitError> {
        let words = [
            "config",
            "--name-only",
            "-z",
            "--get-regexp",
            r"^filter\..*\.(clean|smudge|process|required)$",
        ];
        let names = match self.ask("read its configuration", &words) {
            Ok(names) => names,
            // Nothing of the kind is set.
            Err(GitError::Git {
                source: StreamError::Failed { status, .. },
                ..
            }) if status.code() == Some(1) => {
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        for name in names
            .split(|byte| *byte == 0)
            .filter(|name| !name.is_empty())
        {
            let value = match name.ends_with(b".required") {
                true => FALSE,
                false => EMPTY,
            };
            // By way of a variable: a name may have an equals sign in it.
            let mut setting = OsString::from("--config-env=");
            setting.push(OsStr::from_bytes(name));
            setting.push("=");
            setting.push(value);
            self.settings.push(setting);
        }
        Ok(())
    }

    /// A short answer of git.
    fn ask(&self, act: &'static str, words: &[&str]) -> Result<Vec<u8>, GitError> {
        let mut git = self.start(act, words, Input::None)?;
        let mut answer = Vec::new();
        let read = git.by_ref().take(ANSWER_BYTES_MAX).read_to_end(&mut answer);
        read.map_err(|error| broken(act, &git, error))?;
        finish(act, &mut git)?;
        Ok(answer)
    }

    /// Starts git on something.
    fn start(
        &self,
        act: &'static str,
        words: &[&str],
        input: Input<'a, '_>,
    ) -> Result<Running<'a>, GitError> {
        let always = ALWAYS.map(OsString::from).into_iter();
        let directory = [OsString::from("-C"), self.directory.clone().into()];
        let words = words.iter().map(OsString::from);
        let settings = self.settings.iter().cloned();
        let argv: Vec<OsString> = always
            .chain(settings)
            .chain(directory)
            .chain(words)
            .collect();
        let program = Program {
            argv: &argv,
            hidden: &self.hidden,
            variables: &self.variables,
            silence_max: SILENCE_MAX,
        };
        Running::start(&program, input, self.stop).map_err(|error| match error {
            StreamError::Start { source, .. } => GitError::Missing(source),
            source => GitError::Git { act, source },
        })
    }
}

/// Reading from git went wrong.
fn broken(act: &'static str, git: &Running<'_>, error: io::Error) -> GitError {
    let source = git.trouble(error);
    GitError::Git { act, source }
}

/// Git has come to its end, and says whether all went well.
fn finish(act: &'static str, git: &mut Running<'_>) -> Result<(), GitError> {
    git.finish().map_err(|source| GitError::Git { act, source })
}

/// One line of git's as text, without its end.
fn text(line: &[u8]) -> String {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    // The one form of names that the rest of the program shows, too.
    crate::base::relpath::escape(line).0.into_owned()
}

/// The identifier of an object: 40 or 64 hex digits.
fn identifier(bytes: &[u8]) -> Result<String, GitError> {
    let is_hex = bytes.iter().all(|byte| byte.is_ascii_hexdigit());
    match std::str::from_utf8(bytes) {
        Ok(text) if is_hex && [40, 64].contains(&text.len()) => Ok(text.to_owned()),
        _ => Err(GitError::Answer("the identifier of an object")),
    }
}

/// Whether a name of a commit, as a user gives it, cannot be taken for anything else.
fn is_name(revision: &str) -> bool {
    !revision.is_empty()
        && !revision.starts_with('-')
        && !OsStr::new(revision).as_bytes().contains(&0)
}
