//! What was looked into already: contents in which nothing was met with need no second look while the rules
//! stay. Owns the file that this is kept in; must never know where its key comes from.
//!
//! A record is 48 bytes: SHA-256 over the digest of a content and the path that it has, then how many bytes
//! were looked at, how many members it has and how many texts in it were decoded. A content with which there
//! is something to be judged has a record too, which says no more than that: no value leaves its file.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::content::{Bytes, Tools};
use super::look::{Seen, Source, look_inside};
use super::scan::{Scanner, Scratches};
use super::share::{Clean, is_clean};
use super::watch::Checks;
use crate::base::digest::{Digest, Hasher};
use crate::base::files::FileError;
use crate::base::records::{self, MacFn, Refused};
use crate::base::relpath::RelPath;
use crate::inventory::{Content, Keeper, Kind, Progress};
use crate::policy::Policy;

const RECORD_BYTES: usize = 48;
/// With how the file begins; the digest of the rules follows.
const MAGIC: &[u8; 16] = b"agp cleared v1\n\0";
/// Where more is known, only what this run met is kept: 48 MiB.
const RECORDS_MAX: usize = 1 << 20;
/// What `bytes` says where a content has to be looked at by whoever judges.
const SUSPECT: u64 = u64::MAX;
/// Files up to this size are held in memory until their digest is known.
const HELD_BYTES: u64 = 4 << 20;

/// Where it is remembered which contents were looked into.
#[derive(Clone, Copy)]
pub struct Memory<'a> {
    /// The directory of this and of the digests that stand for contents.
    pub(super) directory: &'a Path,
    /// What the answer depends on besides the content and its path: rules and policy.
    rules: Digest,
    /// The MAC that covers the files.
    pub(super) mac: &'a MacFn<'a>,
}

/// Looks into contents while others read them, and remembers what was clean.
pub struct Examiner<'a> {
    scanner: &'a Scanner,
    checks: Checks<'a>,
    progress: &'a Progress,
    memory: Memory<'a>,
    known: HashMap<Digest, Verdict>,
    met: Mutex<HashMap<Digest, Verdict>>,
    scratches: Scratches,
    discarded: Option<String>,
}

/// What looking into a content gave.
#[derive(Clone, Copy)]
enum Verdict {
    Clean(Clean),
    Suspect,
}

impl<'a> Memory<'a> {
    /// The memory of those rules, of which the digest is given, under a policy.
    pub fn new(
        directory: &'a Path,
        (rules, policy): (Digest, &Policy),
        mac: &'a MacFn<'a>,
    ) -> Self {
        let mut hasher = Hasher::default();
        hasher.update(env!("CARGO_PKG_VERSION").as_bytes());
        hasher.update(&rules.0);
        // A policy has no map whose keys are no strings.
        hasher.update(&serde_json::to_vec(policy).unwrap_or_default());
        Self {
            directory,
            rules: hasher.finish(),
            mac,
        }
    }
}

impl<'a> Examiner<'a> {
    /// An examiner that knows what others have met; they all share one memory.
    pub fn new(
        (scanner, policy): (&'a Scanner, &'a Policy),
        memory: Memory<'a>,
        progress: &'a Progress,
    ) -> Self {
        let (path, head) = (file(memory), head(memory));
        let bytes_max = 2 * (RECORDS_MAX * RECORD_BYTES) as u64;
        let loaded = records::load::<RECORD_BYTES>(&path, (&head, bytes_max), memory.mac);
        let (bytes, discarded) = match loaded {
            Ok(bytes) => (bytes, None),
            // By other rules.
            Err(Refused::Head) => (Vec::new(), None),
            Err(refused) => (Vec::new(), Some(refused.to_string())),
        };
        let records = bytes.as_chunks::<RECORD_BYTES>().0.iter();
        Self {
            scanner,
            checks: Checks::new(scanner.pack(), policy),
            progress,
            memory,
            known: records.map(parse).collect(),
            met: Mutex::default(),
            scratches: Scratches::default(),
            discarded,
        }
    }

    /// Where this and the digests are kept.
    pub(super) fn memory(&self) -> Memory<'a> {
        self.memory
    }

    /// Why what was remembered is not believed, but for other rules; a lower-case fragment.
    pub fn discarded(&self) -> Option<&str> {
        self.discarded.as_deref()
    }

    /// What was counted in a content that is clean where it stands; `None` where that is not known.
    pub(super) fn clean(&self, path: &RelPath, digest: &Digest) -> Option<Clean> {
        match self.verdict(path, digest)? {
            Verdict::Clean(clean) => Some(clean),
            Verdict::Suspect => None,
        }
    }

    fn verdict(&self, path: &RelPath, digest: &Digest) -> Option<Verdict> {
        let key = key(path, digest);
        let mut met = lock(&self.met);
        if let Some(verdict) = met.get(&key) {
            return Some(*verdict);
        }
        let verdict = *self.known.get(&key)?;
        met.insert(key, verdict);
        Some(verdict)
    }

    /// Remembers what was met for the next time.
    ///
    /// # Errors
    /// What the system says; then the old memory still stands.
    pub fn save(&self) -> Result<(), FileError> {
        let met = lock(&self.met);
        let is_new = |key: &&Digest| !met.contains_key(*key);
        let more = self.known.keys().filter(is_new).count();
        let mut records: Vec<_> = met.iter().map(record).collect();
        if records.len() + more <= RECORDS_MAX {
            let others = self.known.iter().filter(|(key, _)| is_new(key));
            records.extend(others.map(record));
        }
        records.sort_unstable();
        let bytes = records.into_flattened();
        let head = head(self.memory);
        records::save(&file(self.memory), (&head, &bytes), self.memory.mac)
    }

    fn examine(&self, path: &RelPath, bytes: Bytes<'_>, size_bytes: u64) -> Verdict {
        let source = Source {
            shown: String::new(),
            path: path.clone(),
            kind: Kind::File,
            commit: None,
        };
        let tools = Tools {
            scanner: self.scanner,
            checks: &self.checks,
            progress: self.progress,
        };
        let mut seen = Seen::default();
        let looked = self
            .scratches
            .with(|scratch| look_inside((tools, scratch), (bytes, size_bytes), &source, &mut seen));
        match looked.is_ok() && is_clean(&seen) {
            true => Verdict::Clean(Clean::of(&seen)),
            false => Verdict::Suspect,
        }
    }
}

