//! Workflows of GitHub Actions that give strangers what is ours: by places of a YAML text.

use std::collections::HashSet;

use super::Leaf;
use crate::base::severity::Severity;
use crate::guard::notes::Notes;

const UNTRUSTED_CHECKOUT: &str = "workflow.untrusted_checkout";
const SCRIPT_INJECTION: &str = "workflow.script_injection";
const UNPINNED_ACTION: &str = "workflow.unpinned_action";
const WRITE_ALL: &str = "workflow.write_all";

#[cfg(test)]
pub(super) const CHECKS: [&str; 4] = [
    UNTRUSTED_CHECKOUT,
    SCRIPT_INJECTION,
    UNPINNED_ACTION,
    WRITE_ALL,
];

/// Triggers that run with the repository's own rights on what a stranger sends.
const PRIVILEGED_TRIGGERS: [&str; 2] = ["pull_request_target", "workflow_run"];

/// What names the head of a stranger's request.
const HEADS: [&str; 5] = [
    "github.event.pull_request.head",
    "github.head_ref",
    "github.event.workflow_run.head",
    "refs/pull/",
    "github.event.number",
];

/// What strangers write as they like.
const WRITTEN_BY_STRANGERS: [&str; 13] = [
    "github.event.issue.title",
    "github.event.issue.body",
    "github.event.pull_request.title",
    "github.event.pull_request.body",
    "github.event.pull_request.head.ref",
    "github.event.pull_request.head.label",
    "github.event.comment.body",
    "github.event.review.body",
    "github.event.review_comment.body",
    "github.event.discussion.title",
    "github.event.discussion.body",
    "github.event.head_commit.message",
    "github.head_ref",
];

/// Owners of actions that everybody trusts who runs the others' machines.
const OWNERS_OF_THE_HOST: [&str; 2] = ["actions/", "github/"];

/// Looks at a workflow, or at an action made of steps.
pub(super) fn check(leaves: &[Leaf], notes: &mut Notes<'_>) {
    let path = String::from_utf8_lossy(notes.item().path).to_lowercase();
    let is_workflow = path.split('/').any(|folder| folder == "workflows");
    let name = notes.item().name();
    if !is_workflow && !matches!(&*name, "action.yml" | "action.yaml") {
        return;
    }
    let is_privileged = leaves.iter().any(|leaf| {
        let is_trigger = leaf.steps.first().is_some_and(|step| step == "on");
        let key = leaf.steps.get(1).map_or("", String::as_str);
        let named = PRIVILEGED_TRIGGERS.contains(&&*leaf.value) && leaf.steps.len() <= 2;
        is_trigger && (named || PRIVILEGED_TRIGGERS.contains(&key))
    });
    let mut told = HashSet::new();
    for leaf in leaves {
        let steps: Vec<&str> = leaf.steps.iter().map(String::as_str).collect();
        match &steps[..] {
            [.., "with", "ref" | "repository"] if is_privileged => checkout(leaf, notes),
            [.., "run"] | [.., "with", "script"] => injection(leaf, notes),
            [.., "uses"] if told.insert(leaf.value.trim()) => action(leaf, notes),
            [.., "permissions"] if leaf.value == "write-all" => {
                let message = "the job may write everything that its token reaches";
                notes.add(WRITE_ALL, Some(leaf.spot), message);
            }
            _ => {}
        }
    }
}

fn checkout(leaf: &Leaf, notes: &mut Notes<'_>) {
    if HEADS.iter().any(|head| leaf.value.contains(head)) {
        let message =
            "a stranger's code is checked out where this repository's rights and secrets are";
        notes.add(UNTRUSTED_CHECKOUT, Some(leaf.spot), message);
    }
}

fn injection(leaf: &Leaf, notes: &mut Notes<'_>) {
    let expressions = leaf.value.split("${{").skip(1);
    let mut expressions = expressions.filter_map(|rest| rest.split("}}").next());
    let by_strangers = expressions.any(|expression| {
        WRITTEN_BY_STRANGERS
            .iter()
            .any(|context| expression.contains(context))
    });
    if by_strangers {
        let message = "a text that strangers write becomes a part of the script";
        notes.add(SCRIPT_INJECTION, Some(leaf.spot), message);
    }
}

fn action(leaf: &Leaf, notes: &mut Notes<'_>) {
    let name = leaf.value.trim();
    let is_local = name.starts_with("./") || name.starts_with("../") || name.contains("${{");
    let Some((action, version)) = name.rsplit_once('@').filter(|_| !is_local) else {
        return;
    };
    let is_digest = |text: &str, digits| {
        text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    if is_digest(version, 40)
        || version
            .strip_prefix("sha256:")
            .is_some_and(|sum| is_digest(sum, 64))
    {
        return;
    }
    let of_host = OWNERS_OF_THE_HOST
        .iter()
        .any(|owner| action.starts_with(owner));
    let severity = match of_host {
        true => Severity::Low,
        false => Severity::Medium,
    };
    let message = "the action is named by what its owner may move, not by the digest of a commit";
    notes.add_as(UNPINNED_ACTION, severity, Some(leaf.spot), message);
}
