//! `agp guard`: finds what should not be in a tree, and says what may not be done to it.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::str::FromStr as _;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};

use super::args::KeyArgs;
use super::failure::{Failure, Kind};
use super::guard_report::{self, OperationsSection};
use super::kept::{self, Kept, Wanted};
use super::rules::RulesArgs;
use super::share::{self, Joined, Merged, ShareArgs};
use super::spine::{self, Context, Done};
use super::{env, keys};
use crate::base::digest::Digest;
use crate::base::files;
use crate::base::naming::shown;
use crate::base::severity::Severity;
use crate::base::shard::Shard;
use crate::base::units::printable;
use crate::guard::{
    self, BaselineUse, Enforcement, Evaluation, Examiner, Found, GitError, GuardError, Memory,
    Operation, Operations, Place, Request, RuleFile, Salt, SaltOrigin, Scanner, Scope, SelectError,
    Selection, Terms, Tracked,
};
use crate::inventory::TakeError;
use crate::part::{Head, Verb};
use crate::policy::{Loaded, Policy, Source, Stage};
use crate::report::{Finding, Resource, codes};
use crate::seal::Secret;

/// The largest file of rules that is read, bytes.
const RULES_BYTES_MAX: u64 = 4 << 20;
/// The most threads that may be asked for.
const JOBS_MAX: u16 = 1024;

/// Find secrets, suspicious files, unauthorized operations and configuration violations
///
/// Looks into every file of the targets, hidden and ignored ones included. Exit code 19 is a
/// violation at or above the level that the policy enforces.
#[derive(Debug, Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Example: agp guard --config config/assets_quality_policy.json --target ./assets --output policy_report.json"
)]
pub struct GuardArgs {
    /// What to do with rules instead of scanning.
    #[command(subcommand)]
    #[serde(skip)]
    pub command: Option<GuardCommand>,
    /// Scan these files and folders [default: ., or nothing where an operation is asked for]
    #[arg(long, value_name = "PATH", num_args = 1..)]
    pub target: Vec<PathBuf>,
    /// Look at what the next commit would change, as the index has it, in place of the files
    #[arg(
        long,
        group = "tracked",
        conflicts_with = "shard",
        help_heading = "Repository"
    )]
    #[serde(skip)]
    pub staged: bool,
    /// Look at what has changed since this commit, as the working tree has it
    #[arg(
        long,
        value_name = "REV",
        group = "tracked",
        conflicts_with = "shard",
        help_heading = "Repository"
    )]
    #[serde(skip)]
    pub since: Option<String>,
    /// Look at everything that any commit ever held, each content once
    #[arg(
        long,
        group = "tracked",
        conflicts_with = "shard",
        help_heading = "Repository"
    )]
    #[serde(skip)]
    pub history: bool,
    /// Add the rules of this file; may be repeated
    #[arg(long, value_name = "FILE")]
    pub rules: Vec<PathBuf>,
    /// Accept the findings that this baseline lists [default: the policy's `policy_guard.baseline`]
    #[arg(long, value_name = "FILE")]
    pub baseline: Option<PathBuf>,
    /// Write the baseline so that it accepts what is found now, and drops what is no longer there
    #[arg(long, conflicts_with = "shard")]
    #[serde(skip)]
    pub update_baseline: bool,
    /// Say why what `--update-baseline` adds is accepted
    #[arg(long, value_name = "TEXT", requires = "update_baseline")]
    #[serde(skip)]
    pub reason: Option<String>,
    /// Fail from this severity on, where the policy would fail later
    #[arg(long, value_name = "LEVEL", value_parser = severity())]
    pub fail_on: Option<Severity>,
    /// Ask whether an operation may be; may be repeated
    #[arg(long, value_name = "NAME[=RESOURCE]", conflicts_with = "shard", value_parser = Operation::from_str)]
    #[serde(skip)]
    pub operation: Vec<Operation>,
    /// Hold the operations of this log (JSON Lines) against the policy; may be repeated
    #[arg(long, value_name = "FILE", conflicts_with = "shard")]
    #[serde(skip)]
    pub operations_log: Vec<PathBuf>,
    /// Look into a file again only where it or the rules have changed; needs a key
    #[arg(long, conflicts_with_all = ["shard", "tracked"])]
    #[serde(skip)]
    pub cache: bool,
    /// Scan on this many threads [default: as many as there are processors]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=i64::from(JOBS_MAX)))]
    #[serde(skip)]
    pub jobs: Option<u16>,
    /// Show what was found as it is, on a terminal only
    #[arg(long, conflicts_with = "shard")]
    #[serde(skip)]
    pub show_secrets: bool,
    /// Whether the work is shared out.
    #[command(flatten)]
    #[serde(skip)]
    pub share: ShareArgs,
    /// Where the secret comes from.
    #[command(flatten)]
    #[serde(skip)]
    pub key: KeyArgs,
}

