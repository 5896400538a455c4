//! What a policy that was found, not named, may do: contribute thresholds and rules, and tighten.
//!
//! It may come from a stranger, so it chooses no keys, receivers, commands or variables, and it
//! cannot loosen what the built-in default enforces. One line per key; a test holds the table
//! against the schema, so that a new key cannot be forgotten.

use serde_json::Value;

use super::place::{Node, Place, Problem};
use super::raw::{Encoding, Policy};

/// What a key of a found policy may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It counts as it stands: no value of it loosens anything.
    Yes,
    /// It counts unless it would loosen the default.
    Tighter,
    /// It never counts: it is neither a threshold nor a rule.
    Ignored,
}

struct Held {
    pointer: &'static str,
    standing: Standing,
    /// Puts the default back where the key's value does not count; says whether it did.
    put_back: fn(&mut Policy, &Policy) -> bool,
}

macro_rules! held {
    ($($standing:ident $section:ident $(. $key:ident)? if $refused:expr;)*) => {
        &[$(Held {
            pointer: concat!("/", stringify!($section) $(, "/", stringify!($key))?),
            standing: Standing::$standing,
            put_back: |policy, built_in| {
                let own = &mut policy.$section $(.$key)?;
                let default = &built_in.$section $(.$key)?;
                let refused = $refused(&*own, default);
                if refused {
                    own.clone_from(default);
                }
                refused
            },
        }),*]
    };
}

const HELD: &[Held] = held! {
    Tighter performance_benchmarks.max_processing_time_seconds if above;
    Tighter performance_benchmarks.max_memory_usage_mb if above;
    Tighter performance_benchmarks.cpu_utilization_threshold if above;
    Tighter performance_benchmarks.io_operations_per_second_limit if above;
    Tighter adaptive_budget.enabled if below;
    Tighter adaptive_budget.base_budget_seconds if above;
    Tighter adaptive_budget.scaling_factor if above;
    Tighter adaptive_budget.max_budget_seconds if above;
    Tighter adaptive_budget.dynamic_adjustment if below;
    Tighter adaptive_budget.coverage if above;
    Tighter policy_guard.enforcement_level if differs;
    Yes policy_guard.allowed_operations if never;
    Yes policy_guard.blocked_operations if never;
    Tighter policy_guard.audit_logging if below;
    Tighter policy_guard.exclude if differs;
    Yes policy_guard.rules if never;
    Tighter policy_guard.disabled_rules if differs;
    Tighter policy_guard.baseline if differs;
    Tighter policy_guard.core_config_paths if fewer;
    Yes policy_guard.operation_catalog if never;
    Tighter policy_guard.honor_foreign_ignores if above;
    // A salt of the stranger's choice would make fingerprints an oracle for that variable.
    Ignored policy_guard.fingerprint_salt_env if differs;
    Tighter rollback_playbook.auto_rollback_on_failure if below;
    Tighter rollback_playbook.backup_retention_days if below;
    Tighter rollback_playbook.rollback_verification if below;
    Tighter rollback_playbook.critical_failure_patterns if fewer;
    Tighter rollback_playbook.allow_change if differs;
    Yes rollback_playbook.keep_failed if never;
    Tighter rollback_playbook.confirmations if above;
    // Shorter would make rollbacks fail, longer is laxer.
    Tighter rollback_playbook.rollback_timeout_seconds if differs;
    Yes quality_thresholds.file_size_bytes_min if never;
    Yes quality_thresholds.file_size_bytes_max if never;
    Yes quality_thresholds.allowed_formats if never;
    Tighter quality_thresholds.encoding if laxer_encoding;
    Yes quality_thresholds.line_length_max if never;
    Yes validation_rules.required_metadata_fields if never;
    // Whoever chooses the subject can have a tree signed in another tree's name.
    Ignored integrity.subject if differs;
    Tighter integrity.secret_bytes_min if below;
    Yes integrity.max_age_days if never;
    Tighter integrity.clock_skew_seconds if above;
    Tighter integrity.exclude if differs;
    Ignored integrity.keys if differs;
    Tighter profile.gate if fewer;
    Tighter profile.effect_floor if above;
    Tighter profile.runs_max if below;
    Yes profile.inconclusive_fails if never;
    Tighter profile.limits_fail if fewer;
    Tighter profile.sample_hz if below;
    Ignored pipeline.targets if differs;
    Ignored pipeline.stages if differs;
    Yes audit.segment_bytes_max if never;
    Tighter audit.segments_kept if differs;
    Ignored alerts if differs;
    Ignored metrics if differs;
};

fn never<T>(_: &T, _: &T) -> bool {
    false
}

fn differs<T: PartialEq>(own: &T, default: &T) -> bool {
    own != default
}

fn above<T: PartialOrd>(own: &T, default: &T) -> bool {
    own > default
}

/// For switches too: off is below on.
fn below<T: PartialOrd>(own: &T, default: &T) -> bool {
    own < default
}

fn fewer<T: PartialEq>(own: &[T], default: &[T]) -> bool {
    default.iter().any(|item| !own.contains(item))
}

fn laxer_encoding(own: &Encoding, _: &Encoding) -> bool {
    !matches!(own, Encoding::Utf8 | Encoding::Ascii)
}

/// What the key at that pointer may do in a found policy. The section counts where it has a line.
pub(super) fn standing(pointer: &str) -> Standing {
    let is_its = |held: &&Held| {
        let rest = pointer.strip_prefix(held.pointer);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let held = HELD.iter().find(is_its);
    held.map_or(Standing::Ignored, |held| held.standing)
}

/// Puts back what a found policy may not set, and warns of each.
pub(super) fn hold(policy: &mut Policy, text: &str) -> Vec<Problem> {
    let built_in = Policy::default();
    let defaults = serde_json::to_value(&built_in).unwrap_or_default();
    let root = Node::read(text).ok();
    let refused = HELD
        .iter()
        .filter(|held| (held.put_back)(policy, &built_in));
    let warnings = refused.map(|held| {
        let node = root.as_ref().and_then(|root| root.at(held.pointer));
        let place = Place::of(node.map_or(0, |node| node.start), text);
        let default = defaults.pointer(held.pointer).unwrap_or(&Value::Null);
        Problem {
            pointer: held.pointer.into(),
            line: place.line,
            column: place.column,
            message: match held.standing {
                Standing::Ignored => {
                    "ignored: a policy found without `--config` contributes thresholds and rules only".into()
                }
                _ => format!(
                    "put back to `{}`: a policy found without `--config` may not loosen the default",
                    default
                ),
            },
            hint: Some("name the file with `--config` if it is yours".into()),
        }
    });
    warnings.collect()
}
