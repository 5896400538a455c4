//! Seals a tree: takes its inventory, refuses what cannot be vouched for, signs, writes.

use std::fs::{File, TryLockError};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::checks::compare;
use super::tree::{self, Parts, Shared, problem_findings};
use super::verify::{self, read_authentic, read_verified, weakness};
use super::{AbsolutePaths, Counters, Manifest, Options, RootRelation, Sealed, Summary};
use crate::base::canon::INTEGER_MAX;
use crate::base::clock::Timestamp;
use crate::base::digest::Digest;
use crate::base::files::{self, FileError};
use crate::base::naming::{below, path_within, shown};
use crate::base::relpath::{self, RelPath};
use crate::base::shard::Shard;
use crate::inventory::{self, Entry, GlobError, Globs, Inventory, Progress, TakeError, Taken};
use crate::report::{AuditHead, Finding, Resource, codes};
use crate::seal::{Key, KeyError, Keyring, Secret};

/// What every verifier of the guide writes beside the manifest, so that writing it does not
/// break the tree.
const REPORT_NAME: &str = "integrity_report.json";

/// The tree and how to seal it.
pub struct Request<'a> {
    /// The tree.
    pub root: &'a Path,
    /// Where the manifest goes; `None`: nowhere, the caller streams it.
    pub output: Option<&'a Path>,
    /// The keys; the active one signs.
    pub keyring: &'a Keyring,
    /// The terms that the manifest will state.
    pub terms: Terms,
    /// Where the digest cache lives; `None`: every file is read.
    pub cache_dir: Option<&'a Path>,
    /// What others have read of the tree; `None`: nothing.
    pub parts: Option<Parts<'a>>,
    /// The tree as somebody looked at it, and nothing else is sealed; `None`: whatever is there.
    pub seen: Option<&'a Inventory>,
    /// How far the work is, and whether to stop.
    pub progress: &'a Progress,
}

/// What a manifest will state besides the tree itself.
#[derive(Clone, Debug)]
pub struct Terms {
    /// The present, when signing begins.
    pub now: Timestamp,
    /// Makes times and sequence independent of the present (reproducible-builds.org,
    /// `SOURCE_DATE_EPOCH`).
    pub epoch: Option<Timestamp>,
    /// Which tree this is; `None`: the directory's name.
    pub subject: Option<String>,
    /// The number; `None`: one more than the manifest that is replaced.
    pub sequence: Option<u64>,
    /// When the manifest ends to be valid.
    pub expires_at: Option<Timestamp>,
    /// Globs to leave out.
    pub exclude: Vec<String>,
    /// Paths below the root to leave out, with everything below them.
    pub exempt: Vec<RelPath>,
    /// Whether `absolute_path` says where entries lay.
    pub absolute_paths: bool,
    /// Whether a tree with nothing in it may be sealed.
    pub allow_empty: bool,
    /// Where the audit log stands.
    pub audit_head: Option<AuditHead>,
    /// Carries an existing manifest over to the active key, where it verifies under these terms and
    /// its tree is unchanged.
    pub rotate: Option<verify::Terms>,
}

/// A sealed tree.
pub struct Signed {
    /// The manifest.
    pub sealed: Sealed,
    /// SHA-256 over the tree's paths, kinds, modes and digests.
    pub tree_sha256: Digest,
    /// Paths left out, as one would type them.
    pub exempt: Vec<String>,
    /// Entries left out by globs.
    pub excluded: u64,
    /// Files whose digest came out of the cache.
    pub reused: u64,
    /// Warnings.
    pub findings: Vec<Finding>,
    /// What was read and written.
    pub resources: Vec<Resource>,
}