/// What to do with rules.
#[derive(Debug, Subcommand)]
pub enum GuardCommand {
    /// List, explain and test rules
    Rules(RulesArgs),
}

fn severity() -> impl TypedValueParser<Value = Severity> {
    let words = Severity::ALL.map(Severity::word);
    PossibleValuesParser::new(words).map(|word| {
        let named = Severity::ALL
            .into_iter()
            .find(|severity| severity.word() == word);
        // The parser lets no other word pass.
        named.unwrap_or(Severity::Info)
    })
}

impl GuardArgs {
    /// Scans.
    ///
    /// # Errors
    /// What keeps the whole from being answered.
    pub fn run(&self, context: &Context<'_>) -> Result<Done, Failure> {
        if let Some(GuardCommand::Rules(rules)) = &self.command {
            return rules.run(context);
        }
        self.check_flags(context)?;
        let joined = self.share.join(context)?;
        // What unproven parts name is not read.
        let is_proven = !matches!(joined, Joined::Refused(_));
        let rules = if is_proven { &self.rules[..] } else { &[] };
        let Selection {
            mut pack,
            sha256,
            disabled,
        } = select(rules, context.policy)?;
        let policy = &context.policy.policy;
        let counts = guard_report::Rules::of(&pack, disabled, sha256);
        let operations = Operations::join(&policy.policy_guard, &mut pack)
            .map_err(|error| Failure::new(Kind::Policy, error))?;
        let (refused, section) = self.operations(context, (&operations, &pack))?;
        let scanner =
            Scanner::new(pack).honoring_foreign(policy.policy_guard.honor_foreign_ignores);
        // The process ends with it: taking thousands of rules apart would only cost time.
        let scanner: &Scanner = Box::leak(Box::new(scanner));
        let kept = Kept::load(&Wanted {
            flag: self.baseline.as_deref().filter(|_| is_proven),
            policy: policy.policy_guard.baseline.as_deref(),
            is_written: self.update_baseline,
        })?;
        let salt = environment_salt(context.policy);
        let level = policy.policy_guard.enforcement_level;
        let used = kept.as_ref().map(|kept| BaselineUse {
            baseline: &kept.baseline,
            path: &kept.path,
            update: self.update_baseline.then(|| self.reason()),
        });
        let tracked = self.tracked(policy);
        let secret = match self.cache {
            true => Some(secret_of_cache(context)?),
            false => None,
        };
        let key = secret.as_deref();
        let mac = |bytes: &[u8]| Secret::mac_of_cache(key, bytes).0;
        let cache_dir = context.cache_dir();
        let examiner = secret.is_some().then(|| {
            let memory = Memory::new(&cache_dir, (counts.sha256, policy), &mac);
            Examiner::new((scanner, policy), memory, context.progress)
        });
        let request = Request {
            targets: &self.targets(),
            tracked: tracked.as_ref(),
            policy,
            scanner,
            progress: context.progress,
            state_dir: &context.state_dir,
            examiner: examiner.as_ref(),
            taken: &[],
            terms: Terms {
                enforcement: Enforcement::new(level, self.fail_on),
                operations: &operations,
                salt: salt.as_ref(),
                baseline: used,
                now: context.started_at,
                shows_secrets: self.show_secrets,
            },
            refused: &refused,
        };
        self.answer(context, &request, (counts, section, kept.as_ref(), joined))
    }

