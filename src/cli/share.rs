//! Work shared out over hosts: what `--shard` does in place of a verb's work, and the parts out of which
//! `agp tool merge` lets a verb answer. What a verb makes of them stays with the verb.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::Args;
use serde::Serialize;
use serde_json::{Map, Value};

use super::answer::no_report;
use super::failure::{Failure, Kind};
use super::guard::GuardArgs;
use super::sign::{self, SignArgs};
use super::spine::{self, Conduct, Context, Done};
use super::verify::VerifyArgs;
use super::{env, keys};
use crate::base::digest::Digest;
use crate::base::files;
use crate::base::naming::{path_within, shown};
use crate::base::relpath::RelPath;
use crate::base::shard::{Shard, ShardError};
use crate::base::units;
use crate::guard::{self, Looked};
use crate::integrity::{self, Parts, Shared, verify};
use crate::inventory::{Globs, TakeError};
use crate::part::{self, Clean, Head, Part, Standing, Suspect, Verb, Walk, Whole};
use crate::policy::Source;
use crate::report::{Finding, Resource, codes};
use crate::seal::Secret;

/// The flags of a verb whose work can be shared out.
#[derive(Clone, Debug, Default, Args)]
pub struct ShareArgs {
    /// Do this shard of the work alone, as `3/7`, and give a part for `agp tool merge`; `auto` asks the
    /// scheduler's variables
    #[arg(long, value_name = "I/N", help_heading = "Sharing the work out")]
    pub shard: Option<Choice>,
    /// Seal the part with the key in this file [default: the variable AGP_PART_KEY]
    #[arg(
        long,
        value_name = "FILE",
        requires = "shard",
        help_heading = "Sharing the work out"
    )]
    pub part_key_file: Option<PathBuf>,
    /// The parts to answer out of, where this is a merge.
    #[arg(skip)]
    pub merge: Option<Merge>,
}

/// Which shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The one that the environment says.
    Auto,
    /// This one.
    Shard(Shard),
}

impl FromStr for Choice {
    type Err = ShardError;

    fn from_str(text: &str) -> Result<Self, ShardError> {
        match text {
            "auto" => Ok(Self::Auto),
            text => text.parse().map(Self::Shard),
        }
    }
}

/// Parts in place of work.
#[derive(Clone, Debug)]
pub struct Merge {
    /// One of every shard, in any order.
    pub parts: Vec<PathBuf>,
    /// Whether they are believed without a key.
    pub trusts: bool,
    /// Whether the flags are the caller's own words, not those of a part of which nothing is proven.
    pub is_restated: bool,
}

/// What a verb finds in place of its work.
#[derive(Debug)]
pub(super) enum Joined {
    /// Nothing: the work is to be done.
    Nothing,
    /// All of it, and the files that it comes from.
    Whole(Box<Merged>),
    /// Parts that are not what they should be.
    Refused(Vec<Finding>),
}

/// Work that shards have done.
#[derive(Debug)]
pub(super) struct Merged {
    pub(super) whole: Whole,
    /// Whether it need not be done again.
    pub(super) is_believed: bool,
    pub(super) resources: Vec<Resource>,
}

impl Joined {
    /// The same, refused where it is not the work of a command with this head.
    ///
    /// # Errors
    /// Those of making the head.
    pub(super) fn agreeing(
        self,
        head: impl FnOnce() -> Result<Head, Failure>,
    ) -> Result<Self, Failure> {
        let Self::Whole(merged) = self else {
            return Ok(self);
        };
        let findings = disagreements(&merged.whole.head, &head()?);
        Ok(match findings.is_empty() {
            true => Self::Whole(merged),
            false => Self::Refused(findings),
        })
    }
}

impl Merged {
    pub(super) fn parts(&self) -> Parts<'_> {
        Parts {
            inventory: &self.whole.inventory,
            problems: &self.whole.problems,
            are_believed: self.is_believed,
        }
    }

    /// What a scan of all targets has met with.
    pub(super) fn looked(&self) -> Looked {
        let Whole {
            head,
            suspects,
            clean,
            ..
        } = &self.whole;
        let suspects = suspects.iter();
        Looked {
            suspects: suspects.map(|one| (one.target, one.path.clone())).collect(),
            clean: guard::Clean {
                files: clean.files,
                bytes: clean.bytes,
                members: clean.members,
                decoded: clean.decoded,
            },
            walk: (head.walk.sha256, head.walk.entries),
            owned: head.walk.entries,
        }
    }
}

