//! How much work a tree is: files, bytes, the largest file, bytes by type. Reads no file.

use std::collections::BTreeMap;
use std::path::Path;

use crate::base::beneath::Root;
use crate::base::naming;
use crate::base::relpath::RelPath;
use crate::history::Workload;
use crate::inventory::{self, Entry, Globs, Inventory, Kind, Progress, TakeError};

/// How many types are told apart: those with the most bytes.
const TYPES_MAX: usize = 24;
/// Bytes of an extension that is one.
const TYPE_BYTES_MAX: usize = 16;

/// Which trees are weighed.
pub struct WeighRequest<'a> {
    /// The trees; each counts for itself.
    pub targets: &'a [&'a Path],
    /// Left out of every tree that it lies in.
    pub state_dir: &'a Path,
    /// Where to tell how far the work is, and where to look whether to stop.
    pub progress: &'a Progress,
}

/// Trees and their weight.
#[derive(Clone, Debug, Default)]
pub struct Weighed {
    /// All trees together.
    pub workload: Workload,
    /// Every regular file with its bytes, in the order of the trees and their paths.
    pub files: Vec<(String, u64)>,
    /// What could not be looked at; it weighs nothing.
    pub unreadable: Vec<String>,
}

/// Why there is no weight.
#[derive(Debug, thiserror::Error)]
pub enum WeighError {
    /// A tree cannot be opened, or somebody interrupted.
    #[error(transparent)]
    Take(#[from] TakeError),
}

/// Weighs trees by a walk.
///
/// # Errors
/// A tree that cannot be opened, and an interruption. What cannot be looked at within is listed.
pub fn weigh(request: &WeighRequest<'_>) -> Result<Weighed, WeighError> {
    let mut weighed = Weighed::default();
    for target in request.targets {
        weigh_one(request, target, &mut weighed)?;
    }
    let files = weighed.files.iter();
    weighed.workload = workload_of(files.map(|(path, bytes)| (path.as_str(), *bytes)));
    Ok(weighed)
}

/// Weighs trees that somebody has looked at, by their names.
pub fn weigh_known<'a>(trees: impl Iterator<Item = (&'a str, &'a Inventory)>) -> Weighed {
    let mut weighed = Weighed::default();
    for (name, inventory) in trees {
        let files = inventory.iter().filter_map(|(path, entry)| match entry {
            Entry::File(file) => Some((naming::below(name, path), file.size_bytes)),
            _ => None,
        });
        weighed.files.extend(files);
    }
    let files = weighed.files.iter();
    weighed.workload = workload_of(files.map(|(path, bytes)| (path.as_str(), *bytes)));
    weighed
}

fn weigh_one(
    request: &WeighRequest<'_>,
    target: &Path,
    weighed: &mut Weighed,
) -> Result<(), WeighError> {
    let exempt: Vec<RelPath> = naming::path_within(target, request.state_dir)
        .into_iter()
        .collect();
    let listing = inventory::list(&inventory::Request {
        root: target,
        excludes: &Globs::default(),
        exempt: &exempt,
        expected: None,
        progress: request.progress,
    })?;
    let root = Root::open(target).map_err(|source| TakeError::Open {
        path: target.to_owned(),
        source,
    })?;
    let shown = naming::shown(target);
    for problem in listing.problems {
        let path = problem.path.map(|path| naming::below(&shown, &path));
        weighed
            .unreadable
            .push(path.unwrap_or_else(|| shown.clone()));
    }
    let files = listing.names.iter().filter(|(_, kind)| *kind == Kind::File);
    for (path, _) in files {
        let name = naming::below(&shown, path);
        match root.stat(path) {
            Ok(stat) => weighed
                .files
                .push((name, u64::try_from(stat.st_size).unwrap_or(0))),
            Err(_) => weighed.unreadable.push(name),
        }
    }
    Ok(())
}

