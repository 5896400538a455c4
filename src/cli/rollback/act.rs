//! Each action: flags in, a report out.

use std::path::PathBuf;

use super::body::{DifferenceLine, RollbackBody, SnapshotLine, Summary, TargetLine};
use super::{Action, CheckArgs, DiffArgs, HowArgs, OneArgs, PruneArgs, RestoreArgs, TakeArgs};
use crate::base::units;
use crate::cli::failure::{Failure, Kind};
use crate::cli::spine::{self, Context};
use crate::inventory::Globs;
use crate::report::{Finding, Report, Resource, codes};
use crate::rollback::{
    self, Atomicity, Changes, Drilled, Listed, Mark, Marks, Place, Reason, Recovered,
    RestoreRequest, Restored, RollbackError, SaveRequest, Saved,
};

/// How many differences people get to see.
const DIFFERENCES_SHOWN: usize = 50;

/// Does what was asked for.
pub(super) fn act(action: &Action, context: &Context<'_>) -> Result<Report, Failure> {
    let place = place(context)?;
    match action {
        Action::Snapshot(arguments) => {
            let taken = (&arguments.target_dirs[..], &arguments.take);
            let saved = rollback::save(place, &save_request(taken, context)).map_err(failure)?;
            saved_report(saved, (&arguments.take, place))
        }
        Action::Restore(arguments) => restore(arguments, (context, place)),
        Action::Undo(arguments) => {
            context.confirm(arguments.how.yes, "undo the newest restore")?;
            let request = request(&arguments.how, context);
            came_to("undo", rollback::undo(place, &request))
        }
        Action::List(_) => rollback::list(place).map(list_report).map_err(failure),
        Action::Diff(arguments) => diff(arguments, place),
        Action::Check(arguments) => check(arguments, place),
        // Those that are about a playbook or a command stand in files of their own.
        Action::Run(_) | Action::Show(_) | Action::Drill(_) | Action::Execute(_) => Err(
            Failure::because(Kind::Usage, "a playbook or a command is asked for"),
        ),
        Action::Recover(_) => rollback::recover(place)
            .map(recover_report)
            .map_err(failure),
        Action::Prune(arguments) => prune(arguments, (context, place)),
        Action::Pin(arguments) => mark(arguments, place, true),
        Action::Unpin(arguments) => mark(arguments, place, false),
    }
}

/// What kept a rollback command from its end.
pub(in crate::cli) fn failure(error: RollbackError) -> Failure {
    let told = |code, error: RollbackError| {
        let text = format!("{:#}", anyhow::Error::from(error));
        Failure::of(Kind::Input, Finding::new(code, text))
    };
    match error {
        RollbackError::Interrupted => spine::interrupted(),
        RollbackError::Entries(findings) | RollbackError::Unverified(findings) => {
            Failure::of_all(Kind::Input, findings)
        }
        RollbackError::UnknownSnapshot { ref similar, .. } => {
            let hint = similar
                .as_ref()
                .map(|name| format!("did you mean `{name}`?"));
            let failure = told(&codes::SNAPSHOT_UNKNOWN, error);
            match hint {
                Some(hint) => failure.with_hint(hint),
                None => failure,
            }
        }
        RollbackError::Ambiguous { .. } => told(&codes::SNAPSHOT_UNKNOWN, error),
        RollbackError::Damaged {
            ref path,
            ref reason,
        } => {
            let finding = Finding::new(&codes::SNAPSHOT_DAMAGED, reason.clone()).at(path.clone());
            Failure::of(Kind::Input, finding)
        }
        RollbackError::Forged { ref path } => {
            let text = "its MAC is not that of its key";
            let finding = Finding::new(&codes::SNAPSHOT_FORGED, text).at(path.clone());
            Failure::of(Kind::Input, finding)
        }
        RollbackError::Stuck(_) => told(&codes::RESTORE_STUCK, error),
        RollbackError::Playbook { .. } => told(&codes::PLAYBOOK_INVALID, error),
        RollbackError::Usage(_) | RollbackError::Glob(_) => Failure::new(Kind::Usage, error),
        RollbackError::Store(_) => Failure::new(Kind::Output, error),
        _ => Failure::new(Kind::Input, error),
    }
}

