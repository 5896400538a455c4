//! Puts trees back: snapshot what is there, stage, verify, make durable, exchange.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use super::commit::{self, Atomicity, Whole};
use super::error::{RollbackError, at};
use super::intent::{Binding, Intent, Item, Phase, Record, Way};
use super::plan::{self, Changes};
use super::save;
use super::snapshot::{Reason, Snapshot, Target};
use super::stage;
use super::store::Store;
use crate::base::clock::Timestamp;
use crate::base::files::{self, FileError};
use crate::base::relpath::RelPath;
use crate::inventory::{self, Cache, Globs, Keeper};
use crate::report::{AuditHead, Finding, codes};
use crate::seal::Secret;

/// What to put back, and how.
#[derive(Clone)]
pub struct Request<'a> {
    /// A snapshot's name, its beginning, a label, `last` or `last-good`; `None` where nothing is to
    /// come back.
    pub snapshot: Option<&'a str>,
    /// Trees that are to go, being none of the snapshot's.
    pub absent: &'a [PathBuf],
    /// Only these targets of it; empty: all.
    pub targets: &'a [PathBuf],
    /// Only paths that match; without patterns: all.
    pub include: Globs,
    /// Whether the old trees are kept.
    pub keep_failed: bool,
    /// Whether the staged trees are read again before they go live.
    pub verify: bool,
    /// Whether what cannot be put into the snapshot of the present is given up.
    pub allow_incomplete: bool,
    /// The present.
    pub now: Timestamp,
    /// Where the audit log stands.
    pub audit_head: Option<AuditHead>,
}

impl<'a> Request<'a> {
    /// All of a snapshot, verified before anything is replaced; nothing that failed is kept.
    pub fn whole(snapshot: Option<&'a str>, now: Timestamp) -> Self {
        Self {
            snapshot,
            absent: &[],
            targets: &[],
            include: Globs::default(),
            keep_failed: false,
            verify: true,
            allow_incomplete: false,
            now,
            audit_head: None,
        }
    }
}

/// What was put back.
#[derive(Debug)]
pub struct Restored {
    /// The snapshot's name; `None` where nothing came back.
    pub snapshot: Option<String>,
    /// The snapshot of what was there before, for `undo`; `None` where nothing was.
    pub before: Option<String>,
    /// One for each target, in the snapshot's order.
    pub targets: Vec<RestoredTarget>,
    /// Warnings.
    pub findings: Vec<Finding>,
}

/// One target that was put back.
#[derive(Debug)]
pub struct RestoredTarget {
    /// As it was named.
    pub name: String,
    /// What changed.
    pub changes: Changes,
    /// Files that were the right ones already.
    pub linked: u64,
    /// Files written out of the store.
    pub written: u64,
    /// How it was replaced.
    pub atomicity: Atomicity,
    /// The digest of the tree that is there now.
    pub root_digest: crate::base::digest::Digest,
}

/// What a restore would change, by target.
pub type Preview = Vec<(String, Changes, Vec<plan::Difference>)>;

/// What a restore of one target needs to know.
struct Job<'a> {
    desired: std::borrow::Cow<'a, Target>,
    live: Option<&'a Target>,
    /// Paths of the live tree that stay as they are.
    keep: Vec<RelPath>,
    site: Site,
}

/// Where a tree is staged, and whether it can be exchanged as a whole.
struct Site {
    staged: PathBuf,
    whole: bool,
}

/// Says what a restore would change, and changes nothing.
pub(super) fn preview(store: &Store<'_>, request: &Request<'_>) -> Result<Preview, RollbackError> {
    let (snapshot, _) = chosen(store, request)?;
    let mut all = Vec::new();
    for target in &snapshot.targets {
        let empty = Target {
            inventory: inventory::Inventory::default(),
            details: Vec::new(),
            ..target.clone()
        };
        let live = match target.path.is_dir() {
            true => present(store, target)?,
            false => empty,
        };
        let desired = desired(target, Some(&live), &request.include);
        let differences = plan::differences(&desired, &live, &target.incomplete);
        let changes = plan::changes(&desired, &live, &target.incomplete);
        all.push((target.name.clone(), changes, differences));
    }
    Ok(all)
}

