//! Alerts as the shell sees them: what a run was about, and what became of its alerts as findings.
//!
//! Nothing here changes an answer, unless the policy or `--require-notify` asks for that.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::args::{Cli, Command};
use super::failure::{Failure, Kind};
use super::rollback::Action;
use super::spine::{Conduct, Done};
use super::{env, keys};
use crate::alert::{self, Facts, News, Surroundings};
use crate::base::clock;
use crate::base::naming::shown;
use crate::base::units;
use crate::inventory::Progress;
use crate::policy::{Alerts, Loaded, Source};
use crate::report::{Finding, Report, Verdict, codes};
use crate::system;

/// What tells of one run, where its policy has anybody who is to hear of it.
pub(super) struct Notifier {
    alerts: Alerts,
    is_required: bool,
    surroundings: Surroundings,
    spool: Option<PathBuf>,
    command: String,
    target: String,
    progress: Arc<Progress>,
}

/// What is to be told of a run, beside what the notifier knows.
pub(super) struct Telling<'a> {
    /// The run.
    pub(super) run_id: &'a str,
    /// Its report.
    pub(super) report: &'a Report,
    /// Its exit code.
    pub(super) exit_code: u8,
}

impl Notifier {
    /// Who tells of this command; `None` where no route leads anywhere.
    pub(super) fn new(
        cli: &Cli,
        (loaded, conduct, state_dir): (&Loaded, &Conduct, &Path),
        progress: &Arc<Progress>,
    ) -> Option<Self> {
        let alerts = &loaded.policy.alerts;
        if !alert::is_used(alerts) {
            return None;
        }
        // Not even an alert may change a tree that is to be proven unchanged.
        let is_in_the_way = match &cli.command {
            Command::Verify(verify) => verify.disturbed_by(state_dir).is_some(),
            Command::Sign(sign) => sign.signs(state_dir),
            _ => false,
        };
        // Of these a run of one action says nothing of the others.
        let command = match &cli.command {
            Command::Rollback(_) | Command::Audit(_) => conduct.event.replace('.', " "),
            _ => conduct.name.to_owned(),
        };
        Some(Self {
            alerts: alerts.clone(),
            is_required: alerts.require_notify || cli.global.require_notify,
            surroundings: surroundings(loaded),
            spool: (!is_in_the_way).then(|| state_dir.join("spool")),
            command,
            target: target(&cli.command),
            progress: Arc::clone(progress),
        })
    }

    /// Tells of a run, and sends what earlier runs left; `None` for a run without a report. Gives what is
    /// to be said of that.
    pub(super) fn tell(&self, telling: Option<&Telling<'_>>) -> Vec<Finding> {
        let repository = env::repository().unwrap_or_default();
        let host = system::host_name();
        let now = clock::now();
        let facts = telling.map(|telling| Facts {
            run_id: telling.run_id,
            occurred_at: now,
            command: &self.command,
            target: &self.target,
            repository: &repository,
            host: &host,
            verdict: telling.report.verdict.word(),
            exit_code: telling.exit_code,
            headline: &telling.report.headline,
            findings: &telling.report.findings,
            is_complete: alert::is_complete(telling.report.verdict, &telling.report.findings),
            is_test: false,
        });
        let request = alert::Request {
            alerts: &self.alerts,
            lookup: &env::lookup,
            surroundings: &self.surroundings,
            spool: self.spool.as_deref(),
            now,
            interrupted: &self.progress.interrupted,
        };
        let news = alert::tell(&request, facts.as_ref());
        let mut findings: Vec<Finding> = news.iter().flat_map(|news| self.findings(news)).collect();
        findings.sort();
        findings.dedup();
        findings
    }

    fn findings(&self, news: &News) -> Vec<Finding> {
        let required = |is_own: bool, text: &str| {
            let is_required = is_own && self.is_required;
            is_required.then(|| Finding::new(&codes::ALERT_REQUIRED, text))
        };
        match news {
            News::Delivered { .. } => Vec::new(),
            News::Kept {
                channel,
                count,
                is_own,
                why,
            } => {
                let alerts = units::count(*count as u64, "alert");
                let text = format!(
                    "channel `{channel}` has not got {alerts}, kept for the next run: {why}"
                );
                let required = required(*is_own, &text);
                vec![required.unwrap_or_else(|| Finding::new(&codes::ALERT_UNDELIVERED, text))]
            }
            News::Lost {
                channel,
                count,
                is_own,
                why,
            } => {
                let alerts = units::count(*count as u64, "alert");
                let text = format!("channel `{channel}` will never get {alerts}: {why}");
                let required = required(*is_own, &text);
                let lost = Finding::new(&codes::ALERT_LOST, text);
                required.into_iter().chain([lost]).collect()
            }
            News::Unconfigured { channel, why } => {
                let text = format!("channel `{channel}` cannot be used: {why}");
                vec![Finding::new(&codes::ALERT_UNCONFIGURED, text)]
            }
            News::Spool(text) => vec![Finding::new(&codes::ALERT_SPOOL, text.clone())],
        }
    }
}

