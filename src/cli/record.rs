//! What the audit log says of a command: who, when, what, and how it ended.

use std::collections::BTreeSet;
use std::path::Path;
use std::rc::Rc;

use serde_json::{Map, Value, json};

use super::env;
use super::failure::{Failure, Kind};
use super::spine::{Conduct, Done};
use crate::audit::{self, Actor, Ci, Decision, Entry, Log, OpenRequest};
use crate::base::clock::{self, Timestamp};
use crate::policy::Policy;
use crate::report::{self, AuditHead, Finding, Resource, Verdict, codes};
use crate::seal::Secret;
use crate::system;

/// The audit log of one command.
pub(super) struct Recorder {
    log: OpenRequest,
    secret: Option<Rc<Secret>>,
    run_id: String,
    started_at: Timestamp,
    trusts_parts: bool,
}

/// How a command ended.
pub(super) struct Outcome<'a> {
    /// Its exit code.
    pub exit_code: u8,
    /// Its findings; warnings are not recorded.
    pub findings: &'a [Finding],
    /// What it read and wrote.
    pub resources: &'a [Resource],
    /// What it decided beside them.
    pub decisions: &'a [report::Decision],
}

impl Recorder {
    /// The log below a state directory, kept as the policy says. Touches nothing yet.
    pub(super) fn new(state_dir: &Path, policy: &Policy) -> Self {
        let log = OpenRequest {
            directory: state_dir.join("audit"),
            segment_bytes_max: policy.audit.segment_bytes_max,
            segments_kept: policy.audit.segments_kept,
        };
        Self {
            log,
            secret: None,
            run_id: String::new(),
            started_at: Timestamp::from_unix_seconds(0),
            trusts_parts: false,
        }
    }

    /// The same; where parts of others are believed without a key, both records say so.
    pub(super) fn trusting_parts(self, trusts_parts: bool) -> Self {
        Self {
            trusts_parts,
            ..self
        }
    }

    /// The same for one run, with the secret that seals its records, if there is one.
    pub(super) fn sealed_with(
        self,
        secret: Option<Rc<Secret>>,
        run_id: &str,
        started_at: Timestamp,
    ) -> Self {
        Self {
            secret,
            run_id: run_id.to_owned(),
            started_at,
            ..self
        }
    }

    /// Records that the command begins.
    ///
    /// # Errors
    /// What keeps the log from being written.
    pub(super) fn begun(&self, event: &str) -> Result<AuditHead, anyhow::Error> {
        self.append(Entry {
            event: event.to_owned(),
            outcome: audit::Outcome::Unknown,
            exit_code: None,
            started_at: self.started_at,
            ended_at: None,
            actor: actor(),
            resources: Vec::new(),
            policy: Vec::new(),
            details: self.details(),
        })
    }

    /// Records how it ended, with its violations.
    ///
    /// # Errors
    /// What keeps the log from being written.
    pub(super) fn ended(
        &self,
        event: &str,
        outcome: &Outcome<'_>,
    ) -> Result<AuditHead, anyhow::Error> {
        let violations: Vec<Finding> = outcome
            .findings
            .iter()
            .filter(|finding| finding.verdict != Verdict::Pass)
            .cloned()
            .collect();
        let mut details = self.details();
        details.insert("violations".into(), audit::violations(&violations));
        self.append(Entry {
            event: event.to_owned(),
            outcome: match outcome.exit_code {
                0 => audit::Outcome::Success,
                _ => audit::Outcome::Failure,
            },
            exit_code: Some(outcome.exit_code),
            started_at: self.started_at,
            ended_at: Some(clock::now()),
            actor: actor(),
            resources: outcome.resources.to_vec(),
            policy: decisions(&violations, outcome.decisions),
            details,
        })
    }

    fn append(&self, entry: Entry) -> Result<AuditHead, anyhow::Error> {
        let log = Log::open(self.log.clone())?;
        Ok(log.append(&entry, self.secret.as_deref())?)
    }

    fn details(&self) -> Map<String, Value> {
        let mut details = Map::from_iter([("run_id".to_owned(), json!(self.run_id))]);
        if self.trusts_parts {
            details.insert("parts".into(), json!("trusted"));
        }
        details
    }
}

/// The decisions of a command, each once and sorted: what its violations break, by the rule that
/// found them or by their code, and what it decided besides.
fn decisions(violations: &[Finding], decided: &[report::Decision]) -> Vec<Decision> {
    let broken = violations.iter().map(|finding| match &finding.detail {
        Some(detail) => (detail.rule_id.as_str(), "deny"),
        None => (finding.code.id, "deny"),
    });
    let decided = decided.iter().map(|decision| {
        let word = if decision.is_allowed { "allow" } else { "deny" };
        (decision.rule.as_str(), word)
    });
    let all: BTreeSet<(&str, &str)> = broken.chain(decided).collect();
    let all = all.into_iter().map(|(rule, decision)| Decision {
        decision: decision.into(),
        rule: rule.into(),
    });
    all.collect()
}

/// Records that the command begins; gives where the log then stands.
pub(super) fn begin(
    warnings: &mut Vec<Finding>,
    recorder: Option<&Recorder>,
    (conduct, strict): (&Conduct, bool),
) -> Result<Option<AuditHead>, Failure> {
    match recorder.map(|recorder| recorder.begun(conduct.event)) {
        None => Ok(None),
        Some(Ok(head)) => Ok(Some(head)),
        Some(Err(error)) if strict => Err(Failure::new(Kind::Audit, error)),
        Some(Err(error)) => {
            warnings.push(unrecorded(error));
            Ok(None)
        }
    }
}

/// A result whose end could not be recorded: nothing that was found out is lost by it, and what
/// was not handed out yet is kept back.
pub(super) fn unfinished(
    result: Result<Done, Failure>,
    error: anyhow::Error,
) -> Result<Done, Failure> {
    let finding = Finding::new(&codes::AUDIT_UNFINISHED, format!("{error:#}"));
    match result {
        Ok(Done::Report(mut report)) => {
            report.add(vec![finding]);
            Ok(Done::Report(report))
        }
        Ok(Done::Written(mut report)) => {
            report.add(vec![finding]);
            Ok(Done::Written(report))
        }
        Ok(Done::Streamed(..) | Done::Data(_) | Done::Told(_)) => {
            Err(Failure::of(Kind::Audit, finding))
        }
        Err(mut failure) => {
            failure.findings.push(finding);
            Err(failure)
        }
    }
}

pub(super) fn unrecorded(error: anyhow::Error) -> Finding {
    Finding::new(&codes::AUDIT_UNAVAILABLE, format!("{error:#}"))
}

/// Who acts, in one word: the continuous integration's actor, or the user at this host.
pub(super) fn actor_name() -> String {
    let actor = actor();
    let ci = actor.ci.and_then(|ci| ci.actor);
    ci.unwrap_or_else(|| format!("{}@{}", actor.user, actor.host))
}

fn actor() -> Actor {
    let (uid, pid) = system::user_and_process();
    let ci = env::continuous_integration().map(|ci| Ci {
        actor: ci.actor,
        provider: ci.provider.to_owned(),
        r#ref: ci.reference,
        run_id: ci.run_id,
    });
    let user = env::user().unwrap_or_else(|| uid.to_string());
    Actor {
        ci,
        host: system::host_name(),
        pid,
        uid,
        user,
    }
}
