//! What guard finds in the trees of a governed command and did not find in their snapshot.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::act;
use crate::base::naming;
use crate::cli::failure::{Failure, Kind};
use crate::cli::guard as verb;
use crate::cli::kept::{self, Kept, Wanted};
use crate::cli::spine::Context;
use crate::guard::{
    self, BaselineUse, Enforcement, Operations, Request, Salt, Scanner, Selection, Terms,
};
use crate::policy::FailurePattern;
use crate::report::{Code, Explanation, Finding, State, Verdict, codes};
use crate::rollback;

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
    operations: Operations,
    kept: Option<Kept>,
    salt: Salt,
}

impl<'a> Scan<'a> {
    /// Guard, made ready; `None` where the policy does not look for what it finds.
    ///
    /// # Errors
    /// Rules or a baseline that cannot be used.
    pub(super) fn wanted(context: &'a Context<'a>) -> Result<Option<Self>, Failure> {
        let patterns = &context
            .policy
            .policy
            .rollback_playbook
            .critical_failure_patterns;
        let is_wanted = patterns.contains(&FailurePattern::SecurityViolation);
        is_wanted.then(|| Self::new(context)).transpose()
    }

    fn new(context: &'a Context<'a>) -> Result<Self, Failure> {
        let Selection { mut pack, .. } = verb::select(&[], context.policy)?;
        let policy = &context.policy.policy.policy_guard;
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
            operations,
            kept,
            salt,
        })
    }

    /// Violations that the trees have now and their snapshot had not, and what stands behind them.
    ///
    /// # Errors
    /// What keeps guard from looking.
    pub(super) fn new_ones(
        &self,
        (targets, snapshot): (&[PathBuf], &str),
    ) -> Result<(Vec<Finding>, impl Iterator<Item = (String, Explanation)>), Failure> {
        let mut found = self.violations(targets, self.kept.as_ref())?;
        if !found.is_empty() {
            let place = act::place(self.context)?;
            let scan = |trees: &[PathBuf]| {
                let found = self.violations(trees, None)?;
                let keys = found.iter().filter_map(|one| key(trees, one));
                Ok::<BTreeSet<Key>, Failure>(keys.collect())
            };
            let known = rollback::lend(place, snapshot, scan).map_err(act::failure)??;
            found.retain(|one| key(targets, one).is_none_or(|key| !known.contains(&key)));
        }
        let behind = guard::behind(self.scanner.pack(), &found);
        Ok((found, behind.into_iter()))
    }

    /// What guard finds at the level that the policy enforces.
    fn violations(
        &self,
        targets: &[PathBuf],
        kept: Option<&Kept>,
    ) -> Result<Vec<Finding>, Failure> {
        let policy = &self.context.policy.policy;
        let there: Vec<PathBuf> = targets.iter().filter(|one| one.exists()).cloned().collect();
        let evaluation = guard::evaluate(&Request {
            targets: &there,
            tracked: None,
            policy,
            scanner: &self.scanner,
            progress: self.context.progress,
            state_dir: &self.context.state_dir,
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
            refused: &[],
        });
        let mut found = evaluation.map_err(verb::failure)?.findings;
        found.retain(|one| {
            let is_open = |detail: &crate::report::Detail| detail.state == State::Open;
            one.verdict == Verdict::Violation
                && IN_TREES.contains(&one.code)
                && one.detail.as_deref().is_none_or(is_open)
        });
        Ok(found)
    }
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
