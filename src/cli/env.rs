//! Every environment variable that `agp` reads, named and explained once, and the command line.
//!
//! The only module that looks at what surrounds the process, except for what the terminal libraries read of
//! `NO_COLOR`, `CLICOLOR`, `CLICOLOR_FORCE`, `COLUMNS` and `TERM`, and the HTTP library of proxies.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::base::clock::Timestamp;
use crate::base::shard::Shard;

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

/// Whom to trust.
const SSL_CERT_FILE: Variable = Variable {
    name: "SSL_CERT_FILE",
    meaning: "A file of certificates in PEM; alerts trust these authorities in place of the built-in ones",
};
/// The way out.
const HTTPS_PROXY: Variable = Variable {
    name: "HTTPS_PROXY",
    meaning: "The proxy through which alerts go by HTTP (also `ALL_PROXY`, `HTTP_PROXY`, and each in lower case), except to this machine and to what `NO_PROXY` names",
};
/// Which repository is at work.
const GITHUB_REPOSITORY: Variable = Variable {
    name: "GITHUB_REPOSITORY",
    meaning: "The repository in alerts (`CI_PROJECT_PATH` where it is not set, then the working directory's name)",
};
/// The key of parts.
pub const PART_KEY: Variable = Variable {
    name: "AGP_PART_KEY",
    meaning: "The key that seals parts of `--shard` and that `agp tool merge` checks them with, where no `--part-key-file` gives one; never the signing secret",
};
/// How many shards there are, for schedulers that only number them.
const SHARD_COUNT: Variable = Variable {
    name: "AGP_SHARD_COUNT",
    meaning: "How many shards there are, for `--shard auto` under Kubernetes and GNU parallel, which only say which one (`JOB_COMPLETION_INDEX`, `PARALLEL_SEQ`). Slurm and AWS Batch say both: `SLURM_ARRAY_TASK_ID` with `_MIN`, `_MAX`, `_STEP` and `_COUNT`, or `SLURM_PROCID` with `SLURM_NTASKS`; `AWS_BATCH_JOB_ARRAY_INDEX` with `AWS_BATCH_JOB_ARRAY_SIZE`",
};

/// Whether stages are confined.
const CONFINE: Variable = Variable {
    name: "AGP_CONFINE",
    meaning: "`off`: `agp run` never asks the kernel to keep stages from writing where they may not, and only looks at what they changed",
};