/// A target as it is now, without its content being kept: every file is read.
pub(super) fn present(store: &Store<'_>, target: &Target) -> Result<Target, RollbackError> {
    look(store, target, (None, &[]))
}

/// The same, without reading again what has not changed since somebody read it.
pub(super) fn known_present(store: &Store<'_>, target: &Target) -> Result<Target, RollbackError> {
    let secret = store.place.secret();
    let key = secret.as_deref();
    let mac = |bytes: &[u8]| Secret::mac_of_cache(key, bytes).0;
    let mut cache = Cache::load(&store.place.cache(), &target.path, &mac);
    let present = look(store, target, (Some(&mut cache), store.place.keepers))?;
    // Without it whoever looks next reads every file, and finds the same.
    let _ = cache.save();
    Ok(present)
}

fn look(
    store: &Store<'_>,
    target: &Target,
    (cache, keepers): (Option<&mut Cache<'_>>, &[&dyn Keeper]),
) -> Result<Target, RollbackError> {
    let exempt: Vec<RelPath> = save::within(&target.path, store.place.state_dir)
        .into_iter()
        .collect();
    let walk = inventory::Request {
        root: &target.path,
        excludes: &Globs::default(),
        exempt: &exempt,
        expected: None,
        progress: store.place.progress,
    };
    let found = inventory::take_detailed(&walk, cache, keepers)?;
    Ok(save::target((&target.name, &target.path), found, exempt).0)
}

/// Puts trees back in an open store in which nothing is pending.
pub(super) fn restore(store: &Store<'_>, request: &Request<'_>) -> Result<Restored, RollbackError> {
    let (snapshot, mut findings) = chosen(store, request)?;
    let before = before(store, request, &snapshot)?;
    let (before, live) = match before {
        Some(saved) => {
            findings.extend(saved.findings);
            (Some(saved.snapshot.id.clone()), saved.snapshot.targets)
        }
        None => (None, Vec::new()),
    };
    let jobs = jobs(store, request, (&snapshot, &live))?;
    let mut intent = Intent {
        binding: Binding::of(store)?,
        phase: Phase::Staging,
        record: Record {
            id: next_record(store)?,
            snapshot: request.snapshot.map(|_| snapshot.id.clone()),
            before: before.clone(),
            created: created(&jobs),
            keep: request.keep_failed,
        },
        items: jobs.iter().map(item).collect(),
    };
    let mut gone = Vec::new();
    for path in request.absent {
        gone.extend(absent(path)?);
    }
    let targets = match stage_all(store, request, (&jobs, gone, &mut intent)) {
        Ok(targets) => targets,
        Err(error) => {
            // Nothing live was touched, and the first error is the one that counts.
            let _ = commit::abandon(store, &intent);
            return Err(error);
        }
    };
    commit::commit(store, &mut intent)?;
    Ok(Restored {
        snapshot: intent.record.snapshot.clone(),
        before,
        targets: report(targets, &intent),
        findings,
    })
}

/// The snapshot that is asked for, with the targets that are asked for, and what to say of it.
fn chosen(
    store: &Store<'_>,
    request: &Request<'_>,
) -> Result<(Snapshot, Vec<Finding>), RollbackError> {
    let Some(wanted) = request.snapshot else {
        return Ok((save::empty(request.now), Vec::new()));
    };
    let id = store.resolve(wanted)?;
    let (mut snapshot, seal) = store.load(&id)?;
    if !request.targets.is_empty() {
        let mut wanted = Vec::new();
        for name in request.targets {
            let Some(target) = snapshot.target(name) else {
                let names: Vec<&str> = snapshot.targets.iter().map(|t| &*t.name).collect();
                return Err(RollbackError::Usage(format!(
                    "snapshot `{id}` has no target `{}`; it has `{}`",
                    save::shown(name),
                    names.join("`, `")
                )));
            };
            wanted.push(target.path.clone());
        }
        snapshot
            .targets
            .retain(|target| wanted.contains(&target.path));
    }
    Ok((
        snapshot,
        super::seal_findings((&id, seal), store.place.keyring),
    ))
}

/// A snapshot of what is there now; `None` where nothing is.
fn before(
    store: &Store<'_>,
    request: &Request<'_>,
    snapshot: &Snapshot,
) -> Result<Option<save::Saved>, RollbackError> {
    let mut there = Vec::new();
    let targets = snapshot.targets.iter();
    let targets = targets.map(|target| (target.name.clone(), target.path.clone()));
    let absent = request.absent.iter();
    let absent = absent.map(|path| (save::shown(path), path.clone()));
    for (name, path) in targets.chain(absent) {
        match path.symlink_metadata() {
            Ok(meta) if meta.is_dir() => there.push((name, path)),
            Ok(_) => {
                let text = "what stands there now is no directory; move it away first";
                return Err(at("replace", name)(std::io::Error::other(text)));
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(at("open", name)(error)),
        }
    }
    if there.is_empty() {
        return Ok(None);
    }
    // What the snapshot could not take in stays where it is, so that it need not be saved.
    let excused = snapshot
        .targets
        .iter()
        .any(|target| !target.incomplete.is_empty());
    let saved = save::save(
        store,
        &save::Request {
            targets: there,
            label: None,
            reason: Reason::BeforeRestore,
            paranoid: false,
            allow_incomplete: request.allow_incomplete || excused,
            now: request.now,
            audit_head: request.audit_head.clone(),
        },
    )?;
    if !request.allow_incomplete {
        for target in &saved.snapshot.targets {
            let stored = snapshot
                .targets
                .iter()
                .find(|other| other.path == target.path);
            let kept = stored.map_or(&[][..], |stored| &stored.incomplete);
            let lost = target
                .incomplete
                .iter()
                .find(|path| !kept.iter().any(|k| path.is_within(k)));
            if let Some(path) = lost {
                let text = "it cannot be saved, so that `undo` could not bring it back";
                let place = save::below(&target.name, Some(path));
                let finding = Finding::new(&codes::FILE_UNREADABLE, text).at(place);
                return Err(RollbackError::Entries(vec![finding]));
            }
        }
    }
    Ok(Some(saved))
}

fn desired<'a>(
    target: &'a Target,
    live: Option<&Target>,
    include: &Globs,
) -> std::borrow::Cow<'a, Target> {
    match live {
        Some(live) if !include.patterns().is_empty() => {
            std::borrow::Cow::Owned(plan::merge(target, live, include))
        }
        _ => std::borrow::Cow::Borrowed(target),
    }
}