    /// From the request to what is given back: a report, or a shard's part.
    fn answer(
        &self,
        context: &Context<'_>,
        request: &Request<'_>,
        (rules, operations, kept, joined): (
            guard_report::Rules,
            OperationsSection,
            Option<&Kept>,
            Joined,
        ),
    ) -> Result<Done, Failure> {
        if let Some(shard) = self.share.shard()? {
            let head = self.head((context, shard), rules.sha256)?;
            let targets: Vec<&Path> = request.targets.iter().map(PathBuf::as_path).collect();
            share::refuse_within(context, &targets, &[])?;
            let looked = self.on_threads(|| guard::look_at_share(request, shard));
            return share::guard(self, context, (head, looked?));
        }
        let joined = joined.agreeing(|| self.head((context, Shard::WHOLE), rules.sha256))?;
        let evaluation = match &joined {
            Joined::Nothing => {
                let mut evaluation = self.scan(context, request)?;
                let memory = request.examiner.map(remembered);
                evaluation.findings.extend(memory.unwrap_or_default());
                evaluation
            }
            Joined::Whole(merged) => self.scan_again(context, (request, merged))?,
            Joined::Refused(_) => Evaluation::nothing(),
        };
        let mut resources = self.resources();
        if let Some(kept) = kept {
            let access = kept.write(&evaluation)?;
            resources.push(resource(&kept.path, access));
        }
        let told = guard_report::Told {
            request,
            rules,
            operations,
            fail_on: self.fail_on,
        };
        let mut report = guard_report::report(evaluation, told).with_resources(resources);
        match joined {
            Joined::Nothing => {}
            Joined::Whole(merged) => report.resources.extend(merged.resources),
            Joined::Refused(findings) => report.add(findings),
        }
        Ok(Done::Report(report))
    }

    fn check_flags(&self, context: &Context<'_>) -> Result<(), Failure> {
        let global = context.global;
        let leaves_the_terminal = global.wants_json()
            || global.wants_report()
            || global.output.is_some()
            || env::step_summary().is_some();
        if self.show_secrets && (leaves_the_terminal || !context.printer.is_on_terminal()) {
            let text = "`--show-secrets` shows what was found on a terminal and nowhere else";
            let failure = Failure::because(Kind::Usage, text);
            return Err(
                failure.with_hint("leave it out: reports hide all but the first characters")
            );
        }
        Ok(())
    }

    fn reason(&self) -> &str {
        let reason = self.reason.as_deref().unwrap_or_default().trim();
        if reason.is_empty() {
            guard::REASON
        } else {
            reason
        }
    }

    /// What of a repository is scanned, where that was asked for.
    fn scope(&self) -> Option<Scope> {
        match (self.staged, &self.since, self.history) {
            (true, ..) => Some(Scope::Staged),
            (_, Some(revision), _) => Some(Scope::Since(revision.clone())),
            (.., true) => Some(Scope::History),
            (false, None, false) => None,
        }
    }

    fn tracked(&self, policy: &Policy) -> Option<Tracked> {
        self.scope().map(|scope| Tracked {
            scope,
            hidden: keys::hidden_variables(policy),
        })
    }

    /// What is scanned: nothing where only operations are asked for, and of a repository what is
    /// named or else everything.
    fn targets(&self) -> Vec<PathBuf> {
        let only_asks = !self.operation.is_empty() || !self.operations_log.is_empty();
        match self.target.is_empty() && !only_asks && self.scope().is_none() {
            true => vec![PathBuf::from(".")],
            false => self.target.clone(),
        }
    }

    /// What is read for it.
    fn resources(&self) -> Vec<Resource> {
        let mut paths = self.targets();
        if self.scope().is_some() {
            paths.push(PathBuf::from("."));
        }
        paths.extend(self.operations_log.iter().cloned());
        paths.iter().map(|path| resource(path, "read")).collect()
    }

    fn scan(&self, context: &Context<'_>, request: &Request<'_>) -> Result<Evaluation, Failure> {
        let _bar = context.show_progress();
        self.on_threads(|| guard::evaluate(request))
    }

