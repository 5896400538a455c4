//! Sealing: the canonical form, the digest and the MAC of a manifest of 20,000 entries, beside what
//! the bytes alone would cost.
//!
//! Compare within one run: `bytes alone` is SHA-256 over as many bytes as `content hash` digests.
#![expect(clippy::expect_used, reason = "a bench may stop at the first surprise")]

use std::hint::black_box;
use std::io;

use agp::base::clock::Timestamp;
use agp::base::digest::Digest;
use agp::base::relpath::RelPath;
use agp::base::{canon, digest::Hasher};
use agp::integrity::{AbsolutePaths, Manifest, Options, RootRelation, Summary};
use agp::inventory::{Entry, File, Inventory};
use agp::seal::Secret;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const ENTRIES: u32 = 20_000;

/// Two hundred directories of a hundred files, some of them with names beyond ASCII.
fn manifest() -> Manifest {
    let file = |number: u32| {
        let accent = if number.is_multiple_of(10) { "é" } else { "e" };
        let name = format!("d{:03}/textur{accent}-{number:05}.bin", number / 100);
        let path = RelPath::parse(name.as_bytes()).expect("a path");
        let file = File {
            size_bytes: u64::from(number) * 977,
            sha256: Digest::of(&number.to_le_bytes()),
            mode: 0o644,
            modified_seconds: 1_700_000_000 + u64::from(number),
        };
        (path, Entry::File(file))
    };
    let directory = |number: u32| {
        let path = RelPath::parse(format!("d{number:03}").as_bytes()).expect("a path");
        (path, Entry::Directory { mode: 0o755 })
    };
    let files = (0..ENTRIES).map(file);
    let entries = files.chain((0..ENTRIES / 100).map(directory)).collect();
    let inventory = Inventory::from_entries(entries).expect("no path twice");
    Manifest {
        created_at: Timestamp::from_unix_seconds(1_700_000_000),
        subject: "bench".into(),
        sequence: 1,
        expires_at: None,
        root: RootRelation::Up(0),
        options: Options::default(),
        summary: Summary::of(&inventory),
        inventory,
        absolute_paths: AbsolutePaths {
            root: Some("/srv/assets/output".into()),
            ..AbsolutePaths::default()
        },
        audit_head: None,
    }
}

fn sealing(criterion: &mut Criterion) {
    let manifest = manifest();
    let secret = Secret::decode(&[b'k'; 32], 32).expect("a secret");
    let now = Timestamp::from_unix_seconds(1_700_000_001);
    let sealed = manifest.clone().seal(&secret, now).expect("a seal");
    let mut document = Vec::new();
    sealed.write_document(&mut document).expect("a document");
    let value: serde_json::Value = serde_json::from_slice(&document).expect("JSON");
    let canonical = canon::to_vec(&value).expect("a canonical form");

    let mut group = criterion.benchmark_group("manifest of 20,000 entries");
    group.throughput(Throughput::Elements(u64::from(ENTRIES)));
    group.bench_function("content hash", |bench| {
        bench.iter(|| black_box(&manifest).content_hash().expect("a digest"));
    });
    group.bench_function("bytes alone", |bench| {
        bench.iter(|| {
            let mut hasher = Hasher::default();
            hasher.update(black_box(&canonical));
            hasher.finish()
        });
    });
    group.bench_function("canonical form of a value", |bench| {
        bench.iter(|| canon::write_value(&mut io::sink(), black_box(&value)));
    });
    group.bench_function("check the seal", |bench| {
        bench.iter(|| black_box(&sealed).is_authentic(&secret).expect("an answer"));
    });
    group.bench_function("write the document", |bench| {
        bench.iter(|| black_box(&sealed).write_document(&mut io::sink()));
    });
    group.finish();
}

criterion_group!(benches, sealing);
criterion_main!(benches);