pub(super) fn body(action: &str, status: &str) -> RollbackBody {
    RollbackBody {
        summary: Summary {
            action: action.to_owned(),
            status: status.to_owned(),
            ..Summary::default()
        },
        ..RollbackBody::default()
    }
}

pub(super) fn report(headline: String, findings: Vec<Finding>, body: &RollbackBody) -> Report {
    Report::new("rollback", headline, findings).with_body(body)
}

/// The store of this command.
pub(super) fn place<'a>(context: &'a Context<'_>) -> Result<Place<'a>, Failure> {
    Ok(Place {
        state_dir: &context.state_dir,
        keyring: Some(context.keyring()?),
        progress: context.progress,
        keepers: &[],
    })
}

/// What to take a snapshot of, and how.
pub(super) fn save_request(
    (targets, take): (&[PathBuf], &TakeArgs),
    context: &Context<'_>,
) -> SaveRequest {
    let named = targets
        .iter()
        .map(|path| (rollback::shown(path), path.clone()));
    SaveRequest {
        targets: named.collect(),
        label: take.label.clone(),
        reason: Reason::Asked,
        paranoid: take.paranoid,
        allow_incomplete: take.allow_incomplete,
        now: context.started_at,
        audit_head: context.audit_head.clone(),
    }
}

/// The report of a snapshot that was taken; pins it where that is asked for.
pub(super) fn saved_report(
    saved: Saved,
    (take, place): (&TakeArgs, Place<'_>),
) -> Result<Report, Failure> {
    let marks = Marks {
        pinned: take.pin,
        good: false,
    };
    if marks.pinned {
        let pin = (saved.snapshot.id.as_str(), Mark::Pinned);
        rollback::mark(place, pin, true).map_err(failure)?;
    }
    let listed = Listed {
        id: saved.snapshot.id.clone(),
        snapshot: Ok((saved.snapshot, saved.seal)),
        marks,
    };
    let mut body = body("snapshot", "saved");
    body.summary.snapshot = Some(listed.id.clone());
    body.summary.objects = saved.added_objects;
    body.summary.object_bytes = saved.added_bytes;
    body.summary.reused = saved.reused;
    body.snapshots.extend(SnapshotLine::of(&listed));
    for target in body.snapshots.iter().flat_map(|snapshot| &snapshot.targets) {
        body.summary.files += target.files;
        body.summary.bytes += target.bytes;
    }
    let headline = format!(
        "saved `{}`: {}, {}; {} new",
        listed.id,
        units::count(body.summary.files, "file"),
        units::bytes(body.summary.bytes),
        units::bytes(saved.added_bytes),
    );
    let snapshot = listed
        .snapshot
        .as_ref()
        .map_or(&[][..], |(snapshot, _)| &snapshot.targets);
    let resources = snapshot.iter().map(|target| Resource {
        path: target.name.clone(),
        access: "read",
        sha256: Some(target.root_digest()),
    });
    let resources = resources.collect();
    Ok(report(headline, saved.findings, &body).with_resources(resources))
}

fn request<'a>(how: &HowArgs, context: &Context<'_>) -> RestoreRequest<'a> {
    let policy = &context.policy.policy.rollback_playbook;
    RestoreRequest {
        keep_failed: how.keep_failed || policy.keep_failed,
        verify: policy.rollback_verification,
        allow_incomplete: how.allow_incomplete,
        audit_head: context.audit_head.clone(),
        ..RestoreRequest::whole(None, context.started_at)
    }
}