fn jobs<'a>(
    store: &Store<'_>,
    request: &Request<'_>,
    (snapshot, live): (&'a Snapshot, &'a [Target]),
) -> Result<Vec<Job<'a>>, RollbackError> {
    let mut jobs = Vec::new();
    for target in &snapshot.targets {
        let live = live.iter().find(|live| live.path == target.path);
        let mut keep = target.incomplete.clone();
        keep.extend(save::within(&target.path, store.place.state_dir));
        jobs.push(Job {
            desired: desired(target, live, &request.include),
            live,
            site: site(store, (&target.path, live.is_some()), &keep)?,
            keep,
        });
    }
    Ok(jobs)
}

/// Where to stage: beside the target where it can be exchanged as a whole; otherwise wherever
/// entries can be moved to it from.
fn site(
    store: &Store<'_>,
    (target, is_there): (&Path, bool),
    keep: &[RelPath],
) -> Result<Site, RollbackError> {
    let parent = files::parent_of(target);
    let sibling = beside(target);
    let name = sibling.file_name().unwrap_or_default();
    let is_writable = rustix::fs::access(parent, rustix::fs::Access::WRITE_OK).is_ok();
    if !is_there {
        return match is_writable {
            true => Ok(Site {
                staged: sibling,
                whole: true,
            }),
            false => Err(at("write into", parent.to_string_lossy())(
                std::io::Error::from(match parent.exists() {
                    true => std::io::ErrorKind::PermissionDenied,
                    false => std::io::ErrorKind::NotFound,
                }),
            )),
        };
    }
    let beside = is_writable && parent != target && mount_of(parent) == mount_of(target);
    if beside && keep.is_empty() {
        return Ok(Site {
            staged: sibling,
            whole: true,
        });
    }
    let (staged, whole) = if mount_of(&store.path) == mount_of(target) {
        (store.path.join("staging").join(name), false)
    } else if beside {
        (sibling, false)
    } else {
        (target.join(name), false)
    };
    Ok(Site { staged, whole })
}

