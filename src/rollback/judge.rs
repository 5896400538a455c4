//! What a governed command did to its trees that counts against it, told from the snapshot and the
//! trees as they are now: content that broke, and rights that appeared. Knows no command.

use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::error::RollbackError;
use super::objects::Wanted;
use super::plan::{self, Aspect, Difference};
use super::snapshot::Target;
use super::store::Store;
use super::watch::Watch;
use super::{restore, save};
use crate::base::beneath::Root;
use crate::base::relpath::RelPath;
use crate::inventory::{Details, Entry, Globs, Symlink};
use crate::policy::FailurePattern;
use crate::report::{Finding, codes};

/// JSON above this size is not parsed.
const JSON_BYTES_MAX: u64 = 64 << 20;
/// So many bytes of nothing at the end of a file are no end of its content: a sector.
const TAIL_BYTES: u64 = 512;
/// Rights that no entry gains unnoticed: writing for group or others.
const RIGHTS: u32 = 0o0022;
/// And no file: acting as its owner or group. A directory hands its group down, and no right.
const RIGHTS_OF_FILES: u32 = 0o6000;

/// What counts.
pub(super) struct Request<'a> {
    /// Paths that the command may change; without patterns: all.
    pub(super) allow_change: &'a Globs,
    /// What the policy looks for.
    pub(super) patterns: &'a [FailurePattern],
    /// The trees, where somebody has just looked at them.
    pub(super) watch: Option<&'a Watch>,
}

/// Everything that counts against whoever had the trees since the snapshot was taken.
pub(super) fn judge(
    store: &Store<'_>,
    snapshot: &str,
    request: &Request<'_>,
) -> Result<Vec<Finding>, RollbackError> {
    let (snapshot, _) = store.load(snapshot)?;
    let looks_for = |pattern| request.patterns.contains(&pattern);
    let mut findings = Vec::new();
    for before in &snapshot.targets {
        if !before.path.is_dir() {
            if looks_for(FailurePattern::DataCorruption) {
                let text = "the whole tree is gone";
                findings.push(Finding::new(&codes::RUN_DATA_CORRUPTION, text).at(&*before.name));
            }
            continue;
        }
        let now = match request.watch.and_then(|watch| watch.seen(&before.path)) {
            Some(seen) => Cow::Borrowed(seen),
            None => Cow::Owned(restore::known_present(store, before)?),
        };
        let passed_over = [&before.incomplete[..], &now.incomplete[..]].concat();
        let trees = Trees { before, now: &now };
        for difference in plan::differences(before, &now, &passed_over) {
            if looks_for(FailurePattern::DataCorruption) {
                findings.extend(trees.forbidden(&difference, request.allow_change));
                findings.extend(trees.broken(store, &difference)?);
            }
            if looks_for(FailurePattern::SecurityViolation) {
                findings.extend(trees.opened(&difference));
            }
        }
    }
    Ok(findings)
}

/// One target, then and now.
struct Trees<'a> {
    before: &'a Target,
    now: &'a Target,
}

