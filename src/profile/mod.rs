//! `agp profile`: whether a run is slower than the past, and by how much.
//!
//! The pure half: [`regress`] judges one series, [`gate`] all stages and metrics of a run.
//! Nothing here measures, reads a file or knows the time.

mod baseline;
mod levels;
mod machine;
mod numbers;
pub mod regress;
