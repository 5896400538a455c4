//! What guard finds in the trees of a governed run, and which of it their snapshot has too.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::failure::{Failure, Kind};
use super::guard as verb;
use super::guard_report;
use super::kept::{self, Kept, Wanted};
use super::spine::Context;
use crate::base::naming;
use crate::base::records::MacFn;
use crate::base::relpath::RelPath;
use crate::guard::{
    self, BaselineUse, Enforcement, Examiner, Memory, Operations, Redactor, Request, Salt, Scanner,
    Selection, Terms,
};
use crate::report::{Code, Finding, Report, State, Verdict, codes};
use crate::rollback::{self, Place, Watch};

/// What guard finds in trees themselves, rather than in flags and policies.
const IN_TREES: [&Code; 4] = [
    &codes::GUARD_SECRET,
    &codes::GUARD_SUSPICIOUS_FILE,
    &codes::GUARD_OPERATION,
    &codes::GUARD_CONFIGURATION,
];

/// What a finding is known by in two copies of a tree: the target's number, the path below it, the
/// file within an archive, the rule, and the value's fingerprint where there is a value.
type Key = (usize, String, Option<String>, String, Option<String>);

/// Guard with the rules, the level and the baseline of the policy.
pub(super) struct Scan<'a> {
    context: &'a Context<'a>,
    scanner: Scanner,
    rules: guard_report::Rules,
    operations: Operations,
    kept: Option<Kept>,
    salt: Salt,
}

/// What guard finds in trees that somebody worked on.
pub(super) struct Looked {
    /// All of it, as `agp guard` reports it.
    pub(super) report: Report,
    /// Violations that the snapshot from before does not have.
    pub(super) new: Vec<Finding>,
    /// Violations that it has, too.
    pub(super) before: Vec<Finding>,
    /// What knows every value that was found.
    pub(super) redactor: Redactor,
}

impl<'a> Scan<'a> {
    /// Guard, made ready.
    ///
    /// # Errors
    /// Rules or a baseline that cannot be used.
    pub(super) fn new(context: &'a Context<'a>) -> Result<Self, Failure> {
        let Selection {
            mut pack,
            sha256,
            disabled,
        } = verb::select(&[], context.policy)?;
        let policy = &context.policy.policy.policy_guard;
        let rules = guard_report::Rules::of(&pack, disabled, sha256);
        let operations = Operations::join(policy, &mut pack)
            .map_err(|error| Failure::new(Kind::Policy, error))?;
        let scanner = Scanner::new(pack).honoring_foreign(policy.honor_foreign_ignores);
        let kept = Kept::load(&Wanted {
            flag: None,
            policy: policy.baseline.as_deref(),
            is_written: false,
        })?;
        let of_environment = verb::environment_salt(context.policy);
        let of_baseline = match &kept {
            Some(kept) => kept
                .baseline
                .salt(of_environment.as_ref())
                .map_err(|error| kept::failure(&kept.path, &error))?,
            None => None,
        };
        // Both scans need one salt, or nothing that they find is the same.
        let salt = match of_baseline.or(of_environment) {
            Some(salt) => salt,
            None => Salt::random().map_err(|error| Failure::new(Kind::Input, error))?,
        };
        Ok(Self {
            context,
            scanner,
            rules,
            operations,
            kept,
            salt,
        })
    }

    /// What the policy says of operations.
    pub(super) fn operations(&self) -> &Operations {
        &self.operations
    }

    /// The rules.
    pub(super) fn pack(&self) -> &guard::Pack {
        self.scanner.pack()
    }

    /// Who looks into the trees while others read them, and remembers what was clean.
    pub(super) fn examiner<'e>(&'e self, directory: &'e Path, mac: &'e MacFn<'e>) -> Examiner<'e> {
        let policy = &self.context.policy.policy;
        let memory = Memory::new(directory, (self.rules.sha256, policy), mac);
        Examiner::new((&self.scanner, policy), memory, self.context.progress)
    }

    /// What guard makes of operations that the policy refuses, or says something about.
    ///
    /// # Errors
    /// A baseline that cannot be used.
    pub(super) fn judge_refused(&self, refused: &[guard::Found]) -> Result<Vec<Finding>, Failure> {
        let request = self.request(&[], None, refused);
        let evaluation = guard::evaluate(&request).map_err(verb::failure)?;
        Ok(evaluation.findings)
    }