/// Why a tree was not sealed. The manifest that was there still stands.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// Somebody asked to stop.
    #[error("interrupted")]
    Interrupted,
    /// The tree cannot be opened.
    #[error("cannot open the directory `{}`", crate::base::units::printable(&shown(path)))]
    Open {
        /// The tree.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// No usable key.
    #[error("cannot sign")]
    Key(#[from] KeyError),
    /// Entries that nobody can vouch for; one finding each, not empty.
    #[error("{} cannot be signed", crate::base::units::count(.0.len() as u64, "entry"))]
    Unsignable(Vec<Finding>),
    /// Nothing to seal.
    #[error("there is nothing to sign in `{0}`")]
    Empty(String),
    /// A pattern outside the grammar.
    #[error("cannot use `--exclude`")]
    Exclude(#[from] GlobError),
    /// A path that cannot stand in `options.exempt`.
    #[error("`{0}` cannot be exempted: its name is not plain UTF-8 without backslash")]
    Exempt(RelPath),
    /// A number above 2^53−1, or 0.
    #[error("sequence {0} is not from 1 to 2^53-1")]
    Sequence(u64),
    /// What is no manifest stands where the manifest would go.
    #[error("`{0}` is not a manifest, so it is not replaced by one")]
    Output(String),
    /// `--rotate` on a manifest that does not verify, or whose tree changed.
    #[error("the manifest cannot be rotated, because it or its tree does not verify")]
    Rotate(Vec<Finding>),
    /// The manifest cannot be made.
    #[error("cannot seal the inventory")]
    Seal(#[source] io::Error),
    /// The manifest cannot be written.
    #[error(transparent)]
    Write(#[from] FileError),
}

impl From<TakeError> for SignError {
    fn from(error: TakeError) -> Self {
        match error {
            TakeError::Interrupted => Self::Interrupted,
            TakeError::Open { path, source } => Self::Open { path, source },
        }
    }
}

/// Seals a tree and writes its manifest.
///
/// # Errors
/// Whatever could not be read, opened, locked or written; entries that changed meanwhile or
/// that no manifest can hold. Then nothing was written.
pub fn sign(request: &Request<'_>) -> Result<Signed, SignError> {
    let key = request.keyring.active()?;
    let secret = key.secret()?;
    let mut findings: Vec<_> = weakness(&secret).into_iter().collect();
    let canonical_root = resolve(request.root)?;
    // Held to the end: a second signer of the same manifest waits here, so that both sequences
    // count and neither sees the other's half-named file.
    let _lock = request
        .output
        .map(|output| lock(output, request.progress))
        .transpose()?;
    let (previous, more) = read_previous(request)?;
    let terms = continue_terms(request, previous.as_ref())?;
    findings.extend(more);
    findings.extend(already_expired(&terms, request.root));
    let own_path = request
        .output
        .and_then(|output| path_within(request.root, output));
    let options = options(&terms, own_path.as_ref())?;

    let (taken, more) = take_tree(request, (&options, own_path.as_ref()), &secret)?;
    findings.extend(more);
    if let Some(previous) = previous.as_ref().filter(|_| terms.rotate.is_some()) {
        refuse_changed_tree(previous, &taken, &shown(request.root))?;
    }
    let exempt = options.exempt.iter().chain(&own_path);
    let exempt = exempt.map(|path| below(&shown(request.root), path));
    let exempt = exempt.collect();
    let tree_sha256 = taken.inventory.digest();
    let manifest = Manifest {
        created_at: terms.epoch.unwrap_or(terms.now).whole_seconds(),
        subject: terms
            .subject
            .clone()
            .unwrap_or_else(|| directory_name(&canonical_root)),
        sequence: terms.sequence.unwrap_or(1),
        expires_at: terms.expires_at,
        root: root_relation(own_path.as_ref()),
        options,
        summary: Summary::of(&taken.inventory),
        absolute_paths: absolute_paths(&canonical_root, &terms),
        inventory: clamp_times(taken.inventory, terms.epoch),
        audit_head: terms.audit_head.clone().filter(|_| terms.epoch.is_none()),
    };
    let sealed = seal(manifest, (key, &secret), &terms)?;
    let mut resources = vec![Resource {
        path: shown(request.root),
        access: "read",
        sha256: Some(tree_sha256),
    }];
    if let Some(output) = request.output {
        stop_if_interrupted(request.progress)?;
        resources.push(write(&sealed, output)?);
    }
    let (excluded, reused) = (taken.skipped.excluded, taken.cache.reused);
    Ok(Signed {
        sealed,
        tree_sha256,
        exempt,
        excluded,
        reused,
        findings,
        resources,
    })
}

/// A shard of a tree that is to be sealed once all of it has been read.
#[derive(Clone, Copy, Debug)]
pub struct ShareRequest<'a> {
    /// The tree.
    pub root: &'a Path,
    /// As [`Terms::epoch`].
    pub epoch: Option<Timestamp>,
    /// As [`Terms::exclude`].
    pub exclude: &'a [String],
    /// As [`Terms::exempt`]. The manifest is read like everything else: where it will lie is not known yet.
    pub exempt: &'a [RelPath],
    /// How far the work is, and whether to stop.
    pub progress: &'a Progress,
}

/// Reads a shard of a tree; needs no key. What cannot be read is told by the parts.
///
/// # Errors
/// A tree that cannot be opened, a pattern outside the grammar, an interruption.
pub fn share(request: &ShareRequest<'_>, shard: Shard) -> Result<Shared, SignError> {
    let excludes = Globs::compile(request.exclude)?;
    let asked = inventory::Request {
        root: request.root,
        excludes: &excludes,
        exempt: request.exempt,
        expected: None,
        progress: request.progress,
    };
    let latest = Some(latest_seconds(request.epoch));
    Ok(tree::share(&asked, (shard, latest))?)
}

/// The tree's own path, links followed: what `absolute_path` and the default subject show.
fn resolve(root: &Path) -> Result<PathBuf, SignError> {
    root.canonicalize().map_err(|source| SignError::Open {
        path: root.to_owned(),
        source,
    })
}

/// How the tree of a manifest at a path within it is found from there.
fn root_relation(own_path: Option<&RelPath>) -> RootRelation {
    own_path.map_or(RootRelation::Elsewhere, |path| {
        RootRelation::Up(path.as_bytes().iter().filter(|byte| **byte == b'/').count())
    })
}

fn write(sealed: &Sealed, output: &Path) -> Result<Resource, FileError> {
    files::write_atomic(output, 0o644, |mut out| sealed.write_document(&mut out))?;
    Ok(Resource {
        path: shown(output),
        access: "write",
        sha256: None,
    })
}

/// The tree of a manifest that is to be rotated, from what was signed.
///
/// # Errors
/// A manifest that does not verify, or that lies outside its tree.
pub fn rotation_root(manifest: &Path, keyring: &Keyring) -> Result<PathBuf, SignError> {
    let root =
        read_authentic(manifest, keyring).and_then(|sealed| verify::root_of(manifest, &sealed));
    root.map_err(|finding| SignError::Rotate(vec![finding]))
}

fn stop_if_interrupted(progress: &Progress) -> Result<(), SignError> {
    match progress.interrupted.load(Ordering::Relaxed) {
        true => Err(SignError::Interrupted),
        false => Ok(()),
    }
}

/// Locks the manifest's directory, waiting for another signer.
fn lock(output: &Path, progress: &Progress) -> Result<File, SignError> {
    let directory = files::parent_of(output);
    let file = File::open(directory).map_err(FileError::at("lock", directory))?;
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::WouldBlock) => {
                stop_if_interrupted(progress)?;
                std::thread::sleep(Duration::from_millis(10));
            }
            // File systems without locks (some network ones) leave only the atomic rename.
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => break,
            Err(TryLockError::Error(error)) => {
                return Err(FileError::at("lock", directory)(error).into());
            }
        }
    }
    // What a signer that was killed between naming and renaming left behind.
    let _ = std::fs::remove_file(files::temporary_of(output));
    Ok(file)
}

