//! Takes a snapshot: reads trees into the store, or leaves no trace.

use std::path::{Path, PathBuf};

use super::error::{RollbackError, at};
use super::snapshot::{Reason, Seal, Snapshot, Target, number_links};
use super::store::Store;
use crate::base::clock::Timestamp;
use crate::base::naming;
use crate::base::relpath::RelPath;
use crate::inventory::{
    self, Cache, CacheUse, Detailed, Details, Entry, Globs, Inventory, Keeper, Kind, ProblemKind,
    Special,
};
use crate::report::{AuditHead, Finding, codes};
use crate::seal::Secret;
use crate::system;

/// Which trees, and how.
#[derive(Clone)]
pub struct Request {
    /// What the trees are called, and where they are; none inside another, not empty.
    pub targets: Vec<(String, PathBuf)>,
    /// What to call the snapshot.
    pub label: Option<String>,
    /// Why it is taken.
    pub reason: Reason,
    /// Whether every file is read, whatever its times say.
    pub paranoid: bool,
    /// Whether what cannot be taken in is left out.
    pub allow_incomplete: bool,
    /// The present.
    pub now: Timestamp,
    /// Where the audit log stands.
    pub audit_head: Option<AuditHead>,
}

/// A snapshot that is durable, and what it took.
#[derive(Debug)]
pub struct Saved {
    /// The snapshot.
    pub snapshot: Snapshot,
    /// The key that sealed it, if there was one.
    pub seal: Seal,
    /// Objects that the store did not have.
    pub added_objects: u64,
    /// Bytes of them as they are stored.
    pub added_bytes: u64,
    /// Files that were not read, since nothing about them changed.
    pub reused: u64,
    /// Warnings.
    pub findings: Vec<Finding>,
}

/// Takes a snapshot in an open store.
pub(super) fn save(store: &Store<'_>, request: &Request) -> Result<Saved, RollbackError> {
    let targets = resolve(&request.targets, store)?;
    store.begin_adding()?;
    let saved = save_all(store, request, &targets);
    if saved.is_err() {
        store.objects.forget_added();
    }
    store.end_adding();
    saved
}

fn save_all(
    store: &Store<'_>,
    request: &Request,
    targets: &[(String, PathBuf)],
) -> Result<Saved, RollbackError> {
    let secret = store.place.secret();
    let key = secret.as_deref();
    let mac = |bytes: &[u8]| Secret::mac_of_cache(key, bytes).0;
    let mut snapshot = Snapshot {
        id: new_id(request.now),
        created_at: request.now,
        label: request.label.clone(),
        reason: request.reason,
        host: system::host_name(),
        audit_head: request.audit_head.clone(),
        targets: Vec::new(),
    };
    let (mut findings, mut refused, mut reused) = (Vec::new(), Vec::new(), 0);
    let others = store.place.keepers.iter().copied();
    let keepers: Vec<&dyn Keeper> = std::iter::once(&store.objects as _).chain(others).collect();
    let mut caches = Vec::new();
    for (name, path) in targets {
        let mut cache = Cache::load(&store.place.cache(), path, &mac);
        let exempt: Vec<RelPath> = within(path, store.place.state_dir).into_iter().collect();
        let walk = inventory::Request {
            root: path,
            excludes: &Globs::default(),
            exempt: &exempt,
            expected: None,
            progress: store.place.progress,
        };
        if request.paranoid {
            cache = cache.emptied();
        }
        let found = inventory::take_detailed(&walk, Some(&mut cache), &keepers)?;
        reused += found.taken.cache.reused;
        if let Some(path) = &found.taken.cache.lied {
            let lied = Finding::new(&codes::CACHE_MISMATCH, CacheUse::LIE);
            findings.push(lied.at(below(name, Some(path))));
        }
        let (target, problems) = target((name, path), found, exempt);
        refused.extend(problems);
        snapshot.targets.push(target);
        caches.push(cache);
    }
    if !refused.is_empty() && !request.allow_incomplete {
        return Err(RollbackError::Entries(refused));
    }
    findings.extend(refused.into_iter().map(|refused| {
        let told = Finding::new(&codes::SNAPSHOT_INCOMPLETE, refused.message);
        told.at(refused.path.unwrap_or_default())
    }));
    let (added_objects, added_bytes) = store.objects.added();
    if added_objects > 0 {
        store.objects.sync().map_err(RollbackError::Store)?;
    }
    store.save(&snapshot)?;
    findings.extend(caches.iter().filter_map(unsaved));
    Ok(Saved {
        snapshot,
        seal: secret.map_or(Seal::None, |secret| Seal::Good(secret.key_id())),
        added_objects,
        added_bytes,
        reused,
        findings,
    })
}

/// That a cache could not be kept: the next snapshot reads every file, and is as good.
fn unsaved(cache: &Cache<'_>) -> Option<Finding> {
    let error = cache.save().err()?;
    Some(Finding::new(&codes::CACHE_DISCARDED, error.in_full()))
}

