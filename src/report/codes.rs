//! Every finding code, once: identifier, severity, what it does to the answer, and the remedy.
//!
//! Codes are API from the first release: one may be added, none changes its meaning.

use super::Verdict;
use crate::base::event::Event;
use crate::base::severity::Severity::{self, *};

/// A kind of finding.
#[derive(Debug, PartialEq, Eq)]
pub struct Code {
    /// `family.kind`, lower case.
    pub id: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What one such finding makes of the answer.
    pub verdict: Verdict,
    /// What it means, one sentence without a final stop.
    pub meaning: &'static str,
    /// What to do, one sentence without a final stop; empty where the message says it.
    pub remedy: &'static str,
}

impl Code {
    /// What people may want to hear of where such a finding is made; `None` for what is only in the
    /// report. The one place that says so.
    pub fn event(&self) -> Option<Event> {
        let (family, kind) = self.id.split_once('.')?;
        match (family, kind) {
            ("performance", _) => Some(Event::PerformanceRegression),
            ("profile", "time_exceeded" | "memory_exceeded" | "cpu_exceeded" | "io_exceeded")
            | ("profile", "limit_near")
            | ("run", "timed_out")
            | ("budget", "short") => Some(Event::ResourceExhaustion),
            ("guard", _)
            | ("run", "security_violation" | "operation_refused" | "operation_blocked")
            | ("run", "operation_undeclared") => Some(Event::PolicyViolation),
            // Signing and scanning meet these too, and nothing signed is wrong.
            ("file", "unreadable" | "unstable" | "unsupported") => None,
            ("manifest" | "signature" | "time" | "replay" | "file", _)
            | ("audit", "tampered" | "truncated" | "not_keyed")
            | ("snapshot", "damaged" | "forged")
            | ("playbook", "forged")
            | ("cache", "mismatch")
            | ("run", "data_corruption") => Some(Event::IntegrityFailure),
            ("restore", _) | ("run", "rolled_back" | "rollback_failed") => Some(Event::Rollback),
            ("playbook", "step_failed") => Some(Event::Rollback),
            _ => None,
        }
    }
}

macro_rules! codes {
    ($($name:ident = $id:literal, $severity:expr, $verdict:expr, $meaning:literal, $remedy:literal;)*) => {
        $(#[doc = $meaning]
        pub static $name: Code = Code {
            id: $id, severity: $severity, verdict: $verdict, meaning: $meaning, remedy: $remedy,
        };)*
        /// Every code, in the order of the documentation.
        pub static ALL: &[&Code] = &[$(&$name),*];
    };
}