/// The manifest that will be replaced, if it is one of ours.
fn read_previous(request: &Request<'_>) -> Result<(Option<Sealed>, Option<Finding>), SignError> {
    let there = request
        .output
        .filter(|output| output.symlink_metadata().is_ok_and(|meta| meta.is_file()));
    if let Some(output) = request.output
        && (is_special(output) && path_within(request.root, output).is_some()
            || there.is_some() && !looks_like_manifest(output))
    {
        return Err(SignError::Output(shown(output)));
    }
    let must = request.terms.rotate.as_ref();
    // A given number and a reproducible manifest do not depend on what was there before.
    let fixed = request.terms.sequence.is_some() || request.terms.epoch.is_some();
    let output = match (there, must, fixed) {
        (Some(output), Some(_), _) | (Some(output), None, false) => output,
        (None, Some(_), _) => {
            let place = request.output.map(shown).unwrap_or_default();
            let text = "there is no manifest to rotate";
            return Err(SignError::Rotate(vec![
                Finding::new(&codes::MANIFEST_UNREADABLE, text).at(place),
            ]));
        }
        _ => return Ok((None, None)),
    };
    if let Some(terms) = must {
        let sealed = read_verified((output, request.root), request.keyring, terms);
        return Ok((Some(sealed.map_err(SignError::Rotate)?), None));
    }
    match read_authentic(output, request.keyring) {
        Ok(sealed) => Ok((Some(sealed), None)),
        Err(finding) => {
            let text = format!(
                "the manifest that is replaced does not verify ({})",
                finding.message
            );
            Ok((
                None,
                Some(Finding::new(&codes::SIGN_PREVIOUS_UNVERIFIED, text).at(shown(output))),
            ))
        }
    }
}