fn restore(
    arguments: &RestoreArgs,
    (context, place): (&Context<'_>, Place<'_>),
) -> Result<Report, Failure> {
    let include =
        Globs::compile(&arguments.include).map_err(|error| Failure::new(Kind::Usage, error))?;
    let request = RestoreRequest {
        snapshot: Some(&arguments.snapshot),
        targets: &arguments.target,
        include,
        ..request(&arguments.how, context)
    };
    if arguments.dry_run {
        let preview = rollback::preview(place, &request).map_err(failure)?;
        let mut body = body("restore", "would restore");
        let mut total = Changes::default();
        for (name, changes, differences) in &preview {
            total = sum(total, *changes);
            body.targets.push(TargetLine {
                target: name.clone(),
                changes: *changes,
                atomicity: None,
                root_digest: None,
            });
            let lines = differences.iter().map(|one| DifferenceLine::of(name, one));
            body.differences.extend(lines);
        }
        let headline = format!("would restore `{}`: {}", arguments.snapshot, told(total));
        let lines = difference_lines(&body.differences);
        return Ok(report(headline, Vec::new(), &body).with_text(lines));
    }
    // Nobody is asked about what cannot be done.
    rollback::show(place, &arguments.snapshot).map_err(failure)?;
    let question = format!("restore `{}` over what is there now", arguments.snapshot);
    context.confirm(arguments.how.yes, &question)?;
    came_to("restore", rollback::restore(place, &request))
}

/// What a restore came to. That what was staged is not what the snapshot holds is an answer: nothing was touched.
fn came_to(action: &str, restored: Result<Restored, RollbackError>) -> Result<Report, Failure> {
    match restored {
        Ok(restored) => Ok(restored_report(action, restored)),
        Err(RollbackError::Unverified(findings)) => {
            let headline = "nothing was restored: what was staged is not what the snapshot holds";
            let body = body(action, "unverified");
            Ok(report(headline.to_owned(), findings, &body))
        }
        Err(error) => Err(failure(error)),
    }
}

/// A line for people for each difference, as far as people read.
fn difference_lines(differences: &[DifferenceLine]) -> String {
    let line = |one: &DifferenceLine| {
        let place = match one.path.as_str() {
            "" => one.target.clone(),
            path => format!("{}/{path}", one.target),
        };
        format!("  {place}: {}\n", one.aspects.join(", "))
    };
    let shown = differences.iter().take(DIFFERENCES_SHOWN);
    let mut lines: String = shown.map(line).collect();
    if differences.len() > DIFFERENCES_SHOWN {
        let more = differences.len() - DIFFERENCES_SHOWN;
        lines.push_str(&format!("  … and {more} more; `--json` has them all\n"));
    }
    lines
}

fn sum(a: Changes, b: Changes) -> Changes {
    Changes {
        created: a.created + b.created,
        replaced: a.replaced + b.replaced,
        adjusted: a.adjusted + b.adjusted,
        removed: a.removed + b.removed,
    }
}

fn told(changes: Changes) -> String {
    format!(
        "{} created, {} replaced, {} adjusted, {} removed",
        changes.created, changes.replaced, changes.adjusted, changes.removed
    )
}

fn restored_report(action: &str, restored: Restored) -> Report {
    let mut body = body(action, "restored");
    let mut total = Changes::default();
    let mut worst = Atomicity::Tree;
    let mut resources = Vec::new();
    for target in restored.targets {
        total = sum(total, target.changes);
        worst = worst.max(target.atomicity);
        body.summary.files += target.written + target.linked;
        resources.push(Resource {
            path: target.name.clone(),
            access: "write",
            sha256: Some(target.root_digest),
        });
        body.targets.push(TargetLine {
            target: target.name,
            changes: target.changes,
            atomicity: Some(target.atomicity),
            root_digest: Some(target.root_digest.to_string()),
        });
    }
    let mut headline = match &restored.snapshot {
        Some(id) => format!("restored `{id}`: {}", told(total)),
        None => "removed what the restore had created".to_owned(),
    };
    if restored.before.is_some() {
        headline.push_str("; `agp rollback undo` takes it back");
    }
    match worst {
        Atomicity::Tree => {}
        Atomicity::Entry => headline.push_str("; replaced entry by entry"),
        Atomicity::Resumable => headline.push_str("; replaced entry by entry, without exchange"),
    }
    body.summary.snapshot = restored.snapshot;
    body.summary.before = restored.before;
    report(headline, restored.findings, &body).with_resources(resources)
}

