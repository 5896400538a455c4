//! What holds right now, as far as it decides whether a restore would succeed.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags};

use super::playbook::Precondition;
use super::snapshot::{Snapshot, Target};
use super::store::Store;
use super::{query, restore};
use crate::base::files;
use crate::base::units;

/// Looks at everything that a restore of this snapshot needs.
pub(super) fn preconditions(store: &Store<'_>, snapshot: &Snapshot) -> Vec<Precondition> {
    let mut all = Vec::new();
    for target in &snapshot.targets {
        all.push(about("free space", target, free_space(target)));
        all.push(about("same file system", target, same_file_system(target)));
        all.push(about(
            "exchange supported",
            target,
            exchange_supported(&target.path),
        ));
        all.push(about("permissions", target, permissions(target)));
        all.push(about(
            "no foreign writers",
            target,
            foreign_writers(&target.path),
        ));
    }
    let checked = query::check(store, false);
    let damaged = checked.map(|checked| checked.findings.len());
    let (result_now, detail) = match damaged {
        Ok(0) => ("ok", "every object is there".to_owned()),
        Ok(count) => ("failed", units::count(count as u64, "finding")),
        Err(error) => ("unknown", error.to_string()),
    };
    all.push(Precondition {
        check: "store check".to_owned(),
        result_now: result_now.to_owned(),
        detail,
    });
    all
}

/// Whether something holds (`None`: nobody can tell), and what was found.
type Fact = (Option<bool>, String);

fn about(check: &str, target: &Target, (holds, detail): Fact) -> Precondition {
    let result = match holds {
        Some(true) => "ok",
        Some(false) => "failed",
        None => "unknown",
    };
    Precondition {
        check: format!("{check}: {}", target.name),
        result_now: result.to_owned(),
        detail,
    }
}

fn free_space(target: &Target) -> Fact {
    let needed = target.inventory.totals().size_bytes;
    match rustix::fs::statvfs(files::parent_of(&target.path)) {
        Ok(found) => {
            let free = found.f_bavail.saturating_mul(found.f_frsize);
            let detail = format!(
                "{} needed, {} free",
                units::bytes(needed),
                units::bytes(free)
            );
            (Some(free >= needed), detail)
        }
        Err(error) => (None, error.to_string()),
    }
}

fn same_file_system(target: &Target) -> Fact {
    let parent = files::parent_of(&target.path);
    match (restore::mount_of(parent), restore::mount_of(&target.path)) {
        (Some(a), Some(b)) if a == b => (Some(true), "it can be staged beside itself".to_owned()),
        (Some(_), Some(_)) => {
            let detail = "it is a mount point: its entries are exchanged one by one";
            (Some(true), detail.to_owned())
        }
        _ => (None, "its mount cannot be told".to_owned()),
    }
}

/// Exchanges two empty directories beside a target.
fn exchange_supported(target: &Path) -> Fact {
    let probe = restore::beside(target);
    let inner = |name: &str| -> PathBuf { probe.join(name) };
    let exchange = || {
        fs::DirBuilder::new().mode(0o700).create(&probe)?;
        fs::create_dir(inner("a"))?;
        fs::create_dir(inner("b"))?;
        let (a, b) = (inner("a"), inner("b"));
        Ok::<_, std::io::Error>(rustix::fs::renameat_with(
            CWD,
            a,
            CWD,
            b,
            RenameFlags::EXCHANGE,
        )?)
    };
    let exchanged = exchange();
    // It is ours and holds two empty directories at most.
    let _ = fs::remove_dir_all(&probe);
    match exchanged {
        Ok(()) => (
            Some(true),
            "two directories were exchanged beside it".to_owned(),
        ),
        Err(error) => (Some(false), error.to_string()),
    }
}

fn permissions(target: &Target) -> Fact {
    let parent = files::parent_of(&target.path);
    if let Err(error) = rustix::fs::access(parent, rustix::fs::Access::WRITE_OK) {
        return (
            Some(false),
            format!("its directory cannot be written: {error}"),
        );
    }
    let own = rustix::process::geteuid().as_raw();
    let foreign = target
        .details
        .iter()
        .filter(|details| details.user != own)
        .count() as u64;
    match foreign {
        _ if own == 0 => (Some(true), "root may give every owner".to_owned()),
        0 => (Some(true), "every entry is ours".to_owned()),
        count => (
            Some(false),
            format!(
                "{} of other owners, which only root can give",
                units::count(count, "entry")
            ),
        ),
    }
}

/// Processes that hold a file below a target open for writing (proc(5)). Those of other users show
/// only to root.
fn foreign_writers(target: &Path) -> Fact {
    let Ok(processes) = fs::read_dir("/proc") else {
        return (None, "there is no /proc".to_owned());
    };
    let mut writers = Vec::new();
    for process in processes.flatten() {
        let name = process.file_name().to_string_lossy().into_owned();
        if !name.bytes().all(|byte| byte.is_ascii_digit()) || name == std::process::id().to_string()
        {
            continue;
        }
        let Ok(descriptors) = fs::read_dir(process.path().join("fd")) else {
            continue;
        };
        let writes = |entry: &fs::DirEntry| {
            let below = fs::read_link(entry.path()).is_ok_and(|path| path.starts_with(target));
            // The link's own mode says how the file is open.
            below
                && entry
                    .path()
                    .symlink_metadata()
                    .is_ok_and(|meta| meta.mode() & 0o200 != 0)
        };
        if descriptors.flatten().any(|entry| writes(&entry)) {
            writers.push(name);
        }
    }
    match writers.is_empty() {
        true => (
            Some(true),
            "nobody has a file in it open for writing".to_owned(),
        ),
        false => (
            Some(false),
            format!("open for writing by process {}", writers.join(", ")),
        ),
    }
}
