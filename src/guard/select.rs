//! Which rules count: the shipped ones, those of the user's files, without the disabled ones. Owns
//! how a rule is named and what is said to who misspells one.

use std::collections::BTreeSet;

use super::pack;
use super::rule::{LoadError, Pack, Rule};
use super::suppress::names;
use crate::base::digest::{Digest, Hasher};

/// How alike two names have to be for one to be a slip of the other (Jaro-Winkler, 0 to 1).
const LIKENESS_MIN: f64 = 0.85;

/// A file of rules that a user brings.
#[derive(Clone, Debug)]
pub struct RuleFile {
    /// Its path, for messages.
    pub shown: String,
    /// What it says.
    pub text: String,
    /// Whether somebody vouches for it: it was named by a person, or by a policy that was.
    pub is_trusted: bool,
}

/// The rules that count, and what they were made of.
#[derive(Debug)]
pub struct Selection {
    /// The rules.
    pub pack: Pack,
    /// SHA-256 over the text of every file of rules.
    pub sha256: Digest,
    /// How many rules and checks were disabled.
    pub disabled: u64,
}

/// Why rules cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SelectError {
    /// The shipped rules do not load, which a test rules out.
    #[error("cannot use the shipped rules")]
    Shipped(#[source] LoadError),
    /// A file of rules does not load, or its rules do not do what their examples say.
    #[error("cannot use the rules of `{shown}`")]
    File {
        /// Its path.
        shown: String,
        /// Every problem.
        #[source]
        source: LoadError,
    },
    /// `policy_guard.disabled_rules` names something that is not there.
    #[error("`policy_guard.disabled_rules` names `{name}`, which is no rule and no family")]
    Unknown {
        /// What it names.
        name: String,
        /// What it may mean.
        likely: Option<String>,
    },
}

/// Loads the rules: shipped ones, then the files, checked with all their examples, then without
/// those that are disabled by identifier, family or `family.*`.
///
/// # Errors
/// The first file that cannot be used, with all its problems; a name that nothing has.
pub fn select(files: &[RuleFile], disabled: &[String]) -> Result<Selection, SelectError> {
    let mut pack = pack::bare().map_err(SelectError::Shipped)?;
    let mut hasher = Hasher::default();
    for text in [pack::TEXT]
        .into_iter()
        .chain(files.iter().map(|file| &*file.text))
    {
        hasher.update(&(text.len() as u64).to_be_bytes());
        hasher.update(text.as_bytes());
    }
    for file in files {
        let failed = |source| {
            let shown = file.shown.clone();
            SelectError::File { shown, source }
        };
        add_checked(&mut pack, file).map_err(failed)?;
    }
    let count = pack.disable(disabled)?;
    let sha256 = hasher.finish();
    Ok(Selection {
        pack,
        sha256,
        disabled: count,
    })
}

/// Adds the rules of a file that nobody has tested yet. Those that nobody vouches for may add
/// findings and never take the place of one.
fn add_checked(pack: &mut Pack, file: &RuleFile) -> Result<(), LoadError> {
    let known: BTreeSet<String> = pack.rules.iter().map(|rule| rule.id.clone()).collect();
    pack.add(&file.text)?;
    let mut problems = Vec::new();
    let own = pack.rules.iter_mut();
    for rule in own.filter(|rule| !known.contains(&rule.id)) {
        rule.yields = !file.is_trusted;
        match rule.pattern_problems() {
            none if none.is_empty() => problems.extend(rule.trials()),
            some => problems.extend(some),
        }
    }
    match problems.is_empty() {
        true => Ok(()),
        false => Err(LoadError { problems }),
    }
}

impl Pack {
    /// The identifiers of all rules and checks, sorted.
    pub fn ids(&self) -> BTreeSet<&str> {
        let rules = self.rules.iter().map(|rule| rule.id.as_str());
        rules
            .chain(self.checks.keys().map(String::as_str))
            .collect()
    }

    /// Adds rules that were made from a policy.
    pub fn extend(&mut self, rules: Vec<Rule>) {
        self.rules.extend(rules);
        self.rules.sort_by(|a, b| a.id.cmp(&b.id));
    }

    /// Whether a name is that of a rule, a check, or a family (with or without `.*`).
    pub fn knows(&self, name: &str) -> bool {
        self.ids().into_iter().any(|id| names(name, id))
    }

    /// The identifier or family that somebody may have meant.
    pub fn nearest(&self, name: &str) -> Option<String> {
        let ids = self.ids();
        let families = ids.iter().filter_map(|id| Some(id.split_once('.')?.0));
        let all: BTreeSet<&str> = ids.iter().copied().chain(families).collect();
        let likeness = |known: &str| strsim::jaro_winkler(name, known);
        let best = all
            .into_iter()
            .map(|known| (likeness(known), known))
            .filter(|(likeness, _)| *likeness >= LIKENESS_MIN)
            .max_by(|a, b| a.0.total_cmp(&b.0))?;
        Some(best.1.to_owned())
    }

    /// Takes out rules and checks by name, and says how many. A rule that another one wants near
    /// still looks and reports nothing.
    fn disable(&mut self, disabled: &[String]) -> Result<u64, SelectError> {
        if let Some(name) = disabled.iter().find(|name| !self.knows(name)) {
            let (name, likely) = (name.clone(), self.nearest(name));
            return Err(SelectError::Unknown { name, likely });
        }
        let is_out = |id: &str| disabled.iter().any(|name| names(name, id));
        let before = self.rules.len() + self.checks.len();
        self.checks.retain(|id, _| !is_out(id));
        let wanted: BTreeSet<String> = self
            .rules
            .iter()
            .filter(|rule| !is_out(&rule.id))
            .flat_map(|rule| rule.near.iter().map(|near| near.rule.clone()))
            .collect();
        let mut silenced = 0;
        self.rules.retain_mut(|rule| {
            let is_out = is_out(&rule.id);
            let stays = is_out && wanted.contains(&rule.id);
            silenced += usize::from(stays);
            rule.companion |= stays;
            !is_out || stays
        });
        let after = self.rules.len() + self.checks.len() - silenced;
        Ok((before - after) as u64)
    }
}
