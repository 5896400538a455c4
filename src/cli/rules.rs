//! `agp guard rules`: lists, explains and tests rules.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::failure::{Failure, Kind};
use super::guard::select;
use super::spine::{Context, Done};
use crate::base::units;
use crate::guard::{self, Selection};

/// List, explain and test rules
#[derive(Debug, Args)]
pub struct RulesArgs {
    /// What to do.
    #[command(subcommand)]
    pub action: RulesAction,
}

/// What to do with rules.
#[derive(Debug, Subcommand)]
pub enum RulesAction {
    /// Print every rule: identifier, severity, confidence, category and title
    List(RuleFiles),
    /// Print what a rule or family is about: why it matters, what it looks for, how to fix and how to suppress
    Explain {
        /// An identifier, or a family
        id: String,
        /// Further rules.
        #[command(flatten)]
        files: RuleFiles,
    },
    /// Run every rule on its examples and counter-examples
    Test(RuleFiles),
}

/// Further files of rules.
#[derive(Debug, Args)]
pub struct RuleFiles {
    /// Add the rules of this file; may be repeated
    #[arg(long, value_name = "FILE")]
    pub rules: Vec<PathBuf>,
}

impl RulesArgs {
    /// Does it.
    ///
    /// # Errors
    /// Rules that cannot be used, a name that nothing has.
    pub fn run(&self, context: &Context<'_>) -> Result<Done, Failure> {
        let files = match &self.action {
            RulesAction::List(files) | RulesAction::Test(files) => files,
            RulesAction::Explain { files, .. } => files,
        };
        let Selection { mut pack, .. } = select(&files.rules, context.policy)?;
        pack.add_examples()
            .map_err(|error| Failure::new(Kind::Input, error))?;
        match &self.action {
            RulesAction::List(_) => Ok(list(&pack, context.global.wants_json())),
            RulesAction::Explain { id, .. } => explain(&pack, id),
            RulesAction::Test(_) => test(&pack),
        }
    }
}

fn list(pack: &guard::Pack, as_json: bool) -> Done {
    let all = guard::list(pack);
    let text = match as_json {
        true => serde_json::to_string_pretty(&all).map(|text| text + "\n"),
        false => {
            let width = all.iter().map(|listed| listed.id.len()).max().unwrap_or(0);
            let lines = all.iter().map(|listed| {
                let (severity, confidence) = (listed.severity.word(), listed.confidence.word());
                format!(
                    "{:width$}  {severity:8}  {confidence:6}  {:15}  {}\n",
                    listed.id,
                    listed.category.word(),
                    listed.title
                )
            });
            Ok(lines.collect())
        }
    };
    Done::Data(Box::new(move |out| out.write_all(text?.as_bytes())))
}

fn explain(pack: &guard::Pack, id: &str) -> Result<Done, Failure> {
    let Some(page) = guard::explain(pack, id) else {
        let shown = units::printable(id);
        let failure = Failure::because(Kind::Usage, format!("there is no rule `{shown}`"));
        let hint = match pack.nearest(id) {
            Some(likely) => format!("did you mean `{likely}`?"),
            None => "`agp guard rules list` shows every rule".to_owned(),
        };
        return Err(failure.with_hint(hint));
    };
    Ok(Done::Data(Box::new(move |out| {
        out.write_all(page.as_bytes())
    })))
}

fn test(pack: &guard::Pack) -> Result<Done, Failure> {
    let patterns = pack.check_patterns();
    let problems = match patterns {
        Ok(()) => pack.trials(),
        Err(error) => error.problems,
    };
    match problems.is_empty() {
        true => Ok(Done::Told(format!(
            "{} hold",
            units::count(pack.rules.len() as u64, "rule")
        ))),
        false => Err(Failure::because(Kind::Input, problems.join("; "))),
    }
}