impl Keeper for Examiner<'_> {
    fn has(&self, path: &RelPath, digest: &Digest) -> bool {
        self.verdict(path, digest).is_some()
    }

    fn begin(
        &self,
        path: &RelPath,
        file: BorrowedFd<'_>,
        size_bytes: u64,
    ) -> io::Result<Box<dyn Content + '_>> {
        let (held, file) = match size_bytes <= HELD_BYTES {
            true => (
                Vec::with_capacity(usize::try_from(size_bytes).unwrap_or(0)),
                None,
            ),
            false => (Vec::new(), Some(file.try_clone_to_owned()?)),
        };
        Ok(Box::new(Examined {
            examiner: self,
            path: path.clone(),
            held,
            file,
            size_bytes,
        }))
    }
}

/// A content that is looked into once its digest is known.
struct Examined<'e> {
    examiner: &'e Examiner<'e>,
    path: RelPath,
    held: Vec<u8>,
    /// What is too large to be held is read once more.
    file: Option<OwnedFd>,
    size_bytes: u64,
}

impl Content for Examined<'_> {
    fn take_in(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.file.is_none() {
            self.held.extend_from_slice(bytes);
        }
        Ok(())
    }

    fn finish(self: Box<Self>, digest: Digest) -> io::Result<()> {
        let (examiner, path) = (self.examiner, &self.path);
        let verdict = match self.file {
            None => examiner.examine(path, Bytes::Stream(&mut &*self.held), self.size_bytes),
            Some(file) => {
                let mut file = File::from(file);
                file.rewind()?;
                let mut hashed = Hashed::new(file);
                let found = examiner.examine(path, Bytes::Stream(&mut hashed), self.size_bytes);
                // Whoever writes to it meanwhile makes it two contents.
                match hashed.finish()? == digest {
                    true => found,
                    false => Verdict::Suspect,
                }
            }
        };
        lock(&examiner.met).insert(key(path, &digest), verdict);
        Ok(())
    }
}

/// Reads what another reader reads, and its digest.
struct Hashed {
    inner: File,
    hasher: Hasher,
}

impl Hashed {
    fn new(inner: File) -> Self {
        let hasher = Hasher::default();
        Self { inner, hasher }
    }

    /// The digest of all of it, whatever of it was read before.
    fn finish(mut self) -> io::Result<Digest> {
        let mut buffer = vec![0; 1 << 16];
        while self.read(&mut buffer)? > 0 {}
        Ok(self.hasher.finish())
    }
}

impl Read for Hashed {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(out)?;
        self.hasher.update(&out[..count]);
        Ok(count)
    }
}

fn file(memory: Memory<'_>) -> PathBuf {
    memory.directory.join("cleared")
}

fn head(memory: Memory<'_>) -> Vec<u8> {
    [&MAGIC[..], &memory.rules.0].concat()
}

fn key(path: &RelPath, digest: &Digest) -> Digest {
    let mut hasher = Hasher::default();
    hasher.update(&digest.0);
    hasher.update(path.as_bytes());
    hasher.finish()
}

fn record((key, verdict): (&Digest, &Verdict)) -> [u8; RECORD_BYTES] {
    let narrow = |count: u64| u32::try_from(count).ok();
    let (bytes, members, decoded) = match verdict {
        Verdict::Clean(clean) => match narrow(clean.members).zip(narrow(clean.decoded)) {
            Some((members, decoded)) => (clean.bytes, members, decoded),
            None => (SUSPECT, 0, 0),
        },
        Verdict::Suspect => (SUSPECT, 0, 0),
    };
    let mut record = [0; RECORD_BYTES];
    record[..32].copy_from_slice(&key.0);
    record[32..40].copy_from_slice(&bytes.to_be_bytes());
    record[40..44].copy_from_slice(&members.to_be_bytes());
    record[44..].copy_from_slice(&decoded.to_be_bytes());
    record
}

fn parse(record: &[u8; RECORD_BYTES]) -> (Digest, Verdict) {
    let mut key = [0; 32];
    key.copy_from_slice(&record[..32]);
    let number = |bytes: &[u8]| {
        bytes
            .iter()
            .fold(0, |all, byte| all << 8 | u64::from(*byte))
    };
    let verdict = match number(&record[32..40]) {
        SUSPECT => Verdict::Suspect,
        bytes => Verdict::Clean(Clean {
            files: 1,
            bytes,
            members: number(&record[40..44]),
            decoded: number(&record[44..]),
        }),
    };
    (Digest(key), verdict)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl std::fmt::Debug for Examiner<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Examiner({} contents)", self.known.len())
    }
}