/// A free name beside a tree.
pub(super) fn beside(target: &Path) -> PathBuf {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let mut name = b".".to_vec();
    name.extend_from_slice(target.file_name().unwrap_or_default().as_bytes());
    // A name of 255 bytes has no room for more.
    name.truncate(200);
    name.extend_from_slice(format!(".agp-{}", suffix()).as_bytes());
    files::parent_of(target).join(std::ffi::OsString::from_vec(name))
}

/// What must be equal for names to be moved from one directory to the other.
pub(super) fn mount_of(path: &Path) -> Option<(u64, u64)> {
    let device = path.metadata().ok()?.dev();
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{AtFlags, CWD, StatxFlags};
        // Two mounts may show one file system. An old kernel does not tell, and the rename will.
        let wanted = StatxFlags::from_bits_retain(STATX_MNT_ID);
        let found = rustix::fs::statx(CWD, path, AtFlags::empty(), wanted).ok()?;
        let mount = if found.stx_mask & STATX_MNT_ID != 0 {
            found.stx_mnt_id
        } else {
            0
        };
        Some((device, mount))
    }
    #[cfg(not(target_os = "linux"))]
    Some((device, 0))
}

/// Asks statx(2) which mount a file is reached through.
#[cfg(target_os = "linux")]
const STATX_MNT_ID: u32 = 0x1000;

fn suffix() -> String {
    let mut random = [0; 4];
    // A name that is taken is refused when it is made.
    let _ = getrandom::fill(&mut random);
    hex::encode(random)
}

/// What makes a tree go; nothing where it is gone.
fn absent(path: &Path) -> Result<Option<Item>, RollbackError> {
    let Ok(meta) = path.symlink_metadata() else {
        return Ok(None);
    };
    let staged = beside(path);
    let name = save::shown(path);
    Ok(Some(Item::new(
        &name,
        (path, &staged),
        meta.ino(),
        Way::Absent,
    )))
}

fn item(job: &Job<'_>) -> Item {
    let place = (job.desired.path.as_path(), job.site.staged.as_path());
    let within = job.live.filter(|_| place.1.starts_with(place.0));
    let mut item = Item::new(&job.desired.name, place, 0, Way::Tree);
    item.modified = within.map(|live| live.root.modified);
    item
}

