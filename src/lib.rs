//! `agp`, the Asset Governance Pipeline.
#![doc = ""]
pub mod audit;
pub mod base;
pub mod report;
pub mod seal;