fn list_report(all: Vec<Listed>) -> Report {
    let mut body = body("list", "listed");
    let mut findings = Vec::new();
    let mut lines = String::new();
    for listed in &all {
        match (&listed.snapshot, SnapshotLine::of(listed)) {
            (_, Some(line)) => {
                lines.push_str(&format!("  {}\n", line_of(&line)));
                body.snapshots.push(line);
            }
            (Err(error), None) => {
                let finding = Finding::new(&codes::SNAPSHOT_DAMAGED, error.to_string());
                findings.push(finding.at(format!("snapshot {}", listed.id)));
            }
            (Ok(_), None) => {}
        }
    }
    let headline = units::count(all.len() as u64, "snapshot");
    report(headline, findings, &body).with_text(lines)
}

/// One line for people.
fn line_of(line: &SnapshotLine) -> String {
    let files: u64 = line.targets.iter().map(|target| target.files).sum();
    let bytes: u64 = line.targets.iter().map(|target| target.bytes).sum();
    let names: Vec<&str> = line.targets.iter().map(|target| &*target.target).collect();
    let mut text = format!(
        "{}  {}, {}  {}",
        line.id,
        units::count(files, "file"),
        units::bytes(bytes),
        names.join(" ")
    );
    for (word, holds) in [("pinned", line.pinned), ("good", line.good)] {
        if holds {
            text.push_str(&format!("  [{word}]"));
        }
    }
    if line.reason != "asked" {
        text.push_str(&format!("  ({})", line.reason.replace('_', " ")));
    }
    if let Some(label) = &line.label {
        text.push_str(&format!("  {label}"));
    }
    text
}

pub(super) fn show_report(listed: &Listed) -> Report {
    let mut body = body("show", "shown");
    let mut headline = listed.id.clone();
    let mut lines = String::new();
    if let Some(line) = SnapshotLine::of(listed) {
        headline = line_of(&line);
        let seal = match (&line.key_id, line.authentic) {
            (Some(key), true) => format!("sealed with key {key}"),
            (Some(key), false) => format!("sealed with key {key}, which is not at hand"),
            (None, _) => "not sealed".to_owned(),
        };
        lines = format!("  taken {}, {seal}\n", line.created_at);
        for target in &line.targets {
            lines.push_str(&format!(
                "  {} ({}): {}, {}, digest {}…\n",
                target.target,
                target.absolute_path,
                units::count(target.files, "file"),
                units::bytes(target.bytes),
                &target.root_digest[..12],
            ));
            for path in &target.incomplete {
                lines.push_str(&format!("    without {path}\n"));
            }
        }
        body.snapshots.push(line);
    }
    body.summary.snapshot = Some(listed.id.clone());
    report(headline, Vec::new(), &body).with_text(lines)
}

fn diff(arguments: &DiffArgs, place: Place<'_>) -> Result<Report, Failure> {
    let second = Some(arguments.second.as_str()).filter(|second| *second != "live");
    let compared = rollback::compare(place, &arguments.first, second).map_err(failure)?;
    let mut findings = compared.findings;
    let mut body = body("diff", "equal");
    for (target, differences) in &compared.targets {
        for difference in differences {
            let line = DifferenceLine::of(target, difference);
            let path = match line.path.as_str() {
                "" => target.clone(),
                path => format!("{target}/{path}"),
            };
            let finding = Finding::new(&codes::SNAPSHOT_DIFFERS, line.aspects.join(", "));
            findings.push(finding.at(path));
            body.differences.push(line);
        }
    }
    for target in compared.unmatched {
        let text = "only one of the two has this target";
        findings.push(Finding::new(&codes::SNAPSHOT_DIFFERS, text).at(target));
    }
    let count = findings
        .iter()
        .filter(|one| one.code == &codes::SNAPSHOT_DIFFERS)
        .count();
    let (first, second) = (&arguments.first, &arguments.second);
    let headline = match count {
        0 => format!("`{first}` and `{second}` are equal in every respect"),
        count => {
            body.summary.status = "different".into();
            let count = units::count(count as u64, "path");
            format!("{count} differ between `{first}` and `{second}`")
        }
    };
    Ok(report(headline, findings, &body))
}