/// Whether a FIFO, socket or device stands there. Outside of the tree it may be meant as a way out;
/// inside, the tree would be left without its manifest.
fn is_special(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|meta| {
        let kind = meta.file_type();
        !kind.is_file() && !kind.is_symlink() && !kind.is_dir()
    })
}

/// Whether a file may be replaced by a manifest: an empty one, or one that begins as ours and the
/// guide's do. Anything else is somebody's work.
fn looks_like_manifest(path: &Path) -> bool {
    let mut start = Vec::new();
    let read = files::open_regular(path).and_then(|file| {
        let read = file.take(4096).read_to_end(&mut start);
        read.map_err(FileError::at("read", path))
    });
    let names = |field: &str| {
        start
            .windows(field.len())
            .any(|window| window == field.as_bytes())
    };
    // What cannot be read is left to the error of replacing it.
    read.is_err() || start.is_empty() || names("\"algorithm\"") || names("\"manifest_version\"")
}

/// The terms with what the previous manifest decides filled in.
fn continue_terms(request: &Request<'_>, previous: Option<&Sealed>) -> Result<Terms, SignError> {
    let mut terms = request.terms.clone();
    if let Some(Sealed { manifest, .. }) = previous {
        terms
            .sequence
            .get_or_insert(manifest.sequence.saturating_add(1));
        if terms.rotate.is_some() {
            // Nothing is told of this machine that was not told before.
            terms.absolute_paths &= manifest.absolute_paths.root.is_some();
            terms.subject = Some(manifest.subject.clone());
            terms.expires_at = terms.expires_at.or(manifest.expires_at);
            terms.exclude.clone_from(&manifest.options.exclude);
            terms.exempt.clone_from(&manifest.options.exempt);
        }
    }
    match terms.sequence {
        Some(sequence) if !(1..=INTEGER_MAX).contains(&sequence) => {
            Err(SignError::Sequence(sequence))
        }
        _ => Ok(terms),
    }
}

fn already_expired(terms: &Terms, root: &Path) -> Option<Finding> {
    let expires_at = terms.expires_at.filter(|time| *time < terms.now)?;
    let text = format!("expired at {}", expires_at.to_seconds_string());
    Some(Finding::new(&codes::SIGN_ALREADY_EXPIRED, text).at(shown(root)))
}

/// What is left out: as asked, and the report that the guide's own sequence writes beside the
/// manifest.
fn options(terms: &Terms, own_path: Option<&RelPath>) -> Result<Options, SignError> {
    let mut exempt = terms.exempt.clone();
    if let Some(own_path) = own_path.filter(|_| terms.rotate.is_none()) {
        let directory = own_path.parent();
        let report = match &directory {
            Some(directory) => [directory.as_bytes(), b"/", REPORT_NAME.as_bytes()].concat(),
            None => REPORT_NAME.as_bytes().to_vec(),
        };
        exempt.extend(RelPath::parse(&report));
    }
    exempt.sort();
    exempt.dedup();
    if let Some(path) = exempt.iter().find(|path| path.to_json_name().1) {
        return Err(SignError::Exempt(path.clone()));
    }
    let mut exclude = terms.exclude.clone();
    exclude.sort();
    exclude.dedup();
    Ok(Options { exclude, exempt })
}

