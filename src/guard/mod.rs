//! Floor 2: what should not be in a tree of assets, and what should not be done to it.
//!
//! Owns the rules, the scan, what suppresses a finding and what a policy makes of it. Must never
//! know the command line, where findings are printed, or which other verb asks.

mod archive;
mod assign;
mod baseline;
mod cleared;
mod compression;
mod content;
mod decode;
mod enforce;
mod evaluate;
mod explain;
mod files;
pub mod filter;
mod fingerprint;
mod found;
mod git;
mod judge;
mod keywords;
mod look;
mod need;
mod notes;
mod operation_log;
mod operations;
mod pack;
mod pattern;
mod piece;
mod places;
mod redact;
mod rule;
mod runs;
mod scan;
mod search;
mod select;
mod settings;
mod share;
mod suppress;
mod template;
#[cfg(test)]
mod tests;
mod tracked;
mod watch;
mod wide;
mod window;

pub use baseline::{Baseline, BaselineError, REASON};
pub use cleared::{Examiner, Memory};
pub use enforce::{Enforcement, is_gap};
pub use evaluate::{Coverage, Evaluation, GuardError, Request, evaluate};
pub use explain::{Listed, behind, explain, index, list};
pub use fingerprint::{Salt, SaltOrigin};
pub use found::{Found, Place};
pub use git::GitError;
pub use judge::{Accepted, BaselineUse, Terms};
pub use operation_log::{Reading, read_log};
pub use operations::{Operation, Operations, OperationsError, Standing};
pub use pack::shipped;
pub use pattern::Pattern;
pub use redact::{Redactor, hidden};
pub use rule::{Check, Family, LoadError, Near, Pack, Rule};
pub use scan::{Match, Scanner, Scratch};
pub use select::{RuleFile, SelectError, Selection, select};
pub use settings::contradictions;
pub use share::{Clean, Looked, evaluate_known, look_at_share};
pub use tracked::{Reach, Scope, Tracked};