/// The weight of files by their paths and bytes.
pub(super) fn workload_of<'a>(files: impl Iterator<Item = (&'a str, u64)>) -> Workload {
    let mut workload = Workload::default();
    let mut types: BTreeMap<String, u64> = BTreeMap::new();
    let mut largest = None;
    for (path, bytes) in files {
        workload.files += 1;
        workload.bytes = workload.bytes.saturating_add(bytes);
        largest = largest.max(Some(bytes));
        let of_type = types.entry(type_of(path)).or_default();
        *of_type = of_type.saturating_add(bytes);
    }
    let mut types: Vec<(String, u64)> = types.into_iter().collect();
    types.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    types.truncate(TYPES_MAX);
    workload.largest_bytes = largest;
    workload.types = types.into_iter().collect();
    workload
}

/// The extension in lower case without its dot; empty for none, and for what is hardly one.
fn type_of(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or(path);
    let extension = match name.rsplit_once('.') {
        Some((stem, extension)) if !stem.is_empty() => extension,
        _ => "",
    };
    match extension.len() <= TYPE_BYTES_MAX {
        true => extension.to_lowercase(),
        false => String::new(),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use super::*;

    #[test]
    fn weighs_trees_by_files_bytes_and_types_and_leaves_the_state_out() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for (name, bytes) in [
            ("a/x.PNG", 10),
            ("a/b/y.png", 30),
            ("a/.hidden", 5),
            ("a/.agp/log", 99),
            ("c/z", 1),
        ] {
            std::fs::create_dir_all(at(name).parent().unwrap()).unwrap();
            std::fs::write(at(name), vec![0; bytes]).unwrap();
        }
        std::os::unix::fs::symlink("x.PNG", at("a/link")).unwrap();
        let (one, other) = (at("a"), at("c"));
        let request = WeighRequest {
            targets: &[&one, &other],
            state_dir: &at("a/.agp"),
            progress: &Progress::default(),
        };
        let weighed = weigh(&request).unwrap();
        let workload = weighed.workload.clone();
        assert_eq!(
            (workload.files, workload.bytes, workload.largest_bytes),
            (4, 46, Some(30))
        );
        let types: Vec<(&str, u64)> = workload
            .types
            .iter()
            .map(|(name, bytes)| (name.as_str(), *bytes))
            .collect();
        assert_eq!(types, [("", 6), ("png", 40)]);
        assert_eq!((weighed.files.len(), weighed.unreadable.len()), (4, 0));
        let exempt = [RelPath::parse(b".agp").unwrap()];
        let taken = [&one, &other].map(|root| {
            let walk = inventory::Request {
                root,
                excludes: &Globs::default(),
                exempt: &exempt,
                expected: None,
                progress: &Progress::default(),
            };
            let inventory = inventory::take(&walk, None).unwrap().inventory;
            (naming::shown(root), inventory)
        });
        let known = weigh_known(taken.iter().map(|(name, tree)| (name.as_str(), tree)));
        assert_eq!((known.workload, known.files), (workload, weighed.files));
    }

    #[test]
    fn a_tree_that_is_not_there_is_an_error_and_an_empty_one_weighs_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let weighed = |target: &Path| {
            weigh(&WeighRequest {
                targets: &[target],
                state_dir: Path::new(".agp"),
                progress: &Progress::default(),
            })
        };
        assert!(weighed(&folder.path().join("nowhere")).is_err());
        assert_eq!(
            weighed(folder.path()).unwrap().workload,
            Workload::default()
        );
    }

    #[test]
    fn only_so_many_types_are_told_apart() {
        let names: Vec<String> = (0..100).map(|at| format!("f.t{at:03}")).collect();
        let files = names
            .iter()
            .enumerate()
            .map(|(at, name)| (name.as_str(), at as u64));
        let types = workload_of(files).types;
        assert_eq!(types.len(), TYPES_MAX);
        assert!(types.contains_key("t099") && !types.contains_key("t000"));
        assert_eq!(type_of("a/b.a-very-long-extension"), "");
    }
}
