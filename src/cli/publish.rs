//! Where the metrics of a run are left: a file for node_exporter's textfile collector, and a
//! Pushgateway. What cannot be left is a warning and changes no answer.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;

use super::args::Global;
use crate::base::files::{self, FileError};
use crate::base::naming;
use crate::export::{Document, Metrics};
use crate::policy;
use crate::report::{Finding, codes};

/// No file of ours is longer; one that is holds something else.
const TEXTFILE_BYTES_MAX: u64 = 4 << 20;
/// How our files begin, and nobody else's.
const TEXTFILE_START: &[u8] = b"# HELP agp_";
/// How often a turn at the file's directory is asked for, and how long between.
const TURNS: (u32, Duration) = (50, Duration::from_millis(10));
/// How long a gateway may take to be reached, and to answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const PUSH_TIMEOUT: Duration = Duration::from_secs(5);
/// The type of the text, as scrapers and gateways name it.
const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Why metrics were not left.
#[derive(Debug, thiserror::Error)]
enum PublishError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("cannot write `{0}`: it holds something else than metrics of agp")]
    Foreign(String),
    #[error(
        "cannot push to `metrics.pushgateway_url`: it does not begin with `http://` or `https://`"
    )]
    Scheme,
    #[error("cannot push to `metrics.pushgateway_url`")]
    Push(#[source] ureq::Error),
    #[error("cannot push to `metrics.pushgateway_url`: it answered {0}")]
    Refused(u16),
}

/// The file that the policy wants, unless a flag names another one.
pub(super) fn textfile_of_policy<'a>(
    global: &Global,
    wanted: &'a policy::Metrics,
) -> Option<&'a Path> {
    let file = wanted.textfile.as_deref().map(Path::new);
    file.filter(|_| global.metrics_file.is_none())
}

/// Leaves the metrics of a report where they are wanted; tells what could not be left.
pub(super) fn publish(
    global: &Global,
    wanted: &policy::Metrics,
    document: &Document<'_>,
) -> Vec<Finding> {
    let file = global.metrics_file.as_deref();
    let file = file.or(textfile_of_policy(global, wanted));
    let gateway = wanted.pushgateway_url.as_deref();
    if file.is_none() && gateway.is_none() {
        return Vec::new();
    }
    let metrics = Metrics::of(document);
    let written = file.map_or(Ok(()), |file| write(file, metrics.clone()));
    let pushed = gateway.map_or(Ok(()), |url| push(url, &wanted.labels, metrics));
    let failed = [written, pushed].into_iter().filter_map(Result::err);
    let told = failed.map(|error| format!("{:#}", anyhow::Error::new(error)));
    told.map(|text| Finding::new(&codes::METRICS_UNDELIVERED, text))
        .collect()
}

/// Writes the file anew, with what it says of other commands kept.
fn write(path: &Path, metrics: Metrics) -> Result<(), PublishError> {
    let _turn = turn_at(files::parent_of(path));
    let earlier = match files::read_bounded(path, TEXTFILE_BYTES_MAX) {
        Ok(bytes) if bytes.is_empty() || bytes.starts_with(TEXTFILE_START) => bytes,
        Ok(_) => return Err(PublishError::Foreign(naming::shown(path))),
        Err(error) if error.source.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    let metrics = metrics.beside(&String::from_utf8_lossy(&earlier));
    // A temporary file ends in `.agp-new`, which no collector of `*.prom` takes for a finished one.
    let write = |out: &mut dyn io::Write| write!(out, "{metrics}");
    Ok(files::write_atomic(path, 0o644, write)?)
}

/// Keeps another run from reading before we have written and writing afterwards. Without a turn,
/// or where a file system has no locks, the last of two runs at one time is all that is known.
fn turn_at(directory: &Path) -> Option<File> {
    let directory = File::open(directory).ok()?;
    let (times, pause) = TURNS;
    for _ in 0..times {
        if directory.try_lock().is_ok() {
            return Some(directory);
        }
        std::thread::sleep(pause);
    }
    None
}

/// Replaces what a gateway holds of this command. The last success is a group of its own, which a
/// failure leaves as it is.
fn push(
    url: &str,
    labels: &std::collections::BTreeMap<String, String>,
    metrics: Metrics,
) -> Result<(), PublishError> {
    if !["http://", "https://"]
        .iter()
        .any(|scheme| url.starts_with(scheme))
    {
        return Err(PublishError::Scheme);
    }
    let config = ureq::Agent::config_builder()
        .user_agent(concat!("agp/", env!("CARGO_PKG_VERSION")))
        .timeout_connect(Some(CONNECT_TIMEOUT))
        .timeout_global(Some(PUSH_TIMEOUT))
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .proxy(None);
    let agent = ureq::Agent::new_with_config(config.build());
    let job = labels.get("job").map_or("agp", String::as_str);
    let command = metrics.command().to_owned();
    let (run, success) = metrics.parted();
    let group = |job: &str| {
        let added = labels.iter().filter(|(name, _)| *name != "job");
        let added = added.map(|(name, value)| segment(name, value));
        let own = [segment("job", job), segment("command", &command)];
        let path: String = own.into_iter().chain(added).collect();
        format!("{}/metrics{path}", url.trim_end_matches('/'))
    };
    let groups = [
        (job.to_owned(), Some(run)),
        (format!("{job}_success"), success),
    ];
    for (job, metrics) in groups {
        let Some(metrics) = metrics else { continue };
        let request = agent.put(group(&job)).content_type(CONTENT_TYPE);
        let answer = request
            .send(metrics.to_string())
            .map_err(PublishError::Push)?;
        if !answer.status().is_success() {
            return Err(PublishError::Refused(answer.status().as_u16()));
        }
    }
    Ok(())
}

/// A label in the path of a group. A value is encoded, since it may hold a slash or be empty.
fn segment(name: &str, value: &str) -> String {
    let engine = base64::engine::general_purpose::URL_SAFE_NO_PAD;
    match engine.encode(value) {
        // The gateway's word for an empty value.
        empty if empty.is_empty() => format!("/{name}@base64/="),
        value => format!("/{name}@base64/{value}"),
    }
}
