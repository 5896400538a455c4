//! `agp`, the Asset Governance Pipeline.
#![doc = ""]
pub mod base;
pub mod policy;