fn take_tree(
    request: &Request<'_>,
    (options, own_path): (&Options, Option<&RelPath>),
    secret: &Secret,
) -> Result<(Taken, Vec<Finding>), SignError> {
    let excludes = Globs::compile(&options.exclude)?;
    let mut exempt = options.exempt.clone();
    exempt.extend(own_path.cloned());
    let asked = inventory::Request {
        root: request.root,
        excludes: &excludes,
        exempt: &exempt,
        expected: None,
        progress: request.progress,
    };
    let cache = request.cache_dir.map(|directory| (directory, secret));
    let (taken, findings) = match &request.parts {
        Some(parts) => {
            let latest = Some(latest_seconds(request.terms.epoch));
            (tree::take_parts(&asked, parts, latest)?, Vec::new())
        }
        None => tree::take(&asked, cache)?,
    };
    let root = shown(request.root);
    let mut refused = problem_findings(&taken.problems, &root);
    for (path, entry) in taken.inventory.iter() {
        if let Entry::Special(_) = entry {
            let text = format!("a {} cannot be signed", entry.kind().name());
            refused.push(Finding::new(&codes::FILE_UNSUPPORTED, text).at(below(&root, path)));
        }
    }
    if let Some(seen) = request.seen {
        let is_exempt = |path: &RelPath| exempt.iter().any(|one| path.is_within(one));
        let is_sealed = |path: &RelPath| !excludes.excludes(path) && !is_exempt(path);
        let mut changes = inventory::diff(seen, &taken.inventory).into_iter();
        refused.extend(changes.find(|one| is_sealed(one.path)).map(|one| {
            let text = "it changed after it was looked at and before it was sealed";
            Finding::new(&codes::RUN_UNSEALED, text).at(below(&root, one.path))
        }));
    }
    if !refused.is_empty() {
        refused.sort();
        return Err(SignError::Unsignable(refused));
    }
    if taken.inventory.is_empty() && !request.terms.allow_empty {
        return Err(SignError::Empty(root));
    }
    Ok((taken, findings))
}

/// A rotation vouches for nothing new: the tree must be what the old key signed.
fn refuse_changed_tree(previous: &Sealed, taken: &Taken, root: &str) -> Result<(), SignError> {
    let expected = &previous.manifest.inventory;
    let changes = compare(expected, taken, (root, &mut Counters::default()));
    match changes.is_empty() {
        true => Ok(()),
        false => Err(SignError::Rotate(changes)),
    }
}

fn seal(
    manifest: Manifest,
    (key, secret): (&Key, &Rc<Secret>),
    terms: &Terms,
) -> Result<Sealed, SignError> {
    let signed_at = match terms.epoch {
        Some(epoch) => epoch,
        None => crate::base::clock::now().max(terms.now),
    };
    if !key.covers(signed_at) {
        let finding = Finding::new(
            &codes::SIGNATURE_KEY_PERIOD,
            format!(
                "key {} is not in use at {}",
                key.id,
                signed_at.to_seconds_string()
            ),
        )
        .with_hint("make another key of the keyring active");
        return Err(SignError::Unsignable(vec![finding]));
    }
    manifest
        .seal(secret, signed_at.whole_seconds())
        .map_err(SignError::Seal)
}

fn absolute_paths(canonical_root: &Path, terms: &Terms) -> AbsolutePaths {
    use std::os::unix::ffi::OsStrExt;
    let spelled = relpath::escape(canonical_root.as_os_str().as_bytes()).0;
    // The root of the file system is the one path that ends in a slash.
    let root = spelled.strip_suffix('/').unwrap_or(&spelled).to_owned();
    AbsolutePaths {
        root: terms.absolute_paths.then_some(root),
        ..AbsolutePaths::default()
    }
}

/// With `SOURCE_DATE_EPOCH` no time is later than it. Without, none is later than a manifest can
/// say: some file systems keep any 64 bits that somebody sets.
fn clamp_times(inventory: Inventory, epoch: Option<Timestamp>) -> Inventory {
    inventory.with_times_at_most(latest_seconds(epoch))
}

fn latest_seconds(epoch: Option<Timestamp>) -> u64 {
    let latest = epoch.map(|epoch| epoch.unix_seconds().max(0).unsigned_abs());
    latest.unwrap_or(INTEGER_MAX)
}

fn directory_name(canonical_root: &Path) -> String {
    let name = canonical_root
        .file_name()
        .map(|name| name.to_string_lossy().into_owned());
    name.unwrap_or_else(|| "root".into())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use super::*;

    #[test]
    fn no_time_is_later_than_a_manifest_can_say() {
        let link = inventory::Symlink {
            target: b"x".as_slice().into(),
            mode: 0o777,
            modified_seconds: u64::MAX,
        };
        let path = RelPath::parse(b"link").unwrap();
        let tree = Inventory::from_entries(vec![(path.clone(), Entry::Symlink(link))]).unwrap();
        for (epoch, latest) in [(None, INTEGER_MAX), (Some(7), 7)] {
            let epoch = epoch.map(Timestamp::from_unix_seconds);
            let clamped = clamp_times(tree.clone(), epoch);
            assert!(
                matches!(clamped.get(&path), Some(Entry::Symlink(link)) if link.modified_seconds == latest)
            );
        }
    }
}
