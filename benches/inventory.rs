//! Walking and hashing, beside the plainest loop that does the least it could.
//!
//! The trees are small likenesses of those the project's figures are quoted on. Compare within one
//! run: `take` beside `plain`, both on as many threads as there are cores.
#![expect(clippy::expect_used, reason = "a bench may stop at the first surprise")]

use std::fs;
use std::hint::black_box;
use std::io::Read;
use std::path::{Path, PathBuf};

use agp::base::digest::{Digest, Hasher};
use agp::base::relpath::RelPath;
use agp::inventory::{Cache, Entry, File, Globs, Inventory, Progress, Request, diff, list, take};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rayon::prelude::*;

/// The same numbers on every machine (xorshift64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// From a normal distribution, near enough (Irwin and Hall).
    fn normal(&mut self) -> f64 {
        let unit = |number: u64| (number >> 11) as f64 / (1_u64 << 53) as f64;
        (0..12).map(|_| unit(self.next())).sum::<f64>() - 6.0
    }
}

/// The sizes of the files of a tree, in bytes.
fn sizes(corpus: &str) -> Vec<u64> {
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    match corpus {
        "small" => (0..2000)
            .map(|_| 1024 + numbers.next() % (15 * 1024))
            .collect(),
        "mixed" => (0..500)
            .map(|_| ((10.7 + 1.8 * numbers.normal()).exp() as u64).min(32 << 20))
            .collect(),
        _ => vec![32 << 20; 4],
    }
}

/// Writes a tree of fifty files a directory.
fn generate(corpus: &str) -> (tempfile::TempDir, u64) {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let sizes = sizes(corpus);
    for (number, size) in sizes.iter().enumerate() {
        let parent = folder
            .path()
            .join(format!("d{:02}/e{:02}", number / 500, number / 50 % 10));
        fs::create_dir_all(&parent).expect("a directory");
        let content: Vec<u8> = (0..*size)
            .map(|at| (at as usize * 31 + number) as u8)
            .collect();
        fs::write(parent.join(format!("file-{number:05}.bin")), content).expect("a file");
    }
    (folder, sizes.iter().sum())
}

/// The yardstick: list, open, read, hash. No second look, no modes, no order of work.
fn plain(root: &Path) -> Vec<(PathBuf, Digest)> {
    let entries = walkdir::WalkDir::new(root)
        .into_iter()
        .map(|entry| entry.expect("an entry"));
    let files: Vec<PathBuf> = entries
        .filter(|entry| entry.file_type().is_file())
        .map(walkdir::DirEntry::into_path)
        .collect();
    let hash = |buffer: &mut Vec<u8>, path: PathBuf| {
        let mut file = fs::File::open(&path).expect("a file");
        let mut hasher = Hasher::default();
        loop {
            match file.read(buffer).expect("bytes") {
                0 => return (path, hasher.finish()),
                read => hasher.update(&buffer[..read]),
            }
        }
    };
    files
        .into_par_iter()
        .map_init(|| vec![0; 1 << 16], hash)
        .collect()
}

fn walking_and_hashing(criterion: &mut Criterion) {
    let (globs, progress) = (Globs::default(), Progress::default());
    for corpus in ["small", "mixed", "large"] {
        let (folder, bytes) = generate(corpus);
        let request = Request {
            root: folder.path(),
            excludes: &globs,
            exempt: &[],
            expected: None,
            progress: &progress,
        };
        let mut group = criterion.benchmark_group(corpus);
        group.throughput(Throughput::Bytes(bytes)).sample_size(20);
        group.bench_function("plain", |bench| {
            bench.iter(|| plain(black_box(folder.path())))
        });
        group.bench_function("take", |bench| {
            bench.iter(|| take(black_box(&request), None).expect("an inventory"))
        });
        if corpus == "small" {
            group.bench_function("list", |bench| {
                bench.iter(|| list(black_box(&request)).expect("a listing"))
            });
            // Only what has been still for two seconds is kept.
            std::thread::sleep(std::time::Duration::from_secs(3));
            let mac = |bytes: &[u8]| Digest::of(bytes).0;
            let mut cache = Cache::load(&folder.path().join("none"), folder.path(), &mac);
            group.bench_function("take with a cache", |bench| {
                bench.iter(|| take(black_box(&request), Some(&mut cache)).expect("an inventory"));
            });
        }
    }
}

fn comparing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("diff");
    for count in [1_000_u32, 100_000] {
        let entries = (0..count).map(|number| {
            let name = format!("d{:03}/file-{number:07}.bin", number / 1000);
            let path = RelPath::parse(name.as_bytes()).expect("a path");
            let sha256 = Digest([number as u8; 32]);
            (
                path,
                Entry::File(File {
                    size_bytes: 1,
                    sha256,
                    mode: 0o644,
                    modified_seconds: 0,
                }),
            )
        });
        let one = Inventory::from_entries(entries.collect()).expect("no path twice");
        let other = one.clone();
        group.throughput(Throughput::Elements(u64::from(count)));
        group.bench_function(BenchmarkId::from_parameter(count), |bench| {
            bench.iter(|| diff(black_box(&one), black_box(&other)).len());
        });
    }
}

criterion_group!(benches, walking_and_hashing, comparing);
criterion_main!(benches);
