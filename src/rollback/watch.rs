//! What changes in trees from one look to the next.

use std::path::Path;

use super::error::RollbackError;
use super::plan::{self, Aspect};
use super::snapshot::Target;
use super::store::{Access, Place, Store};
use super::{restore, save};
use crate::base::relpath::RelPath;
use crate::inventory::Inventory;

/// Trees as they were last looked at.
#[derive(Debug)]
pub struct Watch {
    targets: Vec<Target>,
}

/// A path that is not what it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// The target's name and the path below it, as one would type it.
    pub path: String,
    /// The path below the target; `None` is the target itself.
    pub below: Option<RelPath>,
    /// In which respects, not empty.
    pub aspects: Vec<Aspect>,
}

impl Watch {
    /// Begins with the trees as a snapshot has them.
    ///
    /// # Errors
    /// A snapshot that is not there or cannot be used.
    pub fn from(place: Place<'_>, snapshot: &str) -> Result<Self, RollbackError> {
        let store = Store::open(place, Access::Read)?;
        let (snapshot, _) = store.load(snapshot)?;
        Ok(Self {
            targets: snapshot.targets,
        })
    }

    /// The trees as they were last looked at, by their names, in the order of the snapshot's targets.
    pub fn trees(&self) -> impl Iterator<Item = (&str, &Inventory)> {
        let targets = self.targets.iter();
        targets.map(|target| (target.name.as_str(), &target.inventory))
    }

    /// The tree that a path leads to as it was last looked at; `None` for one that is not watched, or of which
    /// not everything could be taken in.
    pub fn whole(&self, path: &Path) -> Option<&Inventory> {
        let target = self.seen(&path.canonicalize().ok()?)?;
        target.incomplete.is_empty().then_some(&target.inventory)
    }

    /// A target as it was last looked at; `None` for one that was not there then, or not watched.
    pub(super) fn seen(&self, path: &Path) -> Option<&Target> {
        let mut targets = self.targets.iter();
        targets.find(|target| target.path == path)
    }

    /// What has changed since the last look, in the order of the targets and sorted by path below
    /// them. What differs in nothing but its time has not changed.
    ///
    /// # Errors
    /// What cannot be looked at.
    pub fn look(&mut self, place: Place<'_>) -> Result<Vec<Changed>, RollbackError> {
        let store = Store::open(place, Access::Read)?;
        let mut all = Vec::new();
        for before in &mut self.targets {
            if !before.path.is_dir() {
                let path = before.name.clone();
                let aspects = vec![Aspect::Missing];
                all.push(Changed {
                    path,
                    below: None,
                    aspects,
                });
                continue;
            }
            let now = restore::known_present(&store, before)?;
            let passed_over = [&before.incomplete[..], &now.incomplete[..]].concat();
            let mut differences = plan::differences(before, &now, &passed_over);
            differences.retain(|one| one.aspects.iter().any(|one| *one != Aspect::Time));
            all.extend(differences.into_iter().map(|one| Changed {
                path: save::below(&before.name, one.path.as_ref()),
                below: one.path,
                aspects: one.aspects,
            }));
            *before = now;
        }
        Ok(all)
    }
}
