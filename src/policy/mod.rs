//! Floor 1: the policy file, its one loader, its schema and its reference.
//!
//! Owns what every key means, which values it takes and what it defaults to. Must never know the
//! verbs that read a policy, the command line, or the environment.

mod alerts;
mod check;
mod describe;
mod found;
mod load;
mod place;
mod raw;
mod shape;
#[cfg(test)]
mod tests;

pub use alerts::*;
pub use describe::{reference, schema, starter};
pub use load::{LoadError, LoadRequest, Loaded, Source, load};
pub use place::{Place, Problem};
pub use raw::*;