/// What a command is about, the same from run to run: what is looked at in part has another name than the
/// whole.
fn target(command: &Command) -> String {
    let list = |paths: &[PathBuf]| {
        let names: Vec<String> = paths.iter().map(|path| shown(path)).collect();
        names.join(" ")
    };
    match command {
        Command::Sign(sign) => match sign.input_dir.is_empty() {
            true => list(sign.manifest.as_slice()),
            false => list(&sign.input_dir),
        },
        Command::Verify(verify) => match &verify.all {
            Some(directory) => format!("all of {}", shown(directory)),
            None => list(&verify.manifest),
        },
        Command::Guard(guard) => {
            let asks = !guard.operation.is_empty() || !guard.operations_log.is_empty();
            let place = match guard.target.is_empty() {
                true if asks => "operations".to_owned(),
                true => ".".to_owned(),
                false => list(&guard.target),
            };
            match (guard.staged, &guard.since, guard.history) {
                (true, ..) => format!("{place} (staged)"),
                (_, Some(_), _) => format!("{place} (changes)"),
                (.., true) => format!("{place} (history)"),
                _ => place,
            }
        }
        Command::Rollback(rollback) => match &rollback.action {
            None => list(&rollback.target_dirs),
            Some(Action::Snapshot(snapshot)) => list(&snapshot.target_dirs),
            Some(Action::Run(run)) => list(&run.target_dirs),
            Some(Action::Restore(restore)) => list(&restore.target),
            Some(Action::Execute(execute)) => shown(&execute.playbook),
            Some(_) => String::new(),
        },
        Command::Profile(profile) => {
            let key = profile.measure.key.clone().unwrap_or_default();
            of_stages(key, &profile.measure.stage)
        }
        Command::Run(run) => of_stages(list(&run.target_dirs), &run.stage),
        Command::Budget(budget) => list(&budget.target),
        Command::Audit(_) | Command::Tool(_) => String::new(),
    }
}

/// What is about some stages only, named so.
fn of_stages(target: String, stages: &[String]) -> String {
    match stages.is_empty() {
        true => target,
        false => format!("{target} (stages {})", stages.join(" "))
            .trim_start()
            .to_owned(),
    }
}

fn surroundings(loaded: &Loaded) -> Surroundings {
    Surroundings {
        certificates: env::certificates(),
        hidden: keys::hidden_variables(&loaded.policy),
    }
}

/// `agp tool notify-test`: sends a message that says it is a test to every channel, and says what became of
/// each.
///
/// # Errors
/// A policy that has no channel, or none that may count.
pub(super) fn test(loaded: &Loaded) -> Result<Done, Failure> {
    let alerts = &loaded.policy.alerts;
    if alerts.channels.is_empty() {
        let text = format!("`{}` has no channel for alerts", loaded.source);
        let failure = Failure::because(Kind::Policy, text);
        return Err(match loaded.source {
            Source::Named(_) => failure.with_hint("list channels under `alerts.channels`"),
            Source::Found(_) | Source::BuiltIn => {
                failure.with_hint("name the policy with `--config`: alerts of others do not count")
            }
        });
    }
    let mut id = [0; 16];
    // Without randomness the identifier is merely not unique.
    let _ = getrandom::fill(&mut id);
    let (run_id, repository) = (hex::encode(id), env::repository().unwrap_or_default());
    let (host, now) = (system::host_name(), clock::now());
    let facts = Facts {
        run_id: &run_id,
        occurred_at: now,
        command: "tool notify-test",
        target: "",
        repository: &repository,
        host: &host,
        verdict: Verdict::Pass.word(),
        exit_code: 0,
        headline: "somebody tries whether alerts arrive",
        findings: &[],
        is_complete: false,
        is_test: true,
    };
    let request = alert::Request {
        alerts,
        lookup: &env::lookup,
        surroundings: &surroundings(loaded),
        spool: None,
        now,
        interrupted: &AtomicBool::new(false),
    };
    Ok(Done::Report(tried(&alert::test(&request, &facts))))
}

/// The report of a test: a channel that does not answer is a no, one that cannot be tried is unknown.
fn tried(channels: &[(String, Vec<News>)]) -> Report {
    let mut findings = Vec::new();
    let mut text = String::new();
    for (channel, news) in channels {
        for one in news {
            let (code, verdict, why) = match one {
                News::Delivered { .. } => {
                    text.push_str(&format!("  {channel}: delivered\n"));
                    continue;
                }
                News::Unconfigured { why, .. } => (&codes::ALERT_UNCONFIGURED, Verdict::Error, why),
                News::Kept { why, .. } | News::Lost { why, .. } | News::Spool(why) => {
                    (&codes::ALERT_UNDELIVERED, Verdict::Fail, why)
                }
            };
            let mut finding = Finding::new(code, format!("channel `{channel}`: {why}"));
            finding.verdict = verdict;
            finding.hint = None;
            findings.push(finding);
        }
    }
    let all = channels.len() as u64;
    let failed = findings.len() as u64;
    let headline = match failed {
        0 => format!("the test has arrived on {}", units::count(all, "channel")),
        _ => format!(
            "the test has not arrived on {failed} of {}",
            units::count(all, "channel")
        ),
    };
    Report::new("tool", headline, findings).with_text(text)
}