impl ShareArgs {
    /// The shard to do; `None` where the command is about everything.
    ///
    /// # Errors
    /// `auto` where the environment does not say.
    pub(super) fn shard(&self) -> Result<Option<Shard>, Failure> {
        match self.shard {
            None => Ok(None),
            Some(Choice::Shard(shard)) => Ok(Some(shard)),
            Some(Choice::Auto) => env::shard().map(Some).map_err(|text| {
                let hint = "say which one with `--shard I/N`";
                Failure::because(Kind::Usage, text).with_hint(hint)
            }),
        }
    }

    /// How a verb stands to the spine: a shard changes nothing, and what it writes is no report.
    pub(super) fn conduct(&self, whole: Conduct) -> Conduct {
        match self.shard {
            None => whole,
            Some(_) => Conduct {
                event: match whole.name {
                    "guard" => "guard.shard",
                    _ => "integrity.shard",
                },
                changes: false,
                reports_to_output: false,
                ..whole
            },
        }
    }

    /// The files that a merge reads.
    pub(super) fn parts(&self) -> &[PathBuf] {
        self.merge.as_ref().map_or(&[], |merge| &merge.parts)
    }

    /// Whether a merge believes parts without a key.
    pub(super) fn trusts(&self) -> bool {
        self.merge.as_ref().is_some_and(|merge| merge.trusts)
    }

    /// What shards have done. A merge whose flags come out of its parts does nothing by them before this has
    /// proven them.
    ///
    /// # Errors
    /// What keeps parts from being looked at.
    pub(super) fn join(&self, context: &Context<'_>) -> Result<Joined, Failure> {
        let Some(merge) = &self.merge else {
            return Ok(Joined::Nothing);
        };
        let key = part_key(self, context)?;
        if key.is_some() && merge.trusts {
            let text = "`--trust-parts` believes parts without a key, and a part key is at hand";
            return Err(Failure::because(Kind::Usage, text).with_hint("leave one of them out"));
        }
        if key.is_none() && !merge.trusts && !merge.is_restated {
            let text = "without a part key nothing proves what the shards were asked for";
            let hint = "give the key of the parts; or repeat the command behind `--`, and everything is read again; or say `--trust-parts`";
            return Err(Failure::because(Kind::Usage, text).with_hint(hint));
        }
        let _bar = context.show_progress();
        let parts = match read_all(&merge.parts, key.as_ref()) {
            Ok(parts) => parts,
            Err(findings) => return Ok(Joined::Refused(findings)),
        };
        let whole = match part::join(parts) {
            Ok(whole) => whole,
            Err(errors) => return Ok(Joined::Refused(errors.into_iter().map(told).collect())),
        };
        let resource = |path: &PathBuf| Resource {
            path: shown(path),
            access: "read",
            sha256: None,
        };
        Ok(Joined::Whole(Box::new(Merged {
            whole,
            is_believed: key.is_some() || merge.trusts,
            resources: merge.parts.iter().map(resource).collect(),
        })))
    }
}

/// Every part, or a finding for each that cannot be believed.
fn read_all(paths: &[PathBuf], key: Option<&Secret>) -> Result<Vec<(String, Part)>, Vec<Finding>> {
    let (mut parts, mut findings) = (Vec::new(), Vec::new());
    for path in paths {
        match part::read(path, key) {
            Ok(part) => parts.push((shown(path), part)),
            Err(error) => {
                let code = match error.is_proof() {
                    true => &codes::PART_FORGED,
                    false => &codes::PART_REFUSED,
                };
                findings.push(Finding::new(code, error.to_string()).at(shown(path)));
            }
        }
    }
    match findings.is_empty() {
        true => Ok(parts),
        false => Err(findings),
    }
}

fn told(error: part::JoinError) -> Finding {
    let mut finding = Finding::new(&codes::PART_REFUSED, error.text);
    finding.path = error.part;
    match error.hint {
        "" => finding,
        hint => finding.with_hint(hint),
    }
}

