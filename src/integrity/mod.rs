//! Sealing a tree and proving it intact: the manifest, `sign`, and `verify`.
//!
//! Knows the wire format and its rules; never the command line, the terminal or the audit log.

mod checks;
mod manifest;
mod parse;
mod schema;
mod section;
pub mod sign;
mod state;
mod terms;
mod tree;
pub mod verify;

pub use manifest::{AbsolutePaths, Manifest, Options, RootRelation, Sealed, Signature, Summary};
pub use parse::ParseError;
pub use schema::schema;
pub use section::{Check, Checks, Counters, Identity, Section};
pub use state::{SequenceState, StateError};
pub use tree::{Parts, Shared, problem_findings};
pub use verify::{is_disturbed, read_authentic};