fn check(arguments: &CheckArgs, place: Place<'_>) -> Result<Report, Failure> {
    let checked = rollback::check(place, arguments.read_data).map_err(failure)?;
    let mut body = body("check", "checked");
    body.summary.objects = checked.objects;
    body.summary.bytes = checked.read_bytes;
    let how = match arguments.read_data {
        true => format!("{} read", units::bytes(checked.read_bytes)),
        false => "none read; `--read-data` reads them".to_owned(),
    };
    let headline = format!(
        "{} and {}, {how}",
        units::count(checked.snapshots, "snapshot"),
        units::count(checked.objects, "object"),
    );
    Ok(report(headline, checked.findings, &body))
}

/// The report of a rehearsal.
pub(super) fn drill_report(drilled: Drilled) -> Report {
    let mut body = body("drill", "rehearsed");
    body.summary.snapshot = Some(drilled.snapshot.clone());
    body.summary.files = drilled.files;
    body.summary.bytes = drilled.bytes;
    body.summary.measured_seconds = Some(drilled.duration.as_secs_f64());
    let headline = format!(
        "rehearsed `{}`: {}, {} in {:.2} s",
        drilled.snapshot,
        units::count(drilled.files, "file"),
        units::bytes(drilled.bytes),
        drilled.duration.as_secs_f64()
    );
    report(headline, drilled.findings, &body)
}

fn recover_report(recovered: Recovered) -> Report {
    let (status, headline) = match recovered {
        Recovered::Nothing => ("nothing to recover", "nothing was left to recover"),
        Recovered::Abandoned => (
            "abandoned",
            "an unfinished restore was removed; nothing live had changed",
        ),
        Recovered::Finished => ("finished", "a killed restore was brought to its end"),
    };
    report(headline.into(), Vec::new(), &body("recover", status))
}

fn prune(
    arguments: &PruneArgs,
    (context, place): (&Context<'_>, Place<'_>),
) -> Result<Report, Failure> {
    let days = context
        .policy
        .policy
        .rollback_playbook
        .backup_retention_days;
    let now = context.started_at;
    let pruned = rollback::prune(place, (now, days), arguments.dry_run).map_err(failure)?;
    let mut body = body(
        "prune",
        if arguments.dry_run {
            "would prune"
        } else {
            "pruned"
        },
    );
    body.summary.objects = pruned.objects;
    body.summary.object_bytes = pruned.bytes;
    let act = if arguments.dry_run {
        "would remove"
    } else {
        "removed"
    };
    let mut what = units::count(pruned.removed.len() as u64, "snapshot");
    if !pruned.quarantined.is_empty() {
        let quarantined = units::count(pruned.quarantined.len() as u64, "failed state");
        what.push_str(&format!(" and {quarantined} in quarantine"));
    }
    let mut headline = format!(
        "{act} {what} older than {}; {} stay",
        units::count(days, "day"),
        pruned.kept,
    );
    if !arguments.dry_run {
        let objects = units::count(pruned.objects, "object");
        headline.push_str(&format!(
            "; {objects}, {} freed",
            units::bytes(pruned.bytes)
        ));
    }
    let snapshots = pruned.removed.iter().map(|id| format!("snapshot {id}"));
    let quarantined = pruned.quarantined.iter();
    let quarantined = quarantined.map(|path| path.to_string_lossy().into_owned());
    let resource = |path| Resource {
        path,
        access: "write",
        sha256: None,
    };
    let resources = snapshots.chain(quarantined).map(resource).collect();
    Ok(report(headline, pruned.findings, &body).with_resources(resources))
}

fn mark(arguments: &OneArgs, place: Place<'_>, set: bool) -> Result<Report, Failure> {
    let id = rollback::mark(place, (&arguments.snapshot, Mark::Pinned), set).map_err(failure)?;
    let (action, word) = if set {
        ("pin", "pinned")
    } else {
        ("unpin", "no longer pinned")
    };
    let mut body = body(action, word);
    body.summary.snapshot = Some(id.clone());
    Ok(report(format!("`{id}` is {word}"), Vec::new(), &body))
}