/// In what the parts are about something else than the merge.
fn disagreements(parts: &Head, ours: &Head) -> Vec<Finding> {
    let differs = [
        (
            parts.tool_version != ours.tool_version,
            "another version of the program",
        ),
        (parts.policy != ours.policy, "another policy"),
        (parts.rules_sha256 != ours.rules_sha256, "other rules"),
        (
            parts.manifest_sha256 != ours.manifest_sha256,
            "another manifest",
        ),
        (parts.asked != ours.asked, "other flags"),
    ];
    let differs = differs.into_iter().filter(|(differs, _)| *differs);
    let finding = |(_, what): (bool, &str)| {
        let text = format!("the shards ran with {what} than this merge");
        Finding::new(&codes::PART_REFUSED, text)
    };
    differs.map(finding).collect()
}

/// The key that seals parts; `None` where nobody gave one.
fn part_key(share: &ShareArgs, context: &Context<'_>) -> Result<Option<Secret>, Failure> {
    let key = keys::part_key(share.part_key_file.as_deref(), &context.policy.policy);
    let key = key.map_err(spine::key_failure)?;
    // Workers that hold the signing key need no merge to sign what they like.
    let is_signing = |key: &Secret| {
        let keyring = context.keyring();
        keyring.is_ok_and(|keyring| keyring.find(key.key_id()).is_some())
    };
    if key.as_ref().is_some_and(is_signing) {
        let text = "the part key is a signing key, which no worker should have";
        let hint = "make one for this run: `agp tool keys generate --output part.key`";
        return Err(Failure::because(Kind::Usage, text).with_hint(hint));
    }
    Ok(key)
}

/// A head with what is known before the work.
pub(super) fn head(
    (verb, shard): (Verb, Shard),
    context: &Context<'_>,
    flags: &impl Serialize,
) -> Result<Head, Failure> {
    let standing = Standing {
        sha256: context.policy.sha256,
        is_named: matches!(context.policy.source, Source::Named(_)),
    };
    let asked: Map<String, Value> = match serde_json::to_value(flags) {
        Ok(Value::Object(asked)) => asked,
        // A flag that is no text has no place in a part.
        Ok(_) | Err(_) => {
            let text = "a path on the command line is not UTF-8, so that no part can name it";
            return Err(Failure::because(Kind::Usage, text));
        }
    };
    Ok(Head::new(verb, shard, (standing, asked)))
}

/// Reads a shard of a tree that is to be signed.
pub(super) fn sign(
    arguments: &SignArgs,
    context: &Context<'_>,
    shard: Shard,
) -> Result<Done, Failure> {
    let [root] = &arguments.input_dir[..] else {
        let text = "`--shard` is about one tree, and there are several";
        return Err(Failure::because(Kind::Usage, text).with_hint("share each out by itself"));
    };
    let head = head((Verb::Sign, shard), context, arguments)?;
    let exempt = arguments.exempt_in(context, root);
    refuse_within(context, &[root], &exempt)?;
    let terms = arguments.terms(context, root)?;
    let _bar = context.show_progress();
    let request = integrity::sign::ShareRequest {
        root,
        epoch: terms.epoch,
        exclude: &terms.exclude,
        exempt: &exempt,
        progress: context.progress,
    };
    let shared = integrity::sign::share(&request, shard).map_err(sign::failure)?;
    give(&arguments.share, context, of_tree(head, shared))
}

/// Reads a shard of a tree that is to be verified.
pub(super) fn verify(
    arguments: &VerifyArgs,
    context: &Context<'_>,
    shard: Shard,
) -> Result<Done, Failure> {
    let ([manifest], Some(root)) = (&arguments.manifest[..], &arguments.input_dir) else {
        let text =
            "`--shard` is about one `--manifest`, and its tree has to be named with `--input-dir`";
        return Err(Failure::because(Kind::Usage, text).with_hint(
            "a worker has no signing key, so that where a manifest says its tree lies is not proven",
        ));
    };
    let mut head = head((Verb::Verify, shard), context, arguments)?;
    head.manifest_sha256 = Some(digest_of(manifest)?);
    refuse_within(context, &[root], &[])?;
    let only = Globs::compile(&arguments.only).map_err(|error| Failure::new(Kind::Usage, error))?;
    let _bar = context.show_progress();
    let request = verify::ShareRequest {
        manifest,
        input_dir: root,
        only: (!arguments.only.is_empty()).then_some(&only),
        progress: context.progress,
    };
    let shared = verify::share(&request, shard).map_err(|error| match error {
        verify::ShareError::Manifest(finding) => Failure::of(Kind::Input, finding),
        verify::ShareError::Take(TakeError::Interrupted) => spine::interrupted(),
        verify::ShareError::Take(error) => Failure::new(Kind::Input, error),
    })?;
    give(&arguments.share, context, of_tree(head, shared))
}

