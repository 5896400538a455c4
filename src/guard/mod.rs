//! Floor 2: what should not be in a tree of assets, and what should not be done to it.
//!
//! Owns the rules, the scan, what suppresses a finding and what a policy makes of it. Must never
//! know the command line, where findings are printed, or which other verb asks.

mod archive;
mod compression;
mod content;
mod decode;
mod evaluate;
pub mod files;
pub mod filter;
mod found;
mod look;
mod notes;
mod pack;
mod rule;
mod scan;
mod template;
#[cfg(test)]
mod tests;
mod wide;
mod window;

pub use evaluate::{Coverage, Evaluation, GuardError, Request, evaluate};
pub use found::{Found, Place};
pub use notes::Item;
pub use pack::shipped;
pub use rule::{Check, Family, LoadError, Near, Pack, Pattern, Rule};
pub use scan::{Match, Scanner, Scratch};
