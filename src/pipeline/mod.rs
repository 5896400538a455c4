//! Floor 3: what takes several verbs, which on their own floor are strangers to each other.
//!
//! Must never know the flags or who reads the answer.

mod allowance;
mod work;

pub use allowance::{Allowance, protected};
pub use work::{Work, WorkError, WorkRequest, work};