/// SHA-256 of a manifest's bytes.
pub(super) fn digest_of(manifest: &Path) -> Result<Digest, Failure> {
    let failed = |error| Failure::new(Kind::Input, error);
    let mut file = files::open_regular_no_link(manifest).map_err(failed)?;
    let mut hasher = crate::base::digest::Hasher::default();
    std::io::copy(&mut file, &mut hasher)
        .map_err(files::FileError::at("read", manifest))
        .map_err(failed)?;
    Ok(hasher.finish())
}

/// Gives the part of a scan.
pub(super) fn guard(
    arguments: &GuardArgs,
    context: &Context<'_>,
    (mut head, looked): (Head, Looked),
) -> Result<Done, Failure> {
    let (sha256, entries) = looked.walk;
    head.walk = Walk { entries, sha256 };
    head.owned = looked.owned;
    head.clean = Some(Clean {
        files: looked.clean.files,
        bytes: looked.clean.bytes,
        members: looked.clean.members,
        decoded: looked.clean.decoded,
    });
    let suspects = looked.suspects.into_iter();
    let part = Part {
        head,
        entries: Vec::new(),
        problems: Vec::new(),
        suspects: suspects
            .map(|(target, path)| Suspect { target, path })
            .collect(),
    };
    give(&arguments.share, context, part)
}

/// The part of a tree: the shard's own entries out of everything that it walked.
fn of_tree(mut head: Head, shared: Shared) -> Part {
    let (shard, taken) = (head.shard, shared.taken);
    let alone: Vec<RelPath> = taken
        .problems
        .iter()
        .filter_map(|problem| problem.path.clone())
        .filter(|path| taken.inventory.get(path).is_none())
        .collect();
    let entries = taken.inventory.iter().filter(|(path, _)| shard.owns(path));
    let entries: Vec<_> = entries
        .map(|(path, entry)| (path.clone(), entry.clone()))
        .collect();
    let is_own = |path: &RelPath| shard.owns(path);
    head.walk = Walk {
        entries: (taken.inventory.len() + alone.len()) as u64,
        sha256: shared.walk,
    };
    head.owned = (entries.len() + alone.iter().filter(|path| is_own(path)).count()) as u64;
    let problems = taken.problems.into_iter();
    Part {
        head,
        entries,
        problems: problems
            .filter(|problem| problem.path.as_ref().is_some_and(is_own))
            .collect(),
        suspects: Vec::new(),
    }
}

/// Refuses a part that would change what other shards see.
pub(super) fn refuse_within(
    context: &Context<'_>,
    trees: &[&Path],
    exempt: &[RelPath],
) -> Result<(), Failure> {
    if context.global.wants_json() || context.global.wants_report() {
        return Err(no_report());
    }
    let output = context.global.output.as_deref();
    let Some(output) = output.filter(|_| !context.global.output_is_stdout()) else {
        return Ok(());
    };
    let lies_in = |tree: &&Path| {
        let within = path_within(tree, output);
        within.is_some_and(|path| !exempt.iter().any(|one| path.is_within(one)))
    };
    match trees.iter().copied().any(|tree| lies_in(&tree)) {
        false => Ok(()),
        true => {
            let text = format!(
                "the part `{}` would lie in the tree that is shared out",
                shown(output)
            );
            let failure = Failure::because(Kind::Usage, text);
            Err(failure.with_hint("write parts elsewhere: each shard has to see the same tree"))
        }
    }
}

/// Hands a part over, for `--output` or stdout. Whatever it says, giving it is a success: schedulers try again
/// what fails, and the merge is who answers.
fn give(share: &ShareArgs, context: &Context<'_>, part: Part) -> Result<Done, Failure> {
    let key = part_key(share, context)?;
    let head = &part.head;
    let mut text = format!(
        "shard {}: {} of {}",
        head.shard,
        head.owned,
        units::count(head.walk.entries, "entry")
    );
    if key.is_none() {
        text.push_str("; not sealed, for want of a part key");
    }
    context.note(&text);
    Ok(Done::Data(Box::new(move |out| {
        part::write(&part, key.as_ref(), out)
    })))
}
