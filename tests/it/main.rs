//! The integration tests: the binary as its users meet it, and the house's own rules.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test may stop at the first surprise, and says what it skips"
)]
#![expect(unreachable_pub, reason = "nothing leaves a test binary")]

mod alerts;
mod audit;
mod budget;
mod docs_in_step;
mod faults_files;
mod faults_manifest;
mod faults_paths;
mod guard_cache;
mod guard_detection;
mod guard_files;
mod guard_verdict;
mod guide;
mod harness;
mod interrupted;
mod keys_and_policy;
mod outputs;
mod profile;
mod profile_judge;
mod reports;
mod rollback;
mod rollback_run;
mod run;
mod shards;
mod sign_verify;
mod sinks;
mod tidy;
mod tracked;
