//! The reference, generated from what the program is made of: commands, exit codes, finding
//! codes, environment variables and JSON Schemas. `docs/` holds the output; a test keeps it.

use clap::{Arg, Command, ValueEnum};
use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Value, json};

use super::measure::ProfileBody;
use super::rollback::RollbackBody;
use super::{env, exit, guard_report, past, run, sign, verify};
use crate::base::event::Event;
use crate::report::{Envelope, Verdict, codes};
use crate::{alert, audit, budget, integrity, part, policy, rollback};

/// JSON Schemas that `agp tool schema` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Schema {
    /// The policy file
    Policy,
    /// The integrity manifest
    Manifest,
    /// One line of a part of `--shard`
    Part,
    /// A snapshot of `agp rollback`
    Snapshot,
    /// A playbook of `agp rollback`
    Playbook,
    /// A message of alerts
    Alert,
    /// The report of `agp run`
    ReportRun,
    /// The report of `agp sign`
    ReportSign,
    /// The report of `agp verify`
    ReportVerify,
    /// The report of `agp guard`
    ReportGuard,
    /// The report of `agp rollback`
    ReportRollback,
    /// The report of `agp profile`
    ReportProfile,
    /// The report of `agp audit verify`
    ReportAudit,
    /// The report of `agp budget`
    ReportBudget,
    /// The report of `agp profile compare`
    ReportCompare,
    /// The report of `agp profile accept`
    ReportAccept,
}

impl Schema {
    /// The schema (draft 2020-12).
    pub fn schema(self) -> Value {
        match self {
            Self::Policy => policy::schema(),
            Self::Manifest => integrity::schema(),
            Self::Part => part::schema(),
            Self::Snapshot => rollback::snapshot_schema(),
            Self::Playbook => rollback::playbook_schema(),
            Self::Alert => alert::schema(),
            Self::ReportRun => envelope::<run::RunBody>(),
            Self::ReportSign => envelope::<sign::SignBody>(),
            Self::ReportVerify => envelope::<verify::VerifyBody>(),
            Self::ReportGuard => envelope::<guard_report::GuardBody>(),
            Self::ReportRollback => envelope::<RollbackBody>(),
            Self::ReportProfile => envelope::<ProfileBody>(),
            Self::ReportAudit => envelope::<audit::VerifyBody>(),
            Self::ReportBudget => envelope::<budget::BudgetBody>(),
            Self::ReportCompare => envelope::<past::CompareBody>(),
            Self::ReportAccept => envelope::<past::AcceptBody>(),
        }
    }

    /// The file below `docs/formats/` that holds it.
    pub fn file_name(self) -> String {
        let name = self
            .to_possible_value()
            .map(|value| value.get_name().to_owned());
        format!("{}.schema.json", name.unwrap_or_default())
    }
}

/// What stands in the place of a verb's body where there is no answer.
#[derive(JsonSchema)]
struct NoAnswer {
    /// Empty: the findings say why.
    #[expect(dead_code, reason = "a shape, never a value")]
    summary: serde_json::Map<String, Value>,
}

/// The report of a verb: with its body, or with none where it could not answer.
fn envelope<Body: JsonSchema>() -> Value {
    let mut generator = SchemaGenerator::new(SchemaSettings::draft2020_12());
    let answer = generator.subschema_for::<Envelope<Body>>();
    let no_answer = generator.subschema_for::<Envelope<NoAnswer>>();
    let is_none = json!({
        "required": ["verdict", "summary"],
        "properties": {"verdict": {"const": "error"}, "summary": {"maxProperties": 0}},
    });
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "if": is_none, "then": no_answer, "else": answer,
        "$defs": generator.take_definitions(true),
    })
}

/// `docs/cli.md`.
pub fn command_line() -> String {
    let mut page = String::from(
        "# The command line\n\nPrinted by `agp tool reference cli`; a test keeps this page in step.\n",
    );
    let mut command = super::command();
    command.build();
    describe(&command, "agp", &mut page);
    page
}