impl Trees<'_> {
    fn finding(
        &self,
        code: &'static crate::report::Code,
        (path, text): (Option<&RelPath>, String),
    ) -> Finding {
        Finding::new(code, text).at(save::below(&self.before.name, path))
    }

    /// A change where the command may change nothing.
    fn forbidden(&self, difference: &Difference, allowed: &Globs) -> Option<Finding> {
        // A directory's time changes with what may change in it.
        let counts = difference
            .aspects
            .iter()
            .any(|aspect| *aspect != Aspect::Time);
        let is_allowed = |path: &RelPath| allowed.excludes(path);
        let path = difference.path.as_ref();
        if allowed.patterns().is_empty() || !counts || path.is_some_and(is_allowed) {
            return None;
        }
        let words: Vec<&str> = difference
            .aspects
            .iter()
            .map(|aspect| aspect.word())
            .collect();
        let text = format!("changed, and the command might not: {}", words.join(", "));
        Some(self.finding(&codes::RUN_DATA_CORRUPTION, (path, text)))
    }

    /// Content that broke, wherever it is: what no command means to do.
    fn broken(
        &self,
        store: &Store<'_>,
        difference: &Difference,
    ) -> Result<Option<Finding>, RollbackError> {
        let Some(path) = &difference.path else {
            return Ok(None);
        };
        let (Some((Entry::File(old), _)), Some((Entry::File(new), _))) =
            (self.before.find(path), self.now.find(path))
        else {
            return Ok(None);
        };
        if !difference.aspects.contains(&Aspect::Content) || old.size_bytes == 0 {
            return Ok(None);
        }
        let told = |text: String| {
            Ok(Some(
                self.finding(&codes::RUN_DATA_CORRUPTION, (Some(path), text)),
            ))
        };
        if new.size_bytes == 0 {
            return told(format!("had {} bytes and is empty", old.size_bytes));
        }
        let wanted = Wanted {
            digest: old.sha256,
            size_bytes: old.size_bytes,
        };
        let open = || Root::open(&self.now.path)?.open_file(path);
        // What goes away while it is looked at is another's business.
        let Ok(file) = open().map(File::from) else {
            return Ok(None);
        };
        if ends_in_nothing(&tail(&file, new.size_bytes).unwrap_or_default()) {
            let old_tail = tail_of_object(store, &wanted)?;
            if !ends_in_nothing(&old_tail) {
                return told("ends in zero bytes, which it did not".to_owned());
            }
        }
        let is_json = path.as_bytes().to_ascii_lowercase().ends_with(b".json");
        if is_json && old.size_bytes.max(new.size_bytes) <= JSON_BYTES_MAX {
            let mut bytes = vec![0; usize::try_from(new.size_bytes).unwrap_or(0)];
            let parses = |bytes: &[u8]| {
                serde_json::from_slice::<serde::de::IgnoredAny>(bytes).map_err(|e| e.to_string())
            };
            if file.read_exact_at(&mut bytes, 0).is_ok()
                && let Err(reason) = parses(&bytes)
                && parses(&object(store, &wanted)?).is_ok()
            {
                return told(format!("was JSON and is none: {reason}"));
            }
        }
        Ok(None)
    }

    /// Rights that were not there: modes, and links that lead out of the tree.
    fn opened(&self, difference: &Difference) -> Option<Finding> {
        let path = difference.path.as_ref();
        let (old, new, rights) = match path {
            None => (Some(&self.before.root), &self.now.root, RIGHTS),
            Some(path) => {
                let old = self.before.find(path);
                let (entry, details) = self.now.find(path)?;
                if let Entry::Symlink(link) = entry {
                    let was = match old {
                        Some((Entry::Symlink(was), _)) => Some(was),
                        _ => None,
                    };
                    return self.leads_out(path, (was, link));
                }
                let rights = match entry {
                    Entry::File(_) => RIGHTS | RIGHTS_OF_FILES,
                    _ => RIGHTS,
                };
                (old.map(|(_, details)| details), details, rights)
            }
        };
        // What is new may be the group's, as many a user mask has it.
        let gained = new.mode & !old.map_or(0o0020, |old| old.mode) & rights;
        // Everybody may write into a directory in which nobody touches what is another's.
        let is_shared = new.mode & 0o1000 != 0 && gained == 0o0002;
        if gained == 0 || is_shared {
            return None;
        }
        let was = old.map_or("is new".to_owned(), |old: &Details| {
            format!("was {:04o}", old.mode)
        });
        let text = format!("its mode is {:04o} and {was}", new.mode);
        Some(self.finding(&codes::RUN_SECURITY_VIOLATION, (path, text)))
    }

    fn leads_out(
        &self,
        path: &RelPath,
        (was, link): (Option<&Symlink>, &Symlink),
    ) -> Option<Finding> {
        let same = was.is_some_and(|was| was.target == link.target);
        if same || stays_within(path, &link.target) {
            return None;
        }
        let text = "it is a link that leads out of the tree, and was none".to_owned();
        Some(self.finding(&codes::RUN_SECURITY_VIOLATION, (Some(path), text)))
    }
}

/// Whether a link, by its words alone, leads to something in its own tree.
fn stays_within(path: &RelPath, target: &[u8]) -> bool {
    if target.starts_with(b"/") {
        return false;
    }
    let mut depth = path.as_bytes().iter().filter(|byte| **byte == b'/').count();
    for part in target.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." if depth == 0 => return false,
            b".." => depth -= 1,
            _ => depth += 1,
        }
    }
    true
}

/// The last bytes of a file of that size.
fn tail(file: &File, size_bytes: u64) -> io::Result<Vec<u8>> {
    let length = size_bytes.min(TAIL_BYTES);
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    file.read_exact_at(&mut bytes, size_bytes - length)?;
    Ok(bytes)
}

fn ends_in_nothing(tail: &[u8]) -> bool {
    !tail.is_empty() && tail.iter().all(|byte| *byte == 0)
}

/// The last bytes of an object.
fn tail_of_object(store: &Store<'_>, wanted: &Wanted) -> Result<Vec<u8>, RollbackError> {
    let kept = usize::try_from(TAIL_BYTES).unwrap_or(0);
    let mut tail = Vec::new();
    let mut keep = |chunk: &[u8]| {
        tail.extend_from_slice(chunk);
        tail.drain(..tail.len().saturating_sub(kept));
    };
    store.read(wanted, &mut keep)?;
    Ok(tail)
}

fn object(store: &Store<'_>, wanted: &Wanted) -> Result<Vec<u8>, RollbackError> {
    let mut bytes = Vec::new();
    store.read(wanted, &mut |chunk| bytes.extend_from_slice(chunk))?;
    Ok(bytes)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use super::*;

    #[test]
    fn a_link_stays_within_its_tree_or_leads_out_of_it() {
        for (path, target, expected) in [
            ("a", "b", true),
            ("a", "./b/../c", true),
            ("a", "..", false),
            ("d/a", "../b", true),
            ("d/a", "../../b", false),
            ("d/a", "x/../../../b", false),
            ("d/a", "/etc/passwd", false),
        ] {
            let path = RelPath::parse(path.as_bytes()).unwrap();
            assert_eq!(stays_within(&path, target.as_bytes()), expected, "{target}");
        }
    }
}