/// Every variable, for the documentation.
pub const ALL: [&Variable; 13] = [
    &SIGN_SECRET,
    &PART_KEY,
    &SHARD_COUNT,
    &CONFIG,
    &STATE_DIR,
    &SOURCE_DATE_EPOCH,
    &USER,
    &CI,
    &STEP_SUMMARY,
    &SSL_CERT_FILE,
    &HTTPS_PROXY,
    &GITHUB_REPOSITORY,
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

/// The certificates that the environment names.
pub fn certificates() -> Option<PathBuf> {
    path(&SSL_CERT_FILE)
}

/// The repository at work: as the continuous integration calls it, or the working directory's name.
pub fn repository() -> Option<String> {
    let named = text(GITHUB_REPOSITORY.name).or_else(|| text("CI_PROJECT_PATH"));
    named.or_else(|| {
        let directory = std::env::current_dir().ok()?;
        Some(directory.file_name()?.to_string_lossy().into_owned())
    })
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

/// The shard that the scheduler's variables say.
///
/// # Errors
/// None of them, those of two schedulers, or numbers that are missing or impossible.
pub fn shard() -> Result<Shard, String> {
    schedule::shard(&text)
}

/// What schedulers call the number of a worker. Pure.
mod schedule {
    use super::{SHARD_COUNT, Shard};

    type Look<'l> = &'l dyn Fn(&str) -> Option<String>;
    /// What one of them says, if it is at work.
    type Scheduler = fn(Look<'_>) -> Result<Option<Numbers>, String>;

    /// The one shard that the variables say.
    pub(super) fn shard(look: Look<'_>) -> Result<Shard, String> {
        let schedulers: [Scheduler; 4] = [
            slurm,
            |look| {
                zero_based(
                    look,
                    ("AWS_BATCH_JOB_ARRAY_INDEX", "AWS_BATCH_JOB_ARRAY_SIZE"),
                )
            },
            |look| zero_based(look, ("JOB_COMPLETION_INDEX", SHARD_COUNT.name)),
            |look| {
                let index = number(look, "PARALLEL_SEQ")?;
                let found =
                    index.map(|index| with_count(look, ("PARALLEL_SEQ", index), SHARD_COUNT.name));
                found.transpose()
            },
        ];
        let mut found = Vec::new();
        for scheduler in schedulers {
            found.extend(scheduler(look)?);
        }
        let numbers = match &found[..] {
            [] => {
                return Err("`--shard auto` finds no variable of a scheduler that it knows".into());
            }
            [only] => only,
            [first, second, ..] => {
                return Err(format!(
                    "`--shard auto` finds both `{}` and `{}`, and cannot tell which one counts",
                    first.name, second.name
                ));
            }
        };
        if let Some(count) = number(look, SHARD_COUNT.name)?.filter(|count| *count != numbers.count)
        {
            let name = SHARD_COUNT.name;
            return Err(format!(
                "`{name}` says {count} shards, the scheduler {}",
                numbers.count
            ));
        }
        Shard::new(numbers.index, numbers.count)
            .map_err(|error| format!("`{}`: {error}", numbers.name))
    }

    /// A shard as a scheduler says it; `index` is from 1.
    struct Numbers {
        name: &'static str,
        index: u64,
        count: u64,
    }

    fn number(look: Look<'_>, name: &str) -> Result<Option<u64>, String> {
        let Some(text) = look(name) else {
            return Ok(None);
        };
        let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse().ok().filter(|_| is_plain);
        number
            .map(Some)
            .ok_or_else(|| format!("`{name}` is `{text}`, not a number"))
    }

    fn needed(look: Look<'_>, (name, beside): (&str, &str)) -> Result<u64, String> {
        number(look, name)?.ok_or_else(|| format!("`{beside}` is set and `{name}` is not"))
    }

    fn with_count(
        look: Look<'_>,
        (name, index): (&'static str, u64),
        count: &str,
    ) -> Result<Numbers, String> {
        let count = needed(look, (count, name))?;
        Ok(Numbers { name, index, count })
    }

    fn zero_based(
        look: Look<'_>,
        (name, count): (&'static str, &str),
    ) -> Result<Option<Numbers>, String> {
        let index = number(look, name)?;
        let found = index.map(|index| with_count(look, (name, index.saturating_add(1)), count));
        found.transpose()
    }

    /// Slurm numbers the jobs of an array, and the tasks of a job.
    fn slurm(look: Look<'_>) -> Result<Option<Numbers>, String> {
        let name = "SLURM_ARRAY_TASK_ID";
        let tasks = number(look, "SLURM_NTASKS")?;
        let Some(id) = number(look, name)? else {
            // A batch script without tasks of its own has a `SLURM_PROCID` of 0 and no count.
            return match tasks {
                None => Ok(None),
                Some(_) => zero_based(look, ("SLURM_PROCID", "SLURM_NTASKS")),
            };
        };
        if tasks.is_some_and(|tasks| tasks > 1) {
            return Err(format!(
                "`{name}` is set and `SLURM_NTASKS` is above 1: do the tasks share the job's shard out once more?"
            ));
        }
        let first = needed(look, ("SLURM_ARRAY_TASK_MIN", name))?;
        let count = needed(look, ("SLURM_ARRAY_TASK_COUNT", name))?;
        let last = needed(look, ("SLURM_ARRAY_TASK_MAX", name))?;
        let step = number(look, "SLURM_ARRAY_TASK_STEP")?.unwrap_or(1).max(1);
        let is_even = last
            .checked_sub(first)
            .is_some_and(|span| span % step == 0 && span / step + 1 == count);
        let at = id.checked_sub(first).filter(|at| is_even && at % step == 0);
        let index = at.map(|at| at / step + 1);
        let index = index.ok_or_else(|| {
            format!("the array's numbers from {first} to {last} are not {count} in equal steps of {step}")
        })?;
        Ok(Some(Numbers { name, index, count }))
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_shard_is_what_one_scheduler_says() {
            let array = "SLURM_ARRAY_TASK_ID=4 SLURM_ARRAY_TASK_MIN=2 SLURM_ARRAY_TASK_MAX=8 SLURM_ARRAY_TASK_COUNT=4 SLURM_ARRAY_TASK_STEP=2";
            let plain = "SLURM_ARRAY_TASK_ID=0 SLURM_ARRAY_TASK_MIN=0 SLURM_ARRAY_TASK_MAX=6 SLURM_ARRAY_TASK_COUNT=7";
            let uneven = "SLURM_ARRAY_TASK_ID=3 SLURM_ARRAY_TASK_MIN=1 SLURM_ARRAY_TASK_MAX=9 SLURM_ARRAY_TASK_COUNT=3";
            let cases: [(&str, Result<&str, &str>); 18] = [
                (array, Ok("2/4")),
                (plain, Ok("1/7")),
                (uneven, Err("equal steps")),
                (&format!("{plain} SLURM_PROCID=0 SLURM_NTASKS=1"), Ok("1/7")),
                (
                    &format!("{plain} SLURM_PROCID=1 SLURM_NTASKS=2"),
                    Err("once more"),
                ),
                (
                    "SLURM_ARRAY_TASK_ID=4",
                    Err("`SLURM_ARRAY_TASK_MIN` is not"),
                ),
                ("SLURM_PROCID=2 SLURM_NTASKS=3", Ok("3/3")),
                ("SLURM_PROCID=3 SLURM_NTASKS=3", Err("not from 1 to 3")),
                (
                    "AWS_BATCH_JOB_ARRAY_INDEX=0 AWS_BATCH_JOB_ARRAY_SIZE=10",
                    Ok("1/10"),
                ),
                (
                    "AWS_BATCH_JOB_ARRAY_INDEX=0",
                    Err("`AWS_BATCH_JOB_ARRAY_SIZE` is not"),
                ),
                ("JOB_COMPLETION_INDEX=4 AGP_SHARD_COUNT=5", Ok("5/5")),
                ("JOB_COMPLETION_INDEX=4", Err("`AGP_SHARD_COUNT` is not")),
                ("PARALLEL_SEQ=4 AGP_SHARD_COUNT=7", Ok("4/7")),
                ("PARALLEL_SEQ=x AGP_SHARD_COUNT=7", Err("`x`, not a number")),
                (
                    "PARALLEL_SEQ=4 JOB_COMPLETION_INDEX=4 AGP_SHARD_COUNT=7",
                    Err("both `JOB_COMPLETION_INDEX`"),
                ),
                (
                    "AWS_BATCH_JOB_ARRAY_INDEX=0 AWS_BATCH_JOB_ARRAY_SIZE=10 AGP_SHARD_COUNT=9",
                    Err("says 9 shards"),
                ),
                ("AGP_SHARD_COUNT=7", Err("finds no variable")),
                ("", Err("finds no variable")),
            ];
            for (variables, expected) in cases {
                let look = |name: &str| {
                    let mut pairs = variables
                        .split_whitespace()
                        .filter_map(|pair| pair.split_once('='));
                    pairs
                        .find(|(known, _)| *known == name)
                        .map(|(_, value)| value.to_owned())
                };
                match (shard(&look), expected) {
                    (Ok(found), Ok(expected)) => {
                        assert_eq!(found.to_string(), expected, "{variables}")
                    }
                    (Err(text), Err(part)) => assert!(text.contains(part), "{variables}: {text}"),
                    (found, _) => unreachable!("{variables}: {found:?}"),
                }
            }
        }
    }
}
