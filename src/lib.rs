//! `agp`, the Asset Governance Pipeline.
#![doc = ""]
pub mod base;
pub mod integrity;
pub mod inventory;
pub mod process;
pub mod report;
pub mod seal;
pub mod system;
