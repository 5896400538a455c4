//! Keeping a process from writing where it may not, with Landlock (Linux from 5.13 on).
//!
//! Landlock grants; it takes nothing away. So a process that may write everywhere but in some parts of one
//! directory is granted what lies beside the way to that directory, and within it the parts that are allowed.
//! What is not governed: reading, and changing modes, owners, times and attributes.

use std::io;
use std::path::{Path, PathBuf};

/// Where a process may write: outside of `within`, and in it only in the parts that are allowed.
#[derive(Clone, Copy, Debug)]
pub struct Confine<'a> {
    /// An absolute path without links.
    pub within: &'a Path,
    /// Absolute paths, each with what lies below it; what is not there is passed over.
    pub writable: &'a [PathBuf],
}

impl Confine<'_> {
    /// Confines this process, and all that it becomes and starts, for good.
    ///
    /// # Errors
    /// A system that does not enforce it; then nothing is confined.
    #[cfg(target_os = "linux")]
    pub(super) fn apply(&self) -> io::Result<()> {
        use landlock::{
            AccessFs, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetCreatedAttr,
            path_beneath_rules,
        };
        let mut places = beside(self.within)?;
        places.extend_from_slice(self.writable);
        places.retain(|place| place.exists());
        let rights = AccessFs::from_write(ABI);
        let apply = || {
            Ruleset::default()
                .set_compatibility(CompatLevel::HardRequirement)
                .handle_access(rights)?
                .create()?
                // A file is granted less than a directory, which is no compromise.
                .set_compatibility(CompatLevel::BestEffort)
                .add_rules(path_beneath_rules(&places, rights))?
                .restrict_self()
        };
        apply().map(|_| ()).map_err(io::Error::other)
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn apply(&self) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// The first version that governs truncating too (Linux 6.2).
#[cfg(target_os = "linux")]
const ABI: landlock::ABI = landlock::ABI::V3;

/// Whether this system can confine.
#[cfg(target_os = "linux")]
pub fn can_confine() -> bool {
    use landlock::{AccessFs, CompatLevel, Compatible, Ruleset, RulesetAttr};
    let ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_write(ABI))
        .map(Ruleset::create);
    matches!(ruleset, Ok(Ok(_)))
}

/// Whether this system can confine.
#[cfg(not(target_os = "linux"))]
pub fn can_confine() -> bool {
    false
}

/// Everything that lies beside the way from the root to a directory. No links: what they lead to lies beside it
/// as well, or below it, where a grant would undo what is forbidden.
#[cfg(target_os = "linux")]
fn beside(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut places = Vec::new();
    let mut way = directory;
    while let Some(parent) = way.parent() {
        for entry in std::fs::read_dir(parent)? {
            let entry = entry?;
            let path = entry.path();
            if path != way && !entry.file_type()?.is_symlink() {
                places.push(path);
            }
        }
        way = parent;
    }
    Ok(places)
}

#[cfg(all(test, target_os = "linux"))]
#[expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use super::*;

    #[test]
    fn what_lies_beside_the_way_leaves_the_way_itself_out() {
        let folder = tempfile::tempdir().unwrap();
        let top = folder.path().canonicalize().unwrap();
        let inner = top.join("a/b");
        std::fs::create_dir_all(&inner).unwrap();
        std::fs::write(top.join("a/file"), "").unwrap();
        std::os::unix::fs::symlink("a/b", top.join("link")).unwrap();
        std::fs::create_dir(top.join("other")).unwrap();
        let places = beside(&inner).unwrap();
        for wanted in [top.join("a/file"), top.join("other")] {
            assert!(places.contains(&wanted), "{}", wanted.display());
        }
        let leads_in = |place: &PathBuf| inner.starts_with(place);
        assert!(!places.iter().any(leads_in));
        assert!(!places.contains(&top.join("link")));
        assert!(places.contains(&PathBuf::from("/dev")));
    }
}
