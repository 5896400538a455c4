//! `agp`, the Asset Governance Pipeline.
#![doc = ""]
pub mod audit;
pub mod base;
pub mod cli;
pub mod integrity;
pub mod inventory;
pub mod policy;
pub mod process;
pub mod report;
pub mod seal;
pub mod system;