fn describe(command: &Command, name: &str, page: &mut String) {
    let about = command
        .get_long_about()
        .or(command.get_about())
        .map(ToString::to_string);
    page.push_str(&format!("\n## `{name}`\n\n{}\n", about.unwrap_or_default()));
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ");
    page.push_str(&format!("\n```\n{usage}\n```\n"));
    let own: Vec<&Arg> = command
        .get_arguments()
        .filter(|argument| name == "agp" || !argument.is_global_set())
        .filter(|argument| !["help", "version"].contains(&argument.get_id().as_str()))
        .collect();
    if !own.is_empty() {
        page.push_str("\n| argument | meaning |\n|---|---|\n");
    }
    for argument in own {
        page.push_str(&row(argument));
    }
    if let Some(after) = command.get_after_help() {
        page.push_str(&format!("\n{after}\n"));
    }
    for inner in command
        .get_subcommands()
        .filter(|inner| inner.get_name() != "help" && !inner.is_hide_set())
    {
        describe(inner, &format!("{name} {}", inner.get_name()), page);
    }
}

fn row(argument: &Arg) -> String {
    let takes_value = argument.get_action().takes_values();
    let value = argument
        .get_value_names()
        .unwrap_or_default()
        .first()
        .map(ToString::to_string);
    let value = value.unwrap_or_default();
    let mut spelling = match (argument.get_short(), argument.get_long()) {
        (Some(short), Some(long)) => format!("`-{short}`, `--{long}"),
        (None, Some(long)) => format!("`--{long}"),
        _ => format!("`{value}"),
    };
    if takes_value && argument.get_long().is_some() {
        spelling.push_str(&format!(" {value}"));
    }
    spelling.push('`');
    let mut meaning = argument
        .get_help()
        .map(ToString::to_string)
        .unwrap_or_default();
    let words: Vec<String> = argument
        .get_possible_values()
        .iter()
        .filter(|_| takes_value)
        .map(|word| format!("`{}`", word.get_name()))
        .collect();
    if !words.is_empty() {
        meaning.push_str(&format!(": {}", words.join(", ")));
    }
    format!("| {spelling} | {} |\n", meaning.replace('|', "\\|"))
}

/// `docs/exit-codes.md`.
pub fn exit_codes() -> String {
    let mut page = String::from(
        "# Exit codes\n\nPrinted by `agp tool reference exit-codes`; a test keeps this page in step.\n\n\
         When several hold, the order is 19 > 2 > 18 > 1 > 0: a proven critical finding is never masked, and\n\
         an incomplete run never looks milder.\n\n| code | meaning |\n|---|---|\n",
    );
    for row in &exit::ALL {
        page.push_str(&format!("| {} | {} |\n", row.code, row.meaning));
    }
    page
}

/// `docs/findings.md`.
pub fn findings() -> String {
    let mut page = String::from(
        "# Finding codes\n\nPrinted by `agp tool reference findings`; a test keeps this page in step. Codes are\n\
         API: one may be added, none changes its meaning. The answer is what one such finding makes of\n\
         the command's answer; a warning leaves it as it is. The event is what [alerts](alerts.md) make of it.\n\n\
         | code | severity | answer | event | meaning | what to do |\n|---|---|---|---|---|---|\n",
    );
    for code in codes::ALL {
        let answer = match code.verdict {
            Verdict::Pass => "warning".to_owned(),
            verdict => format!("{} ({})", verdict.word(), exit::code(Ok(verdict))),
        };
        let (id, severity) = (code.id, code.severity.word());
        let event = code.event().map_or("", Event::word);
        page.push_str(&format!(
            "| `{id}` | {severity} | {answer} | {event} | {} | {} |\n",
            code.meaning, code.remedy
        ));
    }
    page
}

/// `docs/environment.md`.
pub fn environment() -> String {
    let mut page = String::from(
        "# Environment variables\n\nPrinted by `agp tool reference environment`; a test keeps this page in step.\n\
         `NO_COLOR`, `CLICOLOR` and `CLICOLOR_FORCE` are honoured as everywhere. A policy's `env:NAME` and\n\
         `*_env` keys name further variables; none of them is passed on to programs that `agp` starts.\n\n\
         | variable | meaning |\n|---|---|\n",
    );
    for variable in env::ALL {
        page.push_str(&format!("| `{}` | {} |\n", variable.name, variable.meaning));
    }
    page
}
