//! Floor 0, the ground: values and disk primitives that know nothing of `agp`.

pub mod beneath;
pub mod canon;
pub mod clock;
pub mod digest;
pub mod event;
pub mod files;
pub mod naming;
pub mod records;
pub mod relpath;
pub mod severity;
pub mod shard;
pub mod units;
