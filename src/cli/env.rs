//! Every environment variable that `agp` reads, named and explained once, and the command line.
//!
//! The only module that looks at what surrounds the process, except for what the terminal libraries read of
//! `NO_COLOR`, `CLICOLOR`, `CLICOLOR_FORCE`, `COLUMNS` and `TERM`.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::base::clock::Timestamp;

/// A variable and what it does.
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// What it does, one sentence without a final stop.
    pub meaning: &'static str,
}

/// The signing secret, by the guide's name.
pub const SIGN_SECRET: Variable = Variable {
    name: "POCKETMON_SIGN_SECRET",
    meaning: "The signing secret, where neither a flag nor the policy's keyring gives one",
};
/// The policy file.
const CONFIG: Variable = Variable {
    name: "AGP_CONFIG",
    meaning: "The policy file, as if named with `--config`",
};
/// The state directory.
const STATE_DIR: Variable = Variable {
    name: "AGP_STATE_DIR",
    meaning: "The state directory, as if named with `--state-dir`",
};
/// Reproducible manifests.
const SOURCE_DATE_EPOCH: Variable = Variable {
    name: "SOURCE_DATE_EPOCH",
    meaning: "Unix seconds that `agp sign` writes in place of the present, so that equal trees give equal manifests",
};
/// Who is at work, for the audit log.
const USER: Variable = Variable {
    name: "USER",
    meaning: "Who is at work, for the audit log (`LOGNAME` where it is not set)",
};
/// Which continuous integration is at work, for the audit log.
const CI: Variable = Variable {
    name: "CI",
    meaning: "Whether a continuous integration is at work, for the audit log; with it the run's number, actor and ref from `GITHUB_RUN_ID`, `GITHUB_ACTOR`, `GITHUB_REF`, `CI_JOB_ID`, `GITLAB_USER_LOGIN`, `CI_COMMIT_REF_NAME`",
};

/// Where a step of GitHub Actions is summed up.
const STEP_SUMMARY: Variable = Variable {
    name: "GITHUB_STEP_SUMMARY",
    meaning: "A file to which every report is appended in Markdown, as GitHub Actions sets it for a step",
};

/// Whether stages are confined.
const CONFINE: Variable = Variable {
    name: "AGP_CONFINE",
    meaning: "`off`: `agp run` never asks the kernel to keep stages from writing where they may not, and only looks at what they changed",
};

/// Every variable, for the documentation.
pub const ALL: [&Variable; 8] = [
    &SIGN_SECRET,
    &CONFIG,
    &STATE_DIR,
    &SOURCE_DATE_EPOCH,
    &USER,
    &CI,
    &STEP_SUMMARY,
    &CONFINE,
];

/// Whether stages may be confined.
pub fn may_confine() -> bool {
    lookup(CONFINE.name).is_none_or(|value| value != "off")
}

/// The command line, the program's name first.
pub fn arguments() -> Vec<OsString> {
    std::env::args_os().collect()
}

/// The value of a variable that a policy or this module names; `None` where it is not set.
pub fn lookup(name: &str) -> Option<OsString> {
    // A name with `=` or NUL cannot be set, and asking for it would panic.
    if name.is_empty() || name.contains(['=', '\0']) {
        return None;
    }
    std::env::var_os(name)
}

fn text(name: &str) -> Option<String> {
    lookup(name)
        .map(|value| value.to_string_lossy().into_owned())
        .filter(|value| !value.is_empty())
}

fn path(variable: &Variable) -> Option<PathBuf> {
    lookup(variable.name)
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
}

/// The policy file that the environment names.
pub fn config() -> Option<PathBuf> {
    path(&CONFIG)
}

/// The state directory that the environment names.
pub fn state_dir() -> Option<PathBuf> {
    path(&STATE_DIR)
}

/// The summary of a step that the environment names.
pub fn step_summary() -> Option<PathBuf> {
    path(&STEP_SUMMARY)
}

/// The working directory, where paths of findings start; `/` where it cannot be told.
pub fn directory() -> String {
    let directory = std::env::current_dir().unwrap_or_else(|_| "/".into());
    directory.to_string_lossy().into_owned()
}

/// `SOURCE_DATE_EPOCH`.
///
/// # Errors
/// A value that is not a number of seconds from 0 to the end of the year 9999: silently ignoring
/// or bounding it would give manifests that are not reproducible.
pub fn source_date_epoch() -> Result<Option<Timestamp>, String> {
    let Some(value) = text(SOURCE_DATE_EPOCH.name) else {
        return Ok(None);
    };
    let digits = Some(&value).filter(|value| value.bytes().all(|byte| byte.is_ascii_digit()));
    let seconds = digits.and_then(|digits| digits.parse::<i64>().ok());
    seconds
        .map(|seconds| (seconds, Timestamp::from_unix_seconds(seconds)))
        .filter(|(seconds, instant)| instant.unix_seconds() == *seconds)
        .map(|(_, instant)| Some(instant))
        .ok_or_else(|| {
            format!(
                "`SOURCE_DATE_EPOCH` is `{value}`, not a number of seconds since 1970 up to the year 9999"
            )
        })
}

/// Who is at work, where the environment says.
pub fn user() -> Option<String> {
    text(USER.name).or_else(|| text("LOGNAME"))
}

/// The continuous integration that is at work.
pub struct ContinuousIntegration {
    /// `github`, `gitlab`, or `unknown`.
    pub provider: &'static str,
    /// The run's number.
    pub run_id: Option<String>,
    /// Who caused the run.
    pub actor: Option<String>,
    /// The branch or tag.
    pub reference: Option<String>,
}

/// The continuous integration that is at work; `None` outside of one.
pub fn continuous_integration() -> Option<ContinuousIntegration> {
    let (provider, [run_id, actor, reference]) = if text("GITHUB_ACTIONS").is_some() {
        ("github", ["GITHUB_RUN_ID", "GITHUB_ACTOR", "GITHUB_REF"])
    } else if text("GITLAB_CI").is_some() {
        (
            "gitlab",
            ["CI_JOB_ID", "GITLAB_USER_LOGIN", "CI_COMMIT_REF_NAME"],
        )
    } else {
        text(CI.name)?;
        ("unknown", [""; 3])
    };
    Some(ContinuousIntegration {
        provider,
        run_id: text(run_id),
        actor: text(actor),
        reference: text(reference),
    })
}