fn created(jobs: &[Job<'_>]) -> Vec<String> {
    let new = jobs.iter().filter(|job| job.live.is_none());
    new.map(|job| super::intent::spelled(&job.desired.path))
        .collect()
}

type Staged = (String, Changes, stage::Built, crate::base::digest::Digest);

/// Builds every tree, verifies it, and makes it and then the intent durable.
fn stage_all(
    store: &Store<'_>,
    request: &Request<'_>,
    (jobs, gone, intent): (&[Job<'_>], Vec<Item>, &mut Intent),
) -> Result<Vec<Staged>, RollbackError> {
    intent.save(store)?;
    let mut all = Vec::new();
    for (job, item) in jobs.iter().zip(&mut intent.items) {
        let staged = &job.site.staged;
        files::create_private_directory(files::parent_of(staged))?;
        fs::DirBuilder::new()
            .mode(0o700)
            .create(staged)
            .map_err(FileError::at("create the directory", staged))?;
        let built = stage::build(&stage::Request {
            desired: &job.desired,
            live: job.live.filter(|_| !request.keep_failed),
            staged,
            objects: &store.objects,
            progress: store.place.progress,
        })?;
        if request.verify {
            let findings = unlike(store, (&job.desired, &job.site.staged))?;
            if !findings.is_empty() {
                return Err(RollbackError::Unverified(findings));
            }
        }
        let meta = staged.metadata().map_err(FileError::at("open", staged))?;
        let way = match job.site.whole {
            true => Way::Tree,
            false => {
                let mut keep = job.keep.clone();
                keep.extend(save::within(&job.desired.path, staged));
                commit::entries((staged, &job.desired.path), &keep, Some(Whole))?
            }
        };
        item.inode = meta.ino();
        item.way = way;
        let changes = match job.live {
            Some(live) => plan::changes(&job.desired, live, &job.keep),
            None => Changes {
                created: job.desired.inventory.len() as u64,
                ..Changes::default()
            },
        };
        all.push((
            job.desired.name.clone(),
            changes,
            built,
            job.desired.root_digest(),
        ));
    }
    for job in jobs {
        stage::sync(&job.site.staged)?;
    }
    if store.place.progress.is_interrupted() {
        return Err(RollbackError::Interrupted);
    }
    intent.items.extend(gone);
    let staging = std::mem::replace(&mut intent.phase, Phase::Committing);
    intent.save(store).inspect_err(|_| intent.phase = staging)?;
    Ok(all)
}

/// Reads a staged tree again: what it and what it is to be do not have in common.
pub(super) fn unlike(
    store: &Store<'_>,
    (desired, staged): (&Target, &Path),
) -> Result<Vec<Finding>, RollbackError> {
    let staged = Target {
        path: staged.to_owned(),
        ..desired.clone()
    };
    let found = present(store, &staged)?;
    let finding = |difference: &plan::Difference| {
        let words: Vec<&str> = difference
            .aspects
            .iter()
            .map(|aspect| aspect.word())
            .collect();
        Finding::new(
            &codes::RESTORE_UNVERIFIED,
            format!("as staged: {}", words.join(", ")),
        )
        .at(save::below(&desired.name, difference.path.as_ref()))
    };
    let differences = plan::differences(desired, &found, &[]);
    Ok(differences.iter().map(finding).collect())
}

fn report(targets: Vec<Staged>, intent: &Intent) -> Vec<RestoredTarget> {
    let atomicity = |item: &Item| match &item.way {
        Way::Tree | Way::Absent => Atomicity::Tree,
        Way::Entries {
            stepwise: false, ..
        } => Atomicity::Entry,
        Way::Entries { stepwise: true, .. } => Atomicity::Resumable,
    };
    let pairs = targets.into_iter().zip(&intent.items);
    pairs
        .map(
            |((name, changes, built, root_digest), item)| RestoredTarget {
                name,
                changes,
                linked: built.linked.load(Ordering::Relaxed),
                written: built.written.load(Ordering::Relaxed),
                atomicity: atomicity(item),
                root_digest,
            },
        )
        .collect()
}

/// The number of the newest restore.
fn newest_record(store: &Store<'_>) -> Result<Option<u64>, RollbackError> {
    let folder = store.path.join("runs");
    let mut newest = None;
    for entry in fs::read_dir(&folder).map_err(FileError::at("list", &folder))? {
        let name = entry.map_err(FileError::at("list", &folder))?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("restore-"));
        let number = number.and_then(|name| name.strip_suffix(".json")?.parse().ok());
        newest = newest.max(number);
    }
    Ok(newest)
}

fn next_record(store: &Store<'_>) -> Result<String, RollbackError> {
    let newest = newest_record(store)?.unwrap_or(0);
    Ok(format!("{:06}", newest + 1))
}

/// What `undo` would restore: the newest restore, taken back.
pub(super) fn last_record(store: &Store<'_>) -> Result<Record, RollbackError> {
    let Some(number) = newest_record(store)? else {
        return Err(RollbackError::Usage(
            "nothing was restored, so nothing can be undone".into(),
        ));
    };
    let path = store
        .path
        .join("runs")
        .join(format!("restore-{number:06}.json"));
    let bytes = files::read_bounded(&path, 1 << 20)?;
    serde_json::from_slice(&bytes).map_err(|error| RollbackError::Damaged {
        path: path.to_string_lossy().into_owned(),
        reason: error.to_string(),
    })
}