    /// Judges what shards have met with.
    fn scan_again(
        &self,
        context: &Context<'_>,
        (request, merged): (&Request<'_>, &Merged),
    ) -> Result<Evaluation, Failure> {
        let _bar = context.show_progress();
        let known = merged.looked();
        if !merged.is_believed {
            let looked = self.on_threads(|| guard::look_at_share(request, Shard::WHOLE))?;
            if looked != known {
                return Err(failure(GuardError::Changed));
            }
        }
        self.on_threads(|| guard::evaluate_known(request, &known))
    }

    /// Does it on as many threads as `--jobs` says.
    fn on_threads<T: Send>(
        &self,
        work: impl FnOnce() -> Result<T, GuardError> + Send,
    ) -> Result<T, Failure> {
        let done = match self.jobs {
            None => work(),
            Some(jobs) => rayon::ThreadPoolBuilder::new()
                .num_threads(usize::from(jobs))
                .build()
                .map_err(|error| Failure::new(Kind::Input, error))?
                .install(work),
        };
        done.map_err(failure)
    }

    /// What parts of this command say that they are parts of.
    fn head(
        &self,
        (context, shard): (&Context<'_>, Shard),
        rules_sha256: Digest,
    ) -> Result<Head, Failure> {
        let mut head = share::head((Verb::Guard, shard), context, self)?;
        head.rules_sha256 = Some(rules_sha256);
        Ok(head)
    }

    /// The operations that flags, logs and stages speak of, held against the lists.
    fn operations(
        &self,
        context: &Context<'_>,
        (operations, pack): (&Operations, &guard::Pack),
    ) -> Result<(Vec<Found>, OperationsSection), Failure> {
        let mut section = OperationsSection::default();
        let mut refused = Vec::new();
        for operation in &self.operation {
            section.ask(operation, &operations.judge(operation));
            refused.extend(operations.refuse(operation, &Place::default(), pack));
        }
        for path in &self.operations_log {
            let reading = guard::read_log(path, operations, pack)
                .map_err(|error| Failure::new(Kind::Input, error))?;
            section.logged += reading.operations;
            refused.extend(reading.found);
        }
        if !self.targets().is_empty() || self.scope().is_some() {
            let all = |_: &Stage| true;
            refused.extend(stages(
                context.policy,
                (operations, pack),
                (&mut section, &all),
            ));
            refused.extend(guard::contradictions(context.policy, pack));
        }
        Ok((refused, section))
    }
}

/// The key that what guard remembers is kept under.
fn secret_of_cache(context: &Context<'_>) -> Result<Rc<Secret>, Failure> {
    let active = context.keyring()?.active().and_then(|key| key.secret());
    active.map_err(spine::key_failure)
}

/// Remembers what was met. That it could not, or that what was remembered before was not believed, is told.
pub(super) fn remembered(examiner: &Examiner<'_>) -> Vec<Finding> {
    let discarded = examiner.discarded().map(str::to_owned);
    let unsaved = examiner.save().err().map(|error| error.in_full());
    let told = discarded.into_iter().chain(unsaved);
    told.map(|text| Finding::new(&codes::CACHE_DISCARDED, text))
        .collect()
}

/// The operations that the policy's stages declare, held against its lists; of those that run.
pub(super) fn stages(
    policy: &Loaded,
    (operations, pack): (&Operations, &guard::Pack),
    (section, runs): (&mut OperationsSection, &dyn Fn(&Stage) -> bool),
) -> Vec<Found> {
    let mut refused = Vec::new();
    let stages = policy.policy.pipeline.stages.iter().enumerate();
    for (at, stage) in stages.filter(|(_, stage)| runs(stage)) {
        let mut tell = |pointer: String, judge: &dyn Fn(&Place<'_>) -> Option<Found>| {
            let shown = format!("{}#{pointer}", policy.source);
            let spot = policy.place_of(&pointer);
            let place = Place {
                shown: &shown,
                line: spot.map(|spot| spot.line),
                column: spot.map(|spot| spot.column),
                ..Place::default()
            };
            refused.extend(judge(&place));
        };
        if stage.operations.is_empty() {
            tell(format!("/pipeline/stages/{at}"), &|place| {
                operations.undeclared(&stage.name, place, pack)
            });
        }
        for (number, name) in stage.operations.iter().enumerate() {
            let operation = Operation {
                name: name.clone(),
                resource: None,
            };
            section.declare(&operation, &operations.judge(&operation));
            tell(
                format!("/pipeline/stages/{at}/operations/{number}"),
                &|place| operations.refuse(&operation, place, pack),
            );
        }
    }
    refused
}

/// The rules that count: the shipped ones, those of the policy's files and of the flag's, without
/// those that the policy disables.
pub(super) fn select(files: &[PathBuf], policy: &Loaded) -> Result<Selection, Failure> {
    let read = |path: &Path, is_trusted: bool| {
        let bytes = files::read_bounded(path, RULES_BYTES_MAX)
            .map_err(|error| Failure::new(Kind::Input, error))?;
        let text = String::from_utf8(bytes).map_err(|_| {
            let finding = Finding::new(&codes::COMMAND_INPUT, "the rules are not UTF-8");
            Failure::of(Kind::Input, finding.at(shown(path)))
        })?;
        let shown = shown(path);
        Ok(RuleFile {
            shown,
            text,
            is_trusted,
        })
    };
    let is_trusted = !matches!(policy.source, Source::Found(_));
    let guard_policy = &policy.policy.policy_guard;
    let of_policy = guard_policy
        .rules
        .iter()
        .map(|path| read(Path::new(path), is_trusted));
    let of_flags = files.iter().map(|path| read(path, true));
    let all: Vec<RuleFile> = of_policy.chain(of_flags).collect::<Result<_, Failure>>()?;
    guard::select(&all, &guard_policy.disabled_rules).map_err(|error| select_failure(error, policy))
}

fn select_failure(error: SelectError, policy: &Loaded) -> Failure {
    match error {
        SelectError::Shipped(_) => Failure::new(Kind::Policy, error),
        SelectError::File { shown, source } => {
            let told = source.problems.iter().map(|problem| {
                // What is wrong with the TOML itself has a line, what is wrong with a rule its id.
                let numbered = problem.strip_prefix("line ");
                let placed = numbered.and_then(|rest| {
                    let (line, problem) = rest.split_once(": ")?;
                    Some((line.parse().ok()?, problem))
                });
                let message = placed.map_or(problem.as_str(), |(_, problem)| problem);
                let mut finding = Finding::new(&codes::COMMAND_INPUT, message).at(&shown);
                finding.line = placed.map(|(line, _)| line);
                finding
            });
            Failure::of_all(Kind::Input, told.collect())
        }
        SelectError::Unknown {
            ref name,
            ref likely,
        } => {
            let disabled = &policy.policy.policy_guard.disabled_rules;
            let at = disabled.iter().position(|known| known == name);
            let pointer = format!("/policy_guard/disabled_rules/{}", at.unwrap_or_default());
            let mut finding = Finding::new(&codes::POLICY_INVALID, error.to_string())
                .at(format!("{}#{pointer}", policy.source));
            if let Some(spot) = policy.place_of(&pointer) {
                finding = finding.on_line(spot.line);
                finding.column = Some(spot.column);
            }
            let hint = match likely {
                Some(likely) => format!("did you mean `{likely}`?"),
                None => "`agp guard rules list` shows every rule".to_owned(),
            };
            Failure::of(Kind::Policy, finding.with_hint(hint))
        }
    }
}

/// The salt that the policy's variable holds.
pub(super) fn environment_salt(policy: &Loaded) -> Option<Salt> {
    use std::os::unix::ffi::OsStrExt;
    let name = policy.policy.policy_guard.fingerprint_salt_env.as_deref()?;
    let value = env::lookup(name)?;
    Salt::kept(value.as_bytes(), SaltOrigin::Environment)
}

fn resource(path: &Path, access: &'static str) -> Resource {
    Resource {
        path: printable(&path.to_string_lossy()).into_owned(),
        access,
        sha256: None,
    }
}

/// What keeps guard from an answer.
pub(super) fn failure(error: GuardError) -> Failure {
    match error {
        GuardError::Interrupted | GuardError::Take(TakeError::Interrupted) => spine::interrupted(),
        GuardError::Rules(_) | GuardError::Exclude(_) => Failure::new(Kind::Policy, error),
        GuardError::Baseline { path, source } => kept::failure(&path, &source),
        GuardError::Git(error) => git_failure(error),
        GuardError::Changed => {
            let finding = Finding::new(&codes::PART_REFUSED, error.to_string());
            let hint = "keep the tree still and the parts out of it, and run all shards anew";
            Failure::of(Kind::Input, finding.with_hint(hint))
        }
        GuardError::Take(_) | GuardError::WorkingDirectory(_) | GuardError::Random(_) => {
            Failure::new(Kind::Input, error)
        }
    }
}

fn git_failure(error: GitError) -> Failure {
    let kind = match error {
        GitError::Revision(_) | GitError::Outside(_) => Kind::Usage,
        _ => Kind::Input,
    };
    let hint = match error {
        GitError::Missing(_) => Some("install git, or scan files with `--target`"),
        GitError::NoRepository => Some("run it in a repository, or scan files with `--target`"),
        GitError::Revision(_) => Some("fetch that commit, or name another one"),
        GitError::Bare => Some("a bare repository has a `--history` only"),
        _ => None,
    };
    let failure = Failure::new(kind, error);
    match hint {
        Some(hint) => failure.with_hint(hint),
        None => failure,
    }
}
