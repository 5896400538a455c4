//! Parts made one whole: every shard exactly once, all of one run. Pure; independent of the order in which the
//! parts are given.

use super::{Clean, Head, Part, Suspect};
use crate::inventory::{Inventory, Problem};

/// What all shards together have found out.
#[derive(Clone, Debug, PartialEq)]
pub struct Whole {
    /// What it is about; shard, `owned` and `clean` are those of the first shard.
    pub head: Head,
    /// Every entry of the walk that has no problem; empty for `guard`.
    pub inventory: Inventory,
    /// What could not be read.
    pub problems: Vec<Problem>,
    /// Entries in which a scan has met with something, sorted.
    pub suspects: Vec<Suspect>,
    /// What was scanned without meeting anything.
    pub clean: Clean,
}

/// Why parts do not make one whole.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct JoinError {
    /// The part, as it was named; `None` where it is about none of them.
    pub part: Option<String>,
    /// What is wrong, a lower-case fragment.
    pub text: String,
    /// What to do; may be empty.
    pub hint: &'static str,
}

/// Joins parts, each with its file as it was named; not empty.
///
/// # Errors
/// Everything that is wrong, at least one thing.
pub fn join(mut parts: Vec<(String, Part)>) -> Result<Whole, Vec<JoinError>> {
    parts.sort_by(|a, b| (a.1.head.shard, &a.0).cmp(&(b.1.head.shard, &b.0)));
    let Some((name, first)) = parts.first() else {
        return Err(vec![wrong(None, "there is no part".into(), "")]);
    };
    let mut errors = Vec::new();
    for (other, part) in &parts[1..] {
        errors.extend(differences((name, &first.head), (other, &part.head)));
    }
    if errors.is_empty() {
        errors.extend(not_once(&parts));
    }
    if errors.is_empty() {
        errors.extend(not_all(&parts));
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let mut whole = Whole {
        head: first.head.clone(),
        inventory: Inventory::default(),
        problems: Vec::new(),
        suspects: Vec::new(),
        clean: Clean::default(),
    };
    let mut entries = Vec::new();
    for (_, part) in parts {
        entries.extend(part.entries);
        whole.problems.extend(part.problems);
        whole.suspects.extend(part.suspects);
        whole.clean.add(&part.head.clean.unwrap_or_default());
    }
    whole.problems.sort_by(|a, b| a.path.cmp(&b.path));
    whole.suspects.sort();
    // Each part lists a path once, and no two shards own the same.
    let inventory = Inventory::from_entries(entries);
    whole.inventory = inventory.map_err(|error| vec![wrong(None, error.to_string(), "")])?;
    Ok(whole)
}

fn wrong(part: Option<&String>, text: String, hint: &'static str) -> JoinError {
    let part = part.cloned();
    JoinError { part, text, hint }
}

/// In what a part is not of the same run as another one.
fn differences(
    (name, head): (&String, &Head),
    (other_name, other): (&String, &Head),
) -> Vec<JoinError> {
    let same = "run all shards anew with the same program, policy and flags";
    let text = |what: &str| format!("{what} than in `{name}`");
    let sha256 = |head: &Head| head.policy.clone();
    let all = [
        (head.verb != other.verb, text("another command"), same),
        (
            head.tool_version != other.tool_version,
            text("another version of the program"),
            same,
        ),
        (sha256(head) != sha256(other), text("another policy"), same),
        (
            head.rules_sha256 != other.rules_sha256,
            text("other rules"),
            same,
        ),
        (head.asked != other.asked, text("other flags"), same),
        (
            head.shard.count() != other.shard.count(),
            text("another number of shards"),
            same,
        ),
        (
            head.manifest_sha256 != other.manifest_sha256,
            text("another manifest"),
            same,
        ),
        (
            head.asked == other.asked && head.walk != other.walk,
            format!(
                "it saw another tree than `{name}` did: the tree changed between the shards, or is another one there"
            ),
            "keep the tree still and the parts out of it; where each host has its own copy, set `SOURCE_DATE_EPOCH` for `sign`",
        ),
    ];
    let wrong_ones = all.into_iter().filter(|(differs, ..)| *differs);
    wrong_ones
        .map(|(_, text, hint)| wrong(Some(other_name), text, hint))
        .collect()
}

/// Shards that come twice.
fn not_once(parts: &[(String, Part)]) -> Vec<JoinError> {
    let pairs = parts
        .windows(2)
        .filter(|pair| pair[0].1.head.shard == pair[1].1.head.shard);
    let twice = pairs.map(|pair| {
        let text = format!(
            "it is shard {}, as `{}` is",
            pair[1].1.head.shard, pair[0].0
        );
        wrong(Some(&pair[1].0), text, "give each shard's part once")
    });
    twice.collect()
}

/// Shards that are missing, or whose entries do not add up to what all of them saw.
fn not_all(parts: &[(String, Part)]) -> Option<JoinError> {
    let head = &parts.first()?.1.head;
    let count = head.shard.count();
    let there: Vec<u32> = parts
        .iter()
        .map(|(_, part)| part.head.shard.index())
        .collect();
    let missing: Vec<u32> = (1..=count).filter(|index| !there.contains(index)).collect();
    if !missing.is_empty() {
        let named = missing.iter().take(10).map(u32::to_string);
        let mut named = named.collect::<Vec<_>>().join(", ");
        if missing.len() > 10 {
            named.push_str(&format!(" and {} more", missing.len() - 10));
        }
        let text = format!(
            "of {count} shards {} missing: {named}",
            if missing.len() == 1 {
                "one is"
            } else {
                "some are"
            }
        );
        return Some(wrong(None, text, "run those shards, then merge again"));
    }
    let owned: u64 = parts
        .iter()
        .map(|(_, part)| part.head.owned)
        .fold(0, u64::saturating_add);
    (owned != head.walk.entries).then(|| {
        let text = format!(
            "the parts account for {owned} entries of {}",
            head.walk.entries
        );
        wrong(None, text, "run all shards anew")
    })
}