    /// Looks at the trees, and at what their snapshot has of whatever is found. What an examiner and a watch
    /// have seen is not looked at again.
    ///
    /// # Errors
    /// What keeps guard from looking.
    pub(super) fn look(
        &self,
        (targets, snapshot): (&[PathBuf], &str),
        (examiner, watch): (Option<&Examiner<'_>>, Option<&Watch>),
    ) -> Result<Looked, Failure> {
        let there: Vec<PathBuf> = targets.iter().filter(|one| one.exists()).cloned().collect();
        let taken: Vec<_> = there.iter().map(|one| watch?.whole(one)).collect();
        let request = Request {
            examiner,
            taken: &taken,
            ..self.request(&there, self.kept.as_ref(), &[])
        };
        let mut evaluation = guard::evaluate(&request).map_err(verb::failure)?;
        let memory = examiner.map(verb::remembered);
        evaluation.findings.extend(memory.unwrap_or_default());
        let violations = violations(&evaluation.findings);
        let redactor = evaluation.redactor.clone();
        let report = guard_report::report(
            evaluation,
            guard_report::Told {
                request: &request,
                rules: self.rules.clone(),
                operations: guard_report::OperationsSection::default(),
                fail_on: None,
            },
        );
        let known = match violations.is_empty() {
            true => BTreeSet::new(),
            false => self.known_before((targets, snapshot), &violations)?,
        };
        let is_known = |one: &Finding| key(targets, one).is_some_and(|key| known.contains(&key));
        let (before, new) = violations.into_iter().partition(is_known);
        Ok(Looked {
            report,
            new,
            before,
            redactor,
        })
    }

    /// What guard finds in the snapshot's copies of the files in which something was found now.
    fn known_before(
        &self,
        (targets, snapshot): (&[PathBuf], &str),
        found: &[Finding],
    ) -> Result<BTreeSet<Key>, Failure> {
        let places: BTreeSet<(usize, String)> = found
            .iter()
            .filter_map(|one| key(targets, one))
            .map(|(tree, below, ..)| (tree, below))
            .collect();
        let wanted = |tree: usize, path: &RelPath| {
            let shown = naming::below("", path);
            places.contains(&(tree, shown.trim_start_matches('/').to_owned()))
        };
        let scan = |trees: &[PathBuf]| {
            let request = self.request(trees, None, &[]);
            let evaluation = guard::evaluate(&request).map_err(verb::failure)?;
            let found = violations(&evaluation.findings);
            let keys = found.iter().filter_map(|one| key(trees, one));
            Ok::<BTreeSet<Key>, Failure>(keys.collect())
        };
        let place = Place {
            state_dir: &self.context.state_dir,
            keyring: Some(self.context.keyring()?),
            progress: self.context.progress,
            keepers: &[],
        };
        rollback::lend(place, (snapshot, &wanted), scan).map_err(super::rollback::failure)?
    }

    /// How guard looks at trees.
    pub(super) fn request<'r>(
        &'r self,
        targets: &'r [PathBuf],
        kept: Option<&'r Kept>,
        refused: &'r [guard::Found],
    ) -> Request<'r> {
        let policy = &self.context.policy.policy;
        Request {
            targets,
            tracked: None,
            policy,
            scanner: &self.scanner,
            progress: self.context.progress,
            state_dir: &self.context.state_dir,
            examiner: None,
            taken: &[],
            terms: Terms {
                enforcement: Enforcement::new(policy.policy_guard.enforcement_level, None),
                operations: &self.operations,
                salt: Some(&self.salt),
                baseline: kept.map(|kept| BaselineUse {
                    baseline: &kept.baseline,
                    path: &kept.path,
                    update: None,
                }),
                now: self.context.started_at,
                shows_secrets: false,
            },
            refused,
        }
    }
}

/// What is in trees themselves, at the level that the policy enforces.
fn violations(found: &[Finding]) -> Vec<Finding> {
    let is_open = |detail: &crate::report::Detail| detail.state == State::Open;
    let counts = |one: &&Finding| {
        one.verdict == Verdict::Violation
            && IN_TREES.contains(&one.code)
            && one.detail.as_deref().is_none_or(is_open)
    };
    found.iter().filter(counts).cloned().collect()
}

/// `None` for what is about no file of the trees.
fn key(trees: &[PathBuf], finding: &Finding) -> Option<Key> {
    let path = finding.path.as_deref()?;
    let below = |tree: &PathBuf| path.strip_prefix(&naming::shown(tree)).map(str::to_owned);
    let mut places = trees.iter().map(below).enumerate();
    let (tree, below) = places.find_map(|(tree, below)| Some((tree, below?)))?;
    let detail = finding.detail.as_deref()?;
    // What has no value is told apart by its place, which is another one in the other copy.
    let value = detail.redacted.is_some();
    let fingerprint = detail.fingerprint.clone().filter(|_| value);
    Some((
        tree,
        below.trim_start_matches('/').to_owned(),
        detail.member.clone(),
        detail.rule_id.clone(),
        fingerprint,
    ))
}