/// A snapshot of nothing, which is never written.
pub(super) fn empty(now: Timestamp) -> Snapshot {
    Snapshot {
        id: String::new(),
        created_at: now,
        label: None,
        reason: Reason::Asked,
        host: String::new(),
        audit_head: None,
        targets: Vec::new(),
    }
}

pub(super) fn new_id(now: Timestamp) -> String {
    let mut random = [0; 3];
    // Without randomness two snapshots of one millisecond would meet.
    let _ = getrandom::fill(&mut random);
    format!("{}-{}", id_beginning(now), hex::encode(random))
}

/// What the names of snapshots of that time begin with; they sort by time.
pub(super) fn id_beginning(time: Timestamp) -> String {
    let seconds = time.to_seconds_string();
    let kept = |c: &char| c.is_ascii_digit() || *c == 'T';
    let digits: String = seconds.chars().filter(kept).collect();
    format!("{digits}{:03}Z", time.unix_millis().rem_euclid(1000))
}

/// The targets' names and where they really are; refuses what cannot be snapshot together.
fn resolve(
    targets: &[(String, PathBuf)],
    store: &Store<'_>,
) -> Result<Vec<(String, PathBuf)>, RollbackError> {
    let mut resolved: Vec<(String, PathBuf)> = Vec::new();
    let state_dir = store.place.state_dir;
    let state = state_dir
        .canonicalize()
        .map_err(at("open", state_dir.to_string_lossy()))?;
    for (name, target) in targets {
        let name = name.clone();
        let path = target.canonicalize().map_err(at("open", &*name))?;
        if !path.is_dir() {
            let source = std::io::Error::from(std::io::ErrorKind::NotADirectory);
            return Err(at("open", &*name)(source));
        }
        if path.starts_with(&state) {
            let text = format!("`{name}` lies in the state directory, which no snapshot holds");
            return Err(RollbackError::Usage(text));
        }
        for (other, there) in &resolved {
            if path.starts_with(there) || there.starts_with(&path) {
                let text = format!("of the targets `{other}` and `{name}` one lies in the other");
                return Err(RollbackError::Usage(text));
            }
        }
        resolved.push((name, path));
    }
    match resolved.is_empty() {
        true => Err(RollbackError::Usage("no target is named".into())),
        false => Ok(resolved),
    }
}

/// A path below a root, by what both really are.
pub(super) fn within(root: &Path, path: &Path) -> Option<RelPath> {
    use std::os::unix::ffi::OsStrExt;
    let path = path.canonicalize().ok()?;
    RelPath::parse(path.strip_prefix(root).ok()?.as_os_str().as_bytes()).ok()
}

/// What a target is called: its path as one would type it.
pub fn shown(path: &Path) -> String {
    let shown = naming::shown(path);
    match shown.trim_end_matches('/') {
        "" => shown,
        trimmed => trimmed.to_owned(),
    }
}

/// An entry of a target, or the target itself, as one would type it.
pub(super) fn below(target: &str, path: Option<&RelPath>) -> String {
    path.map_or_else(|| target.to_owned(), |path| naming::below(target, path))
}

/// Makes a target of what a walk found, and tells what it cannot hold.
pub(super) fn target(
    (name, path): (&str, &Path),
    found: Detailed,
    exempt: Vec<RelPath>,
) -> (Target, Vec<Finding>) {
    let Detailed {
        taken,
        root,
        details,
    } = found;
    let mut refused = Vec::new();
    let mut incomplete = Vec::new();
    let mut refuse = |code, path: Option<&RelPath>, reason: String| {
        refused.push(Finding::new(code, reason).at(below(name, path)));
        incomplete.extend(path.cloned());
    };
    for problem in &taken.problems {
        let code = match problem.kind {
            ProblemKind::Unreadable => &codes::FILE_UNREADABLE,
            ProblemKind::Unstable => &codes::FILE_UNSTABLE,
        };
        refuse(code, problem.path.as_ref(), problem.reason.clone());
    }
    let (mut entries, mut kept): (Vec<(RelPath, Entry)>, Vec<Details>) = (Vec::new(), Vec::new());
    for ((path, entry), detail) in taken.inventory.iter().zip(details) {
        let reason = match entry.kind() {
            _ if detail.device != root.device => Some("it lies on another file system".to_owned()),
            Kind::Special(special) if special != Special::Fifo => {
                Some(format!("a {} cannot be restored", entry.kind().name()))
            }
            _ => None,
        };
        match reason {
            Some(reason) => refuse(&codes::SNAPSHOT_UNSUPPORTED, Some(path), reason),
            None => {
                entries.push((path.clone(), entry.clone()));
                kept.push(detail);
            }
        }
    }
    number_links(&mut kept);
    incomplete.sort_unstable();
    incomplete.dedup();
    // Sorted and unique, being part of an inventory.
    let inventory = Inventory::from_entries(entries).unwrap_or_default();
    let target = Target {
        name: name.to_owned(),
        path: path.to_owned(),
        root: Details { device: 0, ..root },
        inventory,
        details: kept,
        incomplete,
        exempt,
    };
    (target, refused)
}
