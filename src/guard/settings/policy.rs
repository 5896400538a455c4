//! What a valid policy says that cannot hold together. Knows the policy's keys and their places.

use globset::Glob;

use super::super::found::Found;
use super::super::notes::{Item, Notes, Spot};
use super::super::rule::Pack;
use crate::policy::{EnforcementLevel, KeyStatus, Loaded, Policy, SmtpTls};

const BUDGET: &str = "policy.budget";
const TIME_LIMIT: &str = "policy.time_limit";
const STAGE_BUDGET: &str = "policy.stage_budget";
const AUDIT_OFF: &str = "policy.audit_off";
const ALLOWED_AND_BLOCKED: &str = "policy.allowed_and_blocked";
const NEVER_ALLOWED: &str = "policy.never_allowed";
const EXCLUDES_EVERYTHING: &str = "policy.excludes_everything";
const NO_CORE_CONFIG: &str = "policy.no_core_config";
const FOREIGN_IGNORES: &str = "policy.foreign_ignores";
const SIZE_BOUNDS: &str = "policy.size_bounds";
const UNVERIFIED_ROLLBACK: &str = "policy.unverified_rollback";
const KEY_PERIOD: &str = "policy.key_period";
const NO_ACTIVE_KEY: &str = "policy.no_active_key";
const TARGETS_OVERLAP: &str = "policy.targets_overlap";
const MAIL_IN_CLEAR: &str = "policy.mail_in_clear";
const NOBODY_NOTIFIED: &str = "policy.nobody_notified";
const UNUSED_CHANNEL: &str = "policy.unused_channel";

#[cfg(test)]
pub(super) const CHECKS: [&str; 17] = [
    BUDGET,
    TIME_LIMIT,
    STAGE_BUDGET,
    AUDIT_OFF,
    ALLOWED_AND_BLOCKED,
    NEVER_ALLOWED,
    EXCLUDES_EVERYTHING,
    NO_CORE_CONFIG,
    FOREIGN_IGNORES,
    SIZE_BOUNDS,
    UNVERIFIED_ROLLBACK,
    KEY_PERIOD,
    NO_ACTIVE_KEY,
    TARGETS_OVERLAP,
    MAIL_IN_CLEAR,
    NOBODY_NOTIFIED,
    UNUSED_CHANNEL,
];