codes! {
    MANIFEST_UNREADABLE = "manifest.unreadable", High, Verdict::Error,
        "The manifest cannot be read", "check the path and its permissions";
    MANIFEST_MALFORMED = "manifest.malformed", High, Verdict::Error,
        "The manifest is not a strict manifest of version 1.0",
        "restore the manifest from where it was published, or sign the tree anew";
    MANIFEST_LEGACY_FORMAT = "manifest.legacy_format", Medium, Verdict::Error,
        "The manifest has the shape of the older scripts, which bound too little to verify",
        "sign the tree anew with `agp sign`";
    MANIFEST_UNSUPPORTED_VERSION = "manifest.unsupported_version", High, Verdict::Error,
        "The manifest's version or algorithm is not one that this program knows",
        "verify with the release that signed it";
    MANIFEST_SYMLINK = "manifest.symlink", High, Verdict::Error,
        "The manifest is a symbolic link, so that its root is ambiguous",
        "name the file that the link points to";
    MANIFEST_NOT_FOUND = "manifest.not_found", High, Verdict::Error,
        "No manifest lies below the directory given to `--all`", "sign the trees first";
    MANIFEST_ROOT_UNKNOWN = "manifest.root_unknown", High, Verdict::Error,
        "The manifest lies outside its tree, so that its root must be named",
        "give the signed tree with `--input-dir`";
    MANIFEST_INCONSISTENT = "manifest.inconsistent", Critical, Verdict::Fail,
        "The manifest contradicts itself under a good signature",
        "the program that signed it is not trustworthy; sign anew with `agp sign`";
    MANIFEST_EMPTY = "manifest.empty", High, Verdict::Fail,
        "The manifest lists nothing at all", "if an empty tree is meant, say `--allow-empty`";
    SIGNATURE_INVALID = "signature.invalid", Critical, Verdict::Fail,
        "The signature does not match: the manifest was changed after it was signed",
        "treat the tree as untrusted; restore manifest and tree from where they were published";
    SIGNATURE_UNKNOWN_KEY = "signature.unknown_key", High, Verdict::Error,
        "The manifest was signed with a key that is not at hand",
        "give that key with `--key-file`, or list it in `integrity.keys` of the policy";
    SIGNATURE_REVOKED_KEY = "signature.revoked_key", Critical, Verdict::Fail,
        "The manifest was signed with a key that the policy lists as revoked",
        "verify the tree by other means, then sign it with the active key";
    SIGNATURE_KEY_PERIOD = "signature.key_period", High, Verdict::Fail,
        "The manifest was signed outside the period in which its key may sign", "";
    KEY_UNAVAILABLE = "key.unavailable", High, Verdict::Error,
        "No usable signing secret is at hand", "";
    KEY_WEAK = "key.weak", High, Verdict::Pass,
        "The signing secret is a known placeholder or short",
        "make one with `agp tool keys generate`";
    TIME_FUTURE = "time.future", High, Verdict::Fail,
        "The manifest says that it was made in the future", "check both machines' clocks";
    TIME_REVERSED = "time.reversed", High, Verdict::Fail,
        "The manifest says that it was signed before it was created", "";
    TIME_EXPIRED = "time.expired", High, Verdict::Fail,
        "The manifest has expired", "get the current manifest, or sign the tree anew";
    TIME_TOO_OLD = "time.too_old", High, Verdict::Fail,
        "The manifest is older than the policy's `integrity.max_age_days`",
        "get the current manifest, or sign the tree anew";
    REPLAY_OTHER_SUBJECT = "replay.other_subject", Critical, Verdict::Fail,
        "The manifest seals another tree than the one asked for", "";
    REPLAY_OLD_SEQUENCE = "replay.old_sequence", Critical, Verdict::Fail,
        "An older manifest than the newest one known was put in its place",
        "get the current manifest and tree";
    FILE_MODIFIED = "file.modified", Critical, Verdict::Fail,
        "A file's content or a link's target is not what was signed", "";
    FILE_MISSING = "file.missing", High, Verdict::Fail,
        "Something that was signed is not there", "";
    FILE_UNLISTED = "file.unlisted", High, Verdict::Fail,
        "Something is there that was not signed", "";
    FILE_TYPE_CHANGED = "file.type_changed", Critical, Verdict::Fail,
        "A file, directory or link became something else", "";
    FILE_MODE_CHANGED = "file.mode_changed", High, Verdict::Fail,
        "Permission bits are not what was signed", "";
    FILE_UNREADABLE = "file.unreadable", High, Verdict::Error,
        "Something could not be read, so nothing is known of it", "check its permissions";
    FILE_UNSTABLE = "file.unstable", High, Verdict::Error,
        "Something changed while it was read", "stop what writes into the tree, then run again";
    FILE_UNSUPPORTED = "file.unsupported", High, Verdict::Error,
        "A FIFO, socket or device cannot be signed",
        "remove it, or leave it out with `--exclude`";
    SCOPE_PARTIAL = "scope.partial", Low, Verdict::Pass,
        "Only part of the tree was looked at, as asked", "";
    SCOPE_EMPTY = "scope.empty", High, Verdict::Error,
        "Nothing that was signed matches what was asked for, so that nothing was looked at",
        "check the patterns of `--only`";
    PART_FORGED = "part.forged", Critical, Verdict::Fail,
        "A part is not what a worker with the part key wrote: its MAC does not hold, or it speaks of what is not its shard's",
        "find out who could write to it, make a new part key, and run all shards anew";
    PART_REFUSED = "part.refused", High, Verdict::Error,
        "Parts cannot be used, or do not make one whole: damaged, missing, twice, or of different runs", "";
    CACHE_DISCARDED = "cache.discarded", Low, Verdict::Pass,
        "The digest cache does not carry this key's MAC and was not used", "";
    CACHE_MISMATCH = "cache.mismatch", High, Verdict::Pass,
        "The digest cache disagreed with a file and was thrown away; everything was hashed again",
        "check this disk and who can write to the state directory";
    POLICY_IGNORED = "policy.ignored", Low, Verdict::Pass,
        "A policy that was found, not named, may not decide this",
        "name the policy with `--config` if it is yours";
    OUTPUT_UNLISTED = "output.unlisted", Low, Verdict::Pass,
        "The output lies inside the signed tree and will count as unlisted there",
        "write it elsewhere, or sign with `--exempt`";
    SIGN_PREVIOUS_UNVERIFIED = "sign.previous_unverified", Medium, Verdict::Pass,
        "The manifest that was replaced did not verify under this key, so that its sequence was not continued",
        "give `--sequence` if verifiers keep the highest number seen";
    SIGN_ALREADY_EXPIRED = "sign.already_expired", Medium, Verdict::Pass,
        "The manifest states an expiry that has passed, so that it verifies nowhere",
        "give a later `--expires-at`";
    METRICS_UNDELIVERED = "metrics.undelivered", Low, Verdict::Pass,
        "The metrics of a run could not be left where the policy or a flag wants them", "";
    AUDIT_UNAVAILABLE = "audit.unavailable", Medium, Verdict::Pass,
        "The command was not recorded in an audit log", "";
    AUDIT_TAMPERED = "audit.tampered", Critical, Verdict::Fail,
        "The audit log was changed after it was written", "keep this log as evidence";
    AUDIT_TRUNCATED = "audit.truncated", Critical, Verdict::Fail,
        "The audit log is shorter than, or not the one that, a head kept elsewhere shows",
        "keep this log as evidence";
    AUDIT_UNSEALED = "audit.unsealed", Low, Verdict::Pass,
        "Records without a MAC show accidents, not adversaries",
        "keep a signing secret configured, so that records are sealed";
    AUDIT_NOT_KEYED = "audit.not_keyed", High, Verdict::Fail,
        "Records without a MAC were found where `--require-keyed` asks for one", "";
    AUDIT_UNKNOWN_KEY = "audit.unknown_key", High, Verdict::Error,
        "Records are sealed with a key that is not at hand",
        "give that key with `--key-file`, or list it in `integrity.keys` of the policy";
    AUDIT_REVOKED_KEY = "audit.revoked_key", Medium, Verdict::Pass,
        "Records are sealed with a key that was revoked later", "";
    AUDIT_KEY_PERIOD = "audit.key_period", Medium, Verdict::Pass,
        "Records are sealed outside the period in which their key may sign",
        "check this machine's clock, or rotate the key in time";
    AUDIT_TORN_TAIL = "audit.torn_tail", Low, Verdict::Pass,
        "The last line was cut off by a crash; the next record will say so", "";
    AUDIT_EMPTY = "audit.empty", Low, Verdict::Pass,
        "There is no audit log yet", "";
    AUDIT_REFUSED = "audit.refused", High, Verdict::Error,
        "The audit log cannot be written, and the policy is strict, so that nothing was done",
        "name a writable place with `--state-dir`";
    GUARD_SECRET = "guard.secret", High, Verdict::Violation,
        "A password, key, token or other credential stands in a file",
        "revoke it where it was issued, then read it from the environment or a secret store";
    GUARD_SUSPICIOUS_FILE = "guard.suspicious_file", High, Verdict::Violation,
        "A file is there that does not belong among assets", "";
    GUARD_OPERATION = "guard.operation", High, Verdict::Violation,
        "An operation is not one that the policy allows", "";
    GUARD_CONFIGURATION = "guard.configuration", Medium, Verdict::Violation,
        "A setting or an asset breaks the policy", "";
    SCAN_EMPTY = "scan.empty", High, Verdict::Error,
        "A scan was asked for and found no file to look at",
        "name a target that holds files, or leave out less with `policy_guard.exclude`";
    SCAN_PARTIAL = "scan.partial", High, Verdict::Pass,
        "Part of a file could not be looked into: it is encrypted, damaged or packed too deep",
        "look at it by other means, or leave it out with `policy_guard.exclude`";
    BUDGET_CEILING = "budget.ceiling", Medium, Verdict::Pass,
        "The policy's maximum keeps a budget below what past runs ask for",
        "split the work as suggested, or raise `adaptive_budget.max_budget_seconds`";
    BUDGET_SHORT = "budget.short", Medium, Verdict::Pass,
        "A resource is nearly used up, or less is left than the work asks for", "";
    BUDGET_INCOMPLETE = "budget.incomplete", Medium, Verdict::Pass,
        "A budget is made without something that could not be read", "";
    AUDIT_UNFINISHED = "audit.unfinished", High, Verdict::Error,
        "The command ran, and its end could not be recorded as the strict policy asks",
        "make room for the audit log, then run it again";
    SNAPSHOT_UNSUPPORTED = "snapshot.unsupported", High, Verdict::Error,
        "A socket, a device or another file system cannot be put into a snapshot",
        "remove it, or leave it out with `--allow-incomplete`";
    SNAPSHOT_INCOMPLETE = "snapshot.incomplete", Medium, Verdict::Pass,
        "Something was left out of a snapshot, as allowed; a restore will not touch it", "";
    SNAPSHOT_UNSEALED = "snapshot.unsealed", Low, Verdict::Pass,
        "A snapshot written without a key shows accidents, not adversaries",
        "keep a signing secret configured, so that snapshots are sealed";
    SNAPSHOT_UNKNOWN_KEY = "snapshot.unknown_key", Medium, Verdict::Pass,
        "A snapshot is sealed with a key that is not at hand, so that only its digests were checked",
        "give that key with `--key-file`, or list it in `integrity.keys` of the policy";
    SNAPSHOT_DAMAGED = "snapshot.damaged", Critical, Verdict::Fail,
        "A file of the snapshot store is missing or not what was written",
        "take a new snapshot; what the damaged one held may be in another one, see `agp rollback list`";
    SNAPSHOT_FORGED = "snapshot.forged", Critical, Verdict::Fail,
        "A snapshot was changed after it was sealed",
        "keep it as evidence and restore another one";
    SNAPSHOT_DIFFERS = "snapshot.differs", High, Verdict::Fail,
        "A tree is not what a snapshot holds", "";
    SNAPSHOT_UNKNOWN = "snapshot.unknown", High, Verdict::Error,
        "There is no snapshot of that name", "`agp rollback list` shows them all";
    RESTORE_UNVERIFIED = "restore.unverified", Critical, Verdict::Fail,
        "What was staged is not what the snapshot holds; the live tree was not touched",
        "stop what writes into the target's directory, and check this disk";
    RESTORE_STUCK = "restore.stuck", Critical, Verdict::Error,
        "An earlier restore was begun and cannot be finished",
        "restore a snapshot anew with `agp rollback restore`";
    RESTORE_RECOVERED = "restore.recovered", Medium, Verdict::Pass,
        "An earlier command was killed, and what it had begun was brought to its end", "";
    RUN_COMMAND_FAILED = "run.command_failed", High, Verdict::Fail,
        "The governed command failed or was signalled", "";
    RUN_TIMED_OUT = "run.timed_out", High, Verdict::Regression,
        "The governed command was stopped because it took longer than it may", "";
    RUN_UNJUDGED = "run.unjudged", High, Verdict::Fail,
        "What the governed command did to the trees could not be found out, which is never a pass", "";
    RUN_CHECK_UNSTEADY = "run.check_unsteady", Medium, Verdict::Pass,
        "A check failed and then passed, so that it says nothing for certain",
        "mend the check, or raise `rollback_playbook.confirmations`";
    RUN_SECURITY_VIOLATION = "run.security_violation", High, Verdict::Violation,
        "Something is open that was not: a mode was loosened, a file acts as another user, a link leads out of the tree",
        "close it in the command; where it is meant, take `security_violation` out of `rollback_playbook.critical_failure_patterns`";
    RUN_CHECK_FAILED = "run.check_failed", High, Verdict::Fail,
        "A check passed before the governed command and fails after it", "";
    RUN_PRE_EXISTING = "run.pre_existing", Medium, Verdict::Pass,
        "A check failed before the governed command already, so that it does not count against it",
        "mend what the check looks at, so that it can tell something";
    RUN_DATA_CORRUPTION = "run.data_corruption", Critical, Verdict::Fail,
        "Something changed that the governed command might not change, or content broke",
        "if it is meant, allow it with `--allow-change`, or take `data_corruption` out of the policy's `critical_failure_patterns`";
    RUN_ROLLED_BACK = "run.rolled_back", High, Verdict::Pass,
        "The trees were put back to what they were before the governed command", "";
    RUN_ROLLBACK_FAILED = "run.rollback_failed", Critical, Verdict::Error,
        "The trees could not be put back, or are not what they were",
        "stop what writes into them, then `agp rollback restore`";
    RUN_UNSEALED = "run.unsealed", High, Verdict::Error,
        "The trees passed every check and could not be sealed, or not as guard saw them",
        "mend what the message names, or stop what writes into the trees, and run it again";
    RUN_VIOLATION_BEFORE = "run.violation_before", Medium, Verdict::Pass,
        "Something that the policy does not allow was there before the governed run, so that it does not count against it",
        "`agp guard` lists it; mend it, or accept it with a baseline";
    RUN_INVALID_BEFORE = "run.invalid_before", Medium, Verdict::Pass,
        "A tree was not what its manifest says before the governed run, so that it does not count against it",
        "`agp verify` tells what differs; a run that passes signs the tree anew";
    RUN_UNPRUNED = "run.unpruned", Low, Verdict::Pass,
        "Snapshots older than `rollback_playbook.backup_retention_days` could not be removed behind a run that passed",
        "`agp rollback prune` tells more";
    RUN_OPERATION_REFUSED = "run.operation_refused", Critical, Verdict::Violation,
        "A stage declares an operation that the policy refuses, so that nothing was run",
        "take the operation out of the stage, or allow it in `policy_guard.allowed_operations`";
    RUN_OPERATION_BLOCKED = "run.operation_blocked", Critical, Verdict::Violation,
        "A stage changed what a blocked operation is about",
        "let the stage write elsewhere, or take the operation out of `policy_guard.blocked_operations`";
    RUN_OPERATION_UNDECLARED = "run.operation_undeclared", High, Verdict::Violation,
        "A stage changed what no operation that it declares is about",
        "declare the operation in `pipeline.stages[].operations`, or let the stage write elsewhere";
    RUN_UNCONFINED = "run.unconfined", Low, Verdict::Pass,
        "The kernel does not keep a stage from writing where it may not; what it changed is looked at afterwards", "";
    RUN_BUDGET_EXCEEDED = "run.budget_exceeded", Low, Verdict::Pass,
        "A stage took longer than was expected of it, and not longer than it may", "";
    PLAYBOOK_INVALID = "playbook.invalid", High, Verdict::Error,
        "The playbook cannot be used", "make a new one with `agp rollback`";
    PLAYBOOK_UNSIGNED = "playbook.unsigned", Medium, Verdict::Pass,
        "A playbook written without a key can be changed by anybody",
        "keep a signing secret configured, so that playbooks are signed";
    PLAYBOOK_PRECONDITION = "playbook.precondition", Medium, Verdict::Pass,
        "Something that the playbook needs does not hold now", "mend it before the playbook is needed";
    PLAYBOOK_WAITING = "playbook.waiting", Medium, Verdict::Error,
        "A step of a playbook waits for a person", "do it or agree, then say `--approve`";
    PLAYBOOK_PASSED_OVER = "playbook.passed_over", Medium, Verdict::Pass,
        "A step of a playbook failed, and the playbook goes on", "";
    PLAYBOOK_STEP_FAILED = "playbook.step_failed", Critical, Verdict::Fail,
        "A step of a playbook failed, and the playbook stopped there",
        "mend what the message says, then execute the playbook again: it goes on at that step";
    PLAYBOOK_FORGED = "playbook.forged", Critical, Verdict::Fail,
        "The playbook was changed after it was signed", "make a new one with `agp rollback`";
    PROFILE_COMMAND_FAILED = "profile.command_failed", High, Verdict::Fail,
        "A profiled command failed, was signalled or took too long", "";
    PROFILE_TIME_EXCEEDED = "profile.time_exceeded", High, Verdict::Regression,
        "A stage took longer than `performance_benchmarks.max_processing_time_seconds`",
        "see its bottleneck in the report; split the work, or raise the maximum if it is meant";
    PROFILE_MEMORY_EXCEEDED = "profile.memory_exceeded", High, Verdict::Regression,
        "A stage took more memory than `performance_benchmarks.max_memory_usage_mb`",
        "work on smaller batches, or raise the maximum if it is meant";
    PROFILE_CPU_EXCEEDED = "profile.cpu_exceeded", High, Verdict::Pass,
        "A stage used more of the processors than `performance_benchmarks.cpu_utilization_threshold`",
        "give it fewer threads or more processors; `profile.limits_fail` makes it fail";
    PROFILE_IO_EXCEEDED = "profile.io_exceeded", High, Verdict::Pass,
        "A stage made more operations on block devices per second than `performance_benchmarks.io_operations_per_second_limit`",
        "read and write in larger pieces; `profile.limits_fail` makes it fail";
    PROFILE_LIMIT_NEAR = "profile.limit_near", High, Verdict::Pass,
        "A stage came near to a maximum, by `alerts.resource_exhaustion_ratio`", "";
    PROFILE_LEFT_RUNNING = "profile.left_running", Medium, Verdict::Pass,
        "A stage ended and left processes behind, which were stopped",
        "let the stage wait for what it starts";
    PROFILE_NO_WORKLOAD = "profile.no_workload", Medium, Verdict::Pass,
        "There is nothing to profile: no stage is configured and no target is there",
        "give a command behind `--`, define a stage, or list stages and targets under `pipeline`";
    PERFORMANCE_REGRESSION = "performance.regression", High, Verdict::Regression,
        "A stage takes more than it did, beyond what chance explains",
        "find what changed since the last run that passed; if it is meant, `agp profile accept --reason …`";
    PERFORMANCE_INCONCLUSIVE = "performance.inconclusive", Medium, Verdict::Pass,
        "A stage seems to take more than it did, and the runs at hand do not settle it",
        "run it again when the machine is quiet";
    PERFORMANCE_CREEP = "performance.creep", Medium, Verdict::Pass,
        "A stage takes a little more with each run, and each of them passed",
        "compare the newest run with one from before: `agp profile compare`";
    HISTORY_SKIPPED = "history.skipped", Low, Verdict::Pass,
        "A line of the history cannot be believed and was passed over", "";
    ALERT_UNDELIVERED = "alert.undelivered", Medium, Verdict::Pass,
        "An alert was not delivered; it is kept and sent by the next run",
        "`agp tool notify-test` says what every channel answers";
    ALERT_REQUIRED = "alert.required", High, Verdict::Error,
        "An alert was not delivered, and `alerts.require_notify` or `--require-notify` asks for that",
        "mend the channel, then run it again";
    ALERT_UNCONFIGURED = "alert.unconfigured", Medium, Verdict::Pass,
        "A channel for alerts cannot be used: a variable that it names is not set, or does not hold what it should",
        "set it where this command runs, or take the channel out of `alerts.routes`";
    ALERT_LOST = "alert.lost", High, Verdict::Pass,
        "An alert was given up: nobody took it for too long, or it could not be kept", "";
    ALERT_SPOOL = "alert.spool", Medium, Verdict::Pass,
        "The spool of alerts cannot be used, or an entry of it cannot be believed and was set aside",
        "check the permissions of `spool` in the state directory, and who can write there";
    POLICY_INVALID = "policy.invalid", High, Verdict::Error,
        "The policy file cannot be used", "";
    COMMAND_USAGE = "command.usage", High, Verdict::Error,
        "The command line contradicts itself or misses something", "";
    COMMAND_INPUT = "command.input", High, Verdict::Error,
        "Something that the command needs cannot be read", "";
    COMMAND_OUTPUT = "command.output", High, Verdict::Error,
        "An output could not be written in full", "";
    COMMAND_INTERRUPTED = "command.interrupted", High, Verdict::Error,
        "A signal ended the command; the state is consistent", "run it again";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_has_codes_and_what_goes_wrong_with_alerts_makes_none() {
        for event in Event::ALL {
            assert!(
                ALL.iter().any(|code| code.event() == Some(event)),
                "{event:?}"
            );
        }
        for (code, event) in [
            (&PERFORMANCE_REGRESSION, Some(Event::PerformanceRegression)),
            (&PROFILE_LIMIT_NEAR, Some(Event::ResourceExhaustion)),
            (&GUARD_SECRET, Some(Event::PolicyViolation)),
            (&FILE_MODIFIED, Some(Event::IntegrityFailure)),
            (&RUN_ROLLED_BACK, Some(Event::Rollback)),
            (&FILE_UNREADABLE, None),
            (&COMMAND_USAGE, None),
        ] {
            assert_eq!(code.event(), event, "{}", code.id);
        }
        let mut alerts = ALL.iter().filter(|code| code.id.starts_with("alert."));
        assert!(alerts.all(|code| code.event().is_none()));
    }

    #[test]
    fn every_code_is_unique_described_and_well_formed() {
        let mut seen = std::collections::BTreeSet::new();
        for code in ALL {
            assert!(seen.insert(code.id), "{} twice", code.id);
            let well_formed = |part: &str| {
                !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
            };
            let (family, kind) = code.id.split_once('.').unwrap_or_default();
            assert!(well_formed(family) && well_formed(kind), "{}", code.id);
            assert!(
                !code.meaning.ends_with('.') && !code.meaning.is_empty(),
                "{}",
                code.id
            );
            assert!(!code.remedy.ends_with('.'), "{}", code.id);
        }
    }
}
