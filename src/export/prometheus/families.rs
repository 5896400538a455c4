//! Every metric, once: its name and what it means. Names are API from the first release.
//!
//! Base units, no abbreviation, the unit last (Prometheus, *Metric and label naming*). All are gauges of the last run.

/// A metric.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Family {
    /// `agp_…`.
    pub(super) name: &'static str,
    /// What it means, one sentence without a final stop.
    pub(super) help: &'static str,
}

macro_rules! families {
    ($($name:ident $metric:literal $help:literal;)*) => {
        $(pub(super) static $name: Family = Family { name: $metric, help: $help };)*
        /// Every metric, in the order of the documentation.
        pub(super) static ALL: &[&Family] = &[$(&$name),*];
    };
}

families! {
    BUILD "agp_build_info" "Which program ran last; always 1";
    LAST_RUN "agp_last_run_timestamp_seconds" "When the last run ended, seconds since 1970";
    LAST_SUCCESS "agp_last_success_timestamp_seconds" "When the last run with a good answer ended, seconds since 1970";
    VERDICT "agp_run_verdict" "1 for the answer of the last run, 0 for the others";
    EXIT_CODE "agp_run_exit_code" "Exit code of the last run: 0, 1, 2, 18, 19, 130 or 143";
    DURATION "agp_run_duration_seconds" "Time that the last run took";
    CPU "agp_run_cpu_seconds" "CPU time that the last run itself used";
    PEAK_MEMORY "agp_run_peak_memory_bytes" "The most memory that the last run itself held";
    READ "agp_run_read_bytes" "Bytes that the last run itself read from storage";
    WRITTEN "agp_run_written_bytes" "Bytes that the last run itself wrote to storage";
    ASSETS "agp_run_assets" "Assets that the last run worked on: files, and for verify every signed entry";
    ASSET_BYTES "agp_run_assets_bytes" "Bytes in the assets that the last run worked on";
    ASSET_RATE "agp_run_assets_per_second" "Assets that the last run worked on, per second of its time";
    BYTE_RATE "agp_run_bytes_per_second" "Bytes that the last run worked on, per second of its time";
    ERRORS "agp_run_errors" "Things of which the last run could not tell whether they are good";
    ERROR_RATIO "agp_run_error_ratio" "Share of what the last run worked on that failed or could not be looked at";
    FINDINGS "agp_run_findings" "Open findings of the last run by severity";
    CODES "agp_run_findings_by_code" "Open findings of the last run by finding code; codes without any are left out";
    ACCEPTED "agp_run_findings_accepted" "Findings of the last run that somebody has accepted";
    VIOLATIONS "agp_guard_findings" "Open findings of the last scan by category";
    INTEGRITY_FAILURES "agp_integrity_failures" "Signatures, files, records and snapshots that did not verify in the last run";
    ENTRIES "agp_integrity_entries" "Signed entries of the last verification by what became of them";
    MANIFESTS "agp_integrity_manifests" "Manifests of the last verification by what is known of them";
    ROLLED_BACK "agp_rolled_back" "1 where the last run put its trees back";
    BUDGET "agp_budget_seconds" "Budget of time that the last forecast recommends";
    BUDGET_EXPECTED "agp_budget_expected_seconds" "Time that half of such work takes at most, by the last forecast";
    BUDGET_MEMORY "agp_budget_peak_memory_bytes" "Budget of memory that the last forecast recommends";
    BUDGET_READ "agp_budget_read_bytes" "Budget of bytes read that the last forecast recommends";
    BUDGET_WRITTEN "agp_budget_written_bytes" "Budget of bytes written that the last forecast recommends";
    BUDGET_ACTUAL "agp_budget_actual_seconds" "Time that the last recorded work took";
    BUDGET_EFFICIENCY "agp_budget_efficiency_ratio" "Actual time of the last recorded work as a share of what was predicted for it";
    BUDGET_COVERAGE "agp_budget_coverage_ratio" "Share of past work that kept within its budget";
    STAGE_DURATION "agp_stage_duration_seconds" "Time that a stage took, the median of its runs";
    STAGE_BUDGET "agp_stage_budget_seconds" "Budget of time that was predicted for a stage";
    STAGE_EFFICIENCY "agp_stage_budget_efficiency_ratio" "Actual time of a stage as a share of what was predicted for it";
    STAGE_CPU "agp_stage_cpu_seconds" "CPU time of a stage with everything it started, in its run of median time";
    STAGE_MEMORY "agp_stage_peak_memory_bytes" "The most memory of a stage with everything it started, in its run of median time";
    STAGE_READ "agp_stage_read_bytes" "Bytes that a stage read from storage, in its run of median time";
    STAGE_WRITTEN "agp_stage_written_bytes" "Bytes that a stage wrote to storage, in its run of median time";
    STAGE_OPERATIONS "agp_stage_io_operations" "Operations of a stage on block devices, in its run of median time";
    STAGE_FAILED "agp_stage_failed_ratio" "Share of the runs of a stage that failed or took too long";
    STAGE_CHANGE "agp_stage_change_ratio" "Change of a stage against its past as a share of that; 0.05 is 5 % more";
    STAGE_REGRESSION "agp_stage_regression" "1 where a stage takes more than it did, beyond what chance explains";
    AUDIT_SEQUENCE "agp_audit_sequence" "Number of the newest record in the audit log";
    AUDIT_RECORDS "agp_audit_records" "Records of the audit log at its last verification by how they are sealed";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_well_formed_and_explained() {
        let mut seen = std::collections::BTreeSet::new();
        for Family { name, help } in ALL {
            assert!(seen.insert(name), "{name} twice");
            let is_plain = name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
            assert!(is_plain && name.starts_with("agp_"), "{name}");
            // What ends so means something else than a gauge.
            for end in [
                "_total", "_count", "_sum", "_bucket", "_ms", "_kb", "_percent",
            ] {
                assert!(!name.ends_with(end), "{name}");
            }
            assert!(
                !help.is_empty() && !help.ends_with('.') && !help.contains(['\\', '\n']),
                "{name}"
            );
        }
    }
}
