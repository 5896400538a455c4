//! A playbook for a person on call: all that they need, and nothing that they must look up. Pure.

use super::playbook::{Kind, OnFailure, Playbook, Step};
use crate::base::units::{self, printable};

/// The page.
pub fn markdown(playbook: &Playbook) -> String {
    let mut page = format!(
        "# Roll back to snapshot `{}`\n\nMade {} on `{}`, valid until {}. Policy: {}.\n\n",
        playbook.id,
        playbook.created_at,
        printable(&playbook.host),
        playbook.expires_at,
        printable(&playbook.policy.source)
    );
    page.push_str("| target | goes back to | files | size | digest |\n|---|---|--:|--:|---|\n");
    for source in &playbook.snapshots {
        page.push_str(&format!(
            "| {} | `{}` | {} | {} | `{}…` |\n",
            cell(&source.target),
            cell(&source.absolute_path),
            source.files,
            units::bytes(source.bytes),
            &source.root_digest.to_string()[..12],
        ));
    }
    page.push_str(&format!(
        "\nAll at once: `agp rollback execute PLAYBOOK --state-dir {} --approve`. It verifies each step, stops at the \
         first that fails, and resumes there when it is started again. By hand:\n\n## Before you start\n\n",
        word(&playbook.state_dir)
    ));
    for one in &playbook.preconditions {
        let mark = if one.result_now == "ok" { "x" } else { " " };
        page.push_str(&format!(
            "- [{mark}] {} ({}): {}\n",
            cell(&one.check),
            one.result_now,
            cell(&one.detail)
        ));
    }
    page.push_str("\nA box that is not ticked did not hold when this was made: look again first.\n\n## Steps\n\n");
    for (index, step) in playbook.steps.iter().enumerate() {
        page.push_str(&step_text(index + 1, step));
    }
    page.push_str(&end(playbook));
    page
}

/// What comes after the steps.
fn end(playbook: &Playbook) -> String {
    let mut page = String::new();
    page.push_str("## Stop, and call for help, when\n\n");
    for criterion in &playbook.abort_criteria {
        page.push_str(&format!("- {}\n", cell(criterion)));
    }
    page.push_str(&format!(
        "\n## It worked when this exits 0\n\n```sh\n{}\n```\n\n## Take it back\n\n```sh\n{}\n```\n\n",
        shell(&playbook.verification),
        shell(&playbook.undo)
    ));
    match &playbook.rehearsal {
        Some(rehearsal) => page.push_str(&format!(
            "Rehearsed {}: {}, {} ms, {} differing.\n",
            rehearsal.last_at,
            rehearsal.result,
            rehearsal.measured_milliseconds,
            units::count(rehearsal.differences, "path")
        )),
        None => page.push_str(
            "Never rehearsed: `agp rollback drill PLAYBOOK` measures how long it takes.\n",
        ),
    }
    page.push_str("\n## What makes a governed run do this by itself\n\n");
    for trigger in &playbook.triggers {
        let how = if trigger.automatic {
            ""
        } else {
            " (switched off)"
        };
        page.push_str(&format!(
            "- `{}`{how}: {}\n",
            trigger.pattern, trigger.fires_when
        ));
    }
    page
}

fn step_text(number: usize, step: &Step) -> String {
    let who = match step.kind {
        Kind::Auto => "",
        Kind::Manual => " (you)",
        Kind::Approval => " (think before you start it)",
    };
    let mut text = format!("{number}. **{}**{who}: {}\n", step.id, cell(&step.title));
    if !step.argv.is_empty() {
        text.push_str(&format!("\n   ```sh\n   {}\n   ```\n", shell(&step.argv)));
        let codes: Vec<String> = step.expect.iter().map(ToString::to_string).collect();
        text.push_str(&format!(
            "\n   Expect exit {}, after about {} s, at most {} s.",
            codes.join(" or "),
            step.estimated_seconds,
            step.timeout_seconds
        ));
    } else {
        text.push_str("\n  ");
    }
    match &step.on_failure {
        OnFailure::Abort => text.push_str(" If it fails, stop here."),
        OnFailure::Continue => text.push_str(" If it fails, go on."),
        OnFailure::Goto(step) => text.push_str(&format!(" If it fails, go to `{step}`.")),
    }
    if step.point_of_no_return {
        text.push_str(" **Nothing takes this back.**");
    } else if !step.reversible_by.is_empty() {
        text.push_str(&format!(" `{}` takes it back.", shell(&step.reversible_by)));
    }
    text.push_str("\n\n");
    text
}

/// Text that stays in its cell and on its line.
fn cell(text: &str) -> String {
    printable(text).replace('|', "\\|")
}

/// A command as one would type it.
fn shell(argv: &[String]) -> String {
    let words: Vec<String> = argv.iter().map(|text| word(text)).collect();
    words.join(" ")
}

fn word(text: &str) -> String {
    let quoted =
        shlex::try_quote(text).map_or_else(|_| text.to_owned(), |quoted| quoted.into_owned());
    printable(&quoted).into_owned()
}
