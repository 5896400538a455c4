//! Which stages are run: of the command line, else of the policy, else this program's own.

use std::ffi::OsString;
use std::path::PathBuf;

use super::MeasureArgs;
use crate::base::digest::Digest;
use crate::base::{files, naming};
use crate::cli::failure::{Failure, Kind};
use crate::cli::spine::Context;
use crate::history::{Budget, Workload};
use crate::pipeline::Work;
use crate::policy;

/// One stage, ready to start.
#[derive(Clone, Debug)]
pub(super) struct Stage {
    /// Unlike every other's.
    pub(super) name: String,
    /// Program and arguments; not empty.
    pub(super) argv: Vec<OsString>,
    /// As a person wrote it.
    pub(super) shown: String,
    /// Variables that it sees besides.
    pub(super) variables: Vec<(OsString, OsString)>,
    /// Where it runs; `None`: here.
    pub(super) directory: Option<PathBuf>,
    /// Codes of a good end.
    pub(super) ok_codes: Vec<u8>,
    /// What was known of the work beforehand.
    pub(super) expected: Expected,
}

/// What was known of a stage's work before it began.
#[derive(Clone, Debug, Default)]
pub(in crate::cli) struct Expected {
    /// What it works on.
    pub(in crate::cli) workload: Option<Workload>,
    /// How long it was thought to take.
    pub(in crate::cli) budget: Option<Budget>,
}

/// Where stages come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// The command line or the policy.
    Stages,
    /// This program's own work on the policy's targets.
    Own,
    /// Nobody named any, and no target is there.
    None,
}

/// What is run.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) origin: Origin,
    pub(super) stages: Vec<Stage>,
    /// Where our own stages leave what later ones need; removed with the plan.
    #[expect(dead_code, reason = "held for its end")]
    scratch: Option<Scratch>,
}

/// Finds out what to run.
pub(super) fn plan(arguments: &MeasureArgs, context: &Context<'_>) -> Result<Plan, Failure> {
    let mut scratch = None;
    let mut stages = from_command_line(arguments);
    let mut origin = Origin::Stages;
    if stages.is_empty() || !arguments.stage.is_empty() {
        let configured = context.policy.policy.pipeline.stages.iter().map(configured);
        stages.extend(configured);
    }
    if stages.is_empty() {
        let targets = &context.policy.policy.pipeline.targets;
        let targets: Vec<PathBuf> = targets.iter().map(PathBuf::from).collect();
        let there: Vec<PathBuf> = targets
            .into_iter()
            .filter(|target| target.exists())
            .collect();
        origin = Origin::None;
        if !there.is_empty() {
            origin = Origin::Own;
            let made = Scratch::create(context)?;
            stages = own(&there, (&made, context))?;
            scratch = Some(made);
        }
    }
    check_names(&stages)?;
    let stages = selected(stages, &arguments.stage)?;
    Ok(Plan {
        origin,
        stages,
        scratch,
    })
}

fn from_command_line(arguments: &MeasureArgs) -> Vec<Stage> {
    let here = |name: String, argv: Vec<OsString>, shown: String| Stage {
        name,
        argv,
        shown,
        variables: Vec::new(),
        directory: None,
        ok_codes: vec![0],
        expected: Expected::default(),
    };
    let mut stages: Vec<Stage> = Vec::new();
    for definition in &arguments.define_stage {
        let argv = ["/bin/sh", "-c", &definition.script].map(OsString::from);
        stages.push(here(
            definition.name.clone(),
            argv.into(),
            definition.script.clone(),
        ));
    }
    if !arguments.command.is_empty() {
        let shown = shown(&arguments.command);
        stages.push(here(name_of(&shown), arguments.command.clone(), shown));
    }
    stages
}

/// Characters of a command that is its own name.
const NAME_CHARS_MAX: usize = 60;

/// A command as the name of its stage: runs of another command are not compared with it. What is too
/// long for a name ends in its digest.
fn name_of(shown: &str) -> String {
    match shown.char_indices().nth(NAME_CHARS_MAX) {
        None => shown.to_owned(),
        Some((end, _)) => {
            let digest = Digest::of(shown.as_bytes()).to_string();
            format!("{}… {}", &shown[..end], &digest[..8])
        }
    }
}

/// Words as one could type them.
fn shown(argv: &[OsString]) -> String {
    let words: Vec<String> = argv
        .iter()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let quoted = shlex::try_join(words.iter().map(String::as_str));
    // Only a NUL, which no argument holds, cannot be quoted.
    quoted.unwrap_or_else(|_| words.join(" "))
}

