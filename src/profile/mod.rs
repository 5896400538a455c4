//! Floor 2: what a command takes, where its time goes, and whether that is more than it was.
//!
//! [`record`] runs and measures; [`bottleneck`] and [`limits`] are pure. Must never know the flags,
//! the policy file, or who reads the answer.

pub mod bottleneck;
pub mod limits;
pub mod record;
