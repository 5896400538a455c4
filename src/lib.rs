//! `agp`, the Asset Governance Pipeline: seals a tree of assets, proves it intact, and records
//! what happened to it.
//!
//! Two ideas carry the house. **A directory tree is a value**, [`inventory::Inventory`]: every
//! verb is a question about it, and walking and hashing are written once. **Values flow down, one
//! [`report::Report`] flows up**: a verb is a function from policy and request to a report, and
//! what happens to every report happens in one place, the shell's spine ([`cli`]).
//!
//! # Floors
//!
//! A module uses lower floors only; siblings on a floor are strangers. `tests/it/tidy.rs` holds
//! this table and proves it.
//!
//! | floor | modules, in reading order |
//! |---|---|
//! | 0, the ground | [`base`]: paths, digests, canonical JSON, clock, atomic files |
//! | 1, nouns | [`report`], [`inventory`], [`seal`], [`policy`], [`process`], [`system`], [`history`]: past runs |
//! | 2, verbs | [`integrity`]: manifest, sign, verify; [`guard`]: rules, scan; [`rollback`]: snapshots, restore; [`budget`]: how long work may take |
//! | 2, measures | [`profile`]: what a command takes, where its time goes, and whether that is more than it was |
//! | 2, recorders | [`audit`]: the log; [`export`]: reports in other formats; [`alert`]: who hears of what; [`part`]: a shard's share |
//! | 3, composed | [`pipeline`]: what takes several verbs |
//! | 4, the shell | [`cli`]: flags, environment, terminal, exit codes |
//!
//! # A worked example
//!
//! Seal a tree in memory, and notice a changed byte:
//!
//! ```
//! use agp::inventory::{self, Globs, Progress, Request};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let folder = tempfile::tempdir()?;
//! std::fs::write(folder.path().join("a.txt"), "one")?;
//! let take = || {
//!     let request = Request {
//!         root: folder.path(),
//!         excludes: &Globs::default(),
//!         exempt: &[],
//!         expected: None,
//!         progress: &Progress::default(),
//!     };
//!     inventory::take(&request, None).map(|taken| taken.inventory)
//! };
//! let before = take()?;
//! std::fs::write(folder.path().join("a.txt"), "two")?;
//! let after = take()?;
//! let changes = inventory::diff(&before, &after);
//! assert_eq!(changes[0].path.to_string(), "a.txt");
//! # Ok(())
//! # }
//! ```

pub mod base;

pub mod history;
pub mod inventory;
pub mod policy;
pub mod process;
pub mod report;
pub mod seal;
pub mod system;

pub mod alert;
pub mod audit;
pub mod budget;
pub mod export;
pub mod guard;
pub mod integrity;
pub mod part;
pub mod profile;
pub mod rollback;

pub mod pipeline;

pub mod cli;