fn configured(stage: &policy::Stage) -> Stage {
    let argv: Vec<OsString> = stage.command.iter().map(OsString::from).collect();
    let variables = stage.environment.iter();
    Stage {
        name: stage.name.clone(),
        shown: shown(&argv),
        argv,
        variables: variables
            .map(|(name, value)| (name.into(), value.into()))
            .collect(),
        directory: Some(PathBuf::from(&stage.working_directory)).filter(|it| it.as_os_str() != "."),
        ok_codes: stage.ok_codes.clone(),
        expected: Expected::default(),
    }
}

fn own(
    targets: &[PathBuf],
    (scratch, context): (&Scratch, &Context<'_>),
) -> Result<Vec<Stage>, Failure> {
    let program = own_program()?;
    let stage = |work: Work| {
        let mut argv: Vec<OsString> = vec![program.clone(), "--quiet".into()];
        if let policy::Source::Named(path) = &context.policy.source {
            argv.extend(["--config".into(), path.into()]);
        }
        let words = ["tool", "work", work.name(), "--scratch"].map(OsString::from);
        argv.extend(words);
        argv.push(scratch.folder.clone().into());
        argv.push("--".into());
        argv.extend(targets.iter().map(OsString::from));
        let targets: Vec<String> = targets.iter().map(|target| naming::shown(target)).collect();
        Stage {
            name: work.name().to_owned(),
            argv,
            shown: format!("{} {}", work.name(), targets.join(" ")),
            variables: Vec::new(),
            directory: None,
            ok_codes: vec![0],
            expected: Expected::default(),
        }
    };
    Ok(Work::ALL.map(stage).into())
}

/// This program, as a word that starts it.
pub(super) fn own_program() -> Result<OsString, Failure> {
    let program = std::env::current_exe();
    program.map(PathBuf::into_os_string).map_err(|error| {
        Failure::because(
            Kind::Input,
            format!("cannot find this program's own file: {error}"),
        )
    })
}

fn check_names(stages: &[Stage]) -> Result<(), Failure> {
    for (at, stage) in stages.iter().enumerate() {
        if stages[..at].iter().any(|other| other.name == stage.name) {
            let text = format!("two stages are called `{}`", stage.name);
            let hint = "give each a name of its own with `--define-stage NAME=CMD`";
            return Err(Failure::because(Kind::Usage, text).with_hint(hint));
        }
    }
    Ok(())
}

/// Those that were asked for, in the order in which they run.
fn selected(stages: Vec<Stage>, wanted: &[String]) -> Result<Vec<Stage>, Failure> {
    for name in wanted {
        if !stages.iter().any(|stage| stage.name == *name) {
            let failure = Failure::because(Kind::Usage, format!("there is no stage `{name}`"));
            let similar = stages
                .iter()
                .max_by(|a, b| {
                    let like = |stage: &Stage| strsim::jaro_winkler(&stage.name, name);
                    like(a).total_cmp(&like(b))
                })
                .filter(|stage| strsim::jaro_winkler(&stage.name, name) > 0.8);
            return Err(match similar {
                Some(stage) => failure.with_hint(format!("did you mean `{}`?", stage.name)),
                None => failure.with_hint("define it with `--define-stage NAME=CMD`"),
            });
        }
    }
    let is_wanted = |stage: &Stage| wanted.is_empty() || wanted.contains(&stage.name);
    Ok(stages.into_iter().filter(is_wanted).collect())
}

/// A private folder with a key that is for nobody; removed when dropped.
#[derive(Debug)]
struct Scratch {
    folder: PathBuf,
}

impl Scratch {
    fn create(context: &Context<'_>) -> Result<Self, Failure> {
        let trouble = |error: files::FileError| Failure::new(Kind::Output, error);
        let name = format!("profile-{}", std::process::id());
        let folder = context.state_dir.join(name);
        files::create_private_directory(&context.state_dir).map_err(trouble)?;
        files::create_private_directory(&folder).map_err(trouble)?;
        let scratch = Self { folder };
        let mut key = [0; 32];
        getrandom::fill(&mut key)
            .map_err(|error| Failure::because(Kind::Input, format!("no random bytes: {error}")))?;
        let text = format!("hex:{}\n", hex::encode(key));
        let place = scratch.folder.join("key");
        files::create_new(&place, 0o600, text.as_bytes()).map_err(trouble)?;
        Ok(scratch)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays is a key that signed nothing anybody keeps.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