/// A contradiction: the check, the key that it stands at (RFC 6901), and what it is.
type Contradiction = (&'static str, String, String);

/// What contradicts itself in a policy, at its places in the file.
pub fn contradictions(loaded: &Loaded, pack: &Pack) -> Vec<Found> {
    let shown = loaded.source.to_string();
    let item = Item {
        shown: &shown,
        member: None,
        path: b"policy",
    };
    let mut notes = Notes::new(pack, item);
    for (check, pointer, message) in all(&loaded.policy) {
        let spot = loaded.place_of(&pointer).map(|place| Spot {
            line: place.line,
            column: place.column,
        });
        notes.add(check, spot, message);
    }
    notes.into_found()
}

fn all(policy: &Policy) -> Vec<Contradiction> {
    let mut found = Vec::new();
    budgets(policy, &mut found);
    operations(policy, &mut found);
    guard(policy, &mut found);
    keys(policy, &mut found);
    alerts(policy, &mut found);
    found
}

fn budgets(policy: &Policy, found: &mut Vec<Contradiction>) {
    let budget = &policy.adaptive_budget;
    let (base, most) = (budget.base_budget_seconds, budget.max_budget_seconds);
    let limit = policy.performance_benchmarks.max_processing_time_seconds;
    if base > most {
        let message =
            format!("`base_budget_seconds`, {base}, is more than `max_budget_seconds`, {most}");
        found.push((
            BUDGET,
            "/adaptive_budget/base_budget_seconds".into(),
            message,
        ));
    }
    if most > limit {
        let message = format!(
            "`max_budget_seconds`, {most}, is more than `max_processing_time_seconds`, {limit}"
        );
        found.push((
            TIME_LIMIT,
            "/adaptive_budget/max_budget_seconds".into(),
            message,
        ));
    }
    for (index, stage) in policy.pipeline.stages.iter().enumerate() {
        if let Some(budget) = stage.budget_seconds.filter(|budget| *budget > limit) {
            let pointer = format!("/pipeline/stages/{index}/budget_seconds");
            let message = format!(
                "`budget_seconds`, {budget}, is more than `max_processing_time_seconds`, {limit}"
            );
            found.push((STAGE_BUDGET, pointer, message));
        }
    }
}

fn operations(policy: &Policy, found: &mut Vec<Contradiction>) {
    let guard = &policy.policy_guard;
    for (index, allowed) in guard.allowed_operations.iter().enumerate() {
        let pointer = format!("/policy_guard/allowed_operations/{index}");
        let blocks = |blocked: &&String| {
            let glob = Glob::new(blocked).map(|glob| glob.compile_matcher());
            glob.is_ok_and(|glob| glob.is_match(allowed))
        };
        if guard.blocked_operations.contains(allowed) {
            let message = format!("`{allowed}` is both allowed and blocked");
            found.push((ALLOWED_AND_BLOCKED, pointer, message));
        } else if let Some(blocked) = guard.blocked_operations.iter().find(blocks) {
            let message =
                format!("`{allowed}` is allowed and never will be: `{blocked}` blocks it");
            found.push((NEVER_ALLOWED, pointer, message));
        }
    }
    let blocks_core = guard
        .blocked_operations
        .iter()
        .any(|name| name == "modify_core_config");
    if blocks_core && guard.core_config_paths.is_empty() {
        let message = "`modify_core_config` is blocked, and no path is core configuration".into();
        found.push((
            NO_CORE_CONFIG,
            "/policy_guard/core_config_paths".into(),
            message,
        ));
    }
}

fn guard(policy: &Policy, found: &mut Vec<Contradiction>) {
    let guard = &policy.policy_guard;
    let is_strict = guard.enforcement_level == EnforcementLevel::Strict;
    if is_strict && !guard.audit_logging {
        let message = "enforcement is strict, and nothing is recorded".into();
        found.push((AUDIT_OFF, "/policy_guard/audit_logging".into(), message));
    }
    if is_strict && guard.honor_foreign_ignores {
        let message = "enforcement is strict, and markers count that give no reason".into();
        found.push((
            FOREIGN_IGNORES,
            "/policy_guard/honor_foreign_ignores".into(),
            message,
        ));
    }
    let everything = guard
        .exclude
        .iter()
        .position(|glob| matches!(&**glob, "**" | "**/*" | "*"));
    if let Some(index) = everything {
        let message = format!("`{}` leaves nothing to be scanned", guard.exclude[index]);
        found.push((
            EXCLUDES_EVERYTHING,
            format!("/policy_guard/exclude/{index}"),
            message,
        ));
    }
    let sizes = &policy.quality_thresholds;
    let least = sizes.file_size_bytes_min;
    if let Some(most) = sizes.file_size_bytes_max.filter(|most| *most < least) {
        let message = format!(
            "`file_size_bytes_min`, {least}, is more than `file_size_bytes_max`, {most}: no file fits"
        );
        found.push((
            SIZE_BOUNDS,
            "/quality_thresholds/file_size_bytes_min".into(),
            message,
        ));
    }
    let rollback = &policy.rollback_playbook;
    if is_strict && rollback.auto_rollback_on_failure && !rollback.rollback_verification {
        let message = "enforcement is strict, and trees go back live without being verified".into();
        found.push((
            UNVERIFIED_ROLLBACK,
            "/rollback_playbook/rollback_verification".into(),
            message,
        ));
    }
    targets(&policy.pipeline.targets, found);
}

/// Targets that lie in others, of which a rollback of both would undo each other.
fn targets(targets: &[String], found: &mut Vec<Contradiction>) {
    for (index, inner) in targets.iter().enumerate() {
        let is_within = |outer: &&String| {
            let rest = inner.strip_prefix(outer.trim_end_matches('/'));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let others = targets
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != index);
        let mut outer = others
            .filter(|(other, path)| *path != inner || *other < index)
            .map(|(_, path)| path);
        if let Some(outer) = outer.find(is_within) {
            let message = format!("the target `{inner}` lies in the target `{outer}`");
            found.push((
                TARGETS_OVERLAP,
                format!("/pipeline/targets/{index}"),
                message,
            ));
        }
    }
}

fn keys(policy: &Policy, found: &mut Vec<Contradiction>) {
    let keys = &policy.integrity.keys;
    for (index, key) in keys.iter().enumerate() {
        let (Some(first), Some(last)) = (key.not_before, key.not_after) else {
            continue;
        };
        if first > last {
            let pointer = format!("/integrity/keys/{index}/not_before");
            let message = "`not_before` is later than `not_after`: the key may never sign".into();
            found.push((KEY_PERIOD, pointer, message));
        }
    }
    if !keys.is_empty() && keys.iter().all(|key| key.status != KeyStatus::Active) {
        let message = "no key is active, so that nothing can be signed".into();
        found.push((NO_ACTIVE_KEY, "/integrity/keys".into(), message));
    }
}

fn alerts(policy: &Policy, found: &mut Vec<Contradiction>) {
    let alerts = &policy.alerts;
    if alerts.require_notify && alerts.routes.is_empty() {
        let message = "somebody has to be notified, and no route leads to anybody".into();
        found.push((NOBODY_NOTIFIED, "/alerts/require_notify".into(), message));
    }
    for (name, channel) in &alerts.channels {
        let pointer = format!(
            "/alerts/channels/{}",
            name.replace('~', "~0").replace('/', "~1")
        );
        if channel.smtp_tls == SmtpTls::None && !channel.password_env.is_empty() {
            let message = format!("the channel `{name}` sends its password without encryption");
            found.push((MAIL_IN_CLEAR, pointer.clone(), message));
        }
        if !alerts
            .routes
            .iter()
            .any(|route| route.channels.contains(name))
        {
            let message = format!("no route leads to the channel `{name}`");
            found.push((UNUSED_CHANNEL, pointer, message));
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use super::*;

    fn told(json: &str) -> String {
        let policy = serde_json::from_str(json).unwrap();
        let found = all(&policy);
        let told: Vec<String> = found
            .iter()
            .map(|(check, pointer, _)| format!("{check} {pointer}"))
            .collect();
        told.join(", ")
    }

    #[test]
    fn policies_that_contradict_themselves_say_how_and_where() {
        for (json, expected) in [
            ("{}", ""),
            (
                r#"{"adaptive_budget": {"base_budget_seconds": 400}}"#,
                "policy.budget /adaptive_budget/base_budget_seconds",
            ),
            (
                r#"{"performance_benchmarks": {"max_processing_time_seconds": 299}}"#,
                "policy.time_limit /adaptive_budget/max_budget_seconds",
            ),
            (
                r#"{"pipeline": {"stages": [{"name": "a", "command": ["a"], "budget_seconds": 301}]}}"#,
                "policy.stage_budget /pipeline/stages/0/budget_seconds",
            ),
            (
                r#"{"policy_guard": {"audit_logging": false}}"#,
                "policy.audit_off /policy_guard/audit_logging",
            ),
            (
                r#"{"policy_guard": {"audit_logging": false, "enforcement_level": "standard"}}"#,
                "",
            ),
            (
                r#"{"policy_guard": {"allowed_operations": ["a", "b", "c_d"], "blocked_operations": ["b", "c_*"]}}"#,
                "policy.allowed_and_blocked /policy_guard/allowed_operations/1, \
                 policy.never_allowed /policy_guard/allowed_operations/2",
            ),
            (
                r#"{"policy_guard": {"allowed_operations": ["c_*"], "blocked_operations": ["c_d"]}}"#,
                "",
            ),
            (
                r#"{"policy_guard": {"blocked_operations": ["modify_core_config"], "core_config_paths": []}}"#,
                "policy.no_core_config /policy_guard/core_config_paths",
            ),
            (
                r#"{"policy_guard": {"exclude": ["a", "**"], "honor_foreign_ignores": true}}"#,
                "policy.foreign_ignores /policy_guard/honor_foreign_ignores, \
                 policy.excludes_everything /policy_guard/exclude/1",
            ),
            (
                r#"{"quality_thresholds": {"file_size_bytes_min": 2, "file_size_bytes_max": 1}}"#,
                "policy.size_bounds /quality_thresholds/file_size_bytes_min",
            ),
            (
                r#"{"rollback_playbook": {"rollback_verification": false}}"#,
                "policy.unverified_rollback /rollback_playbook/rollback_verification",
            ),
            (
                r#"{"pipeline": {"targets": ["a/b", "a", "ab", "a"]}}"#,
                "policy.targets_overlap /pipeline/targets/0, policy.targets_overlap /pipeline/targets/3",
            ),
            (
                r#"{"integrity": {"keys": [{"key_id": "k", "source": "env:K", "status": "revoked",
                   "not_before": "2026-01-02T00:00:00Z", "not_after": "2026-01-01T00:00:00Z"}]}}"#,
                "policy.key_period /integrity/keys/0/not_before, policy.no_active_key /integrity/keys",
            ),
            (
                r#"{"alerts": {"require_notify": true, "channels": {"a/b": {"type": "email", "smtp_host": "h",
                   "from": "f", "to": ["t"], "smtp_tls": "none", "password_env": "P"}}}}"#,
                "policy.nobody_notified /alerts/require_notify, policy.mail_in_clear /alerts/channels/a~1b, \
                 policy.unused_channel /alerts/channels/a~1b",
            ),
        ] {
            assert_eq!(told(json), expected, "{json}");
        }
    }
}
