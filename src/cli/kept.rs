//! The baseline's file: found, read, and written where something is to be written.

use std::io;
use std::path::{Path, PathBuf};

use super::failure::{Failure, Kind};
use crate::base::files;
use crate::base::naming::shown;
use crate::guard::{Baseline, BaselineError, Evaluation};
use crate::report::{Finding, codes};

/// The largest baseline that is read, bytes.
const BYTES_MAX: u64 = 256 << 20;

/// Which baseline is wanted.
pub(super) struct Wanted<'a> {
    /// The flag's.
    pub(super) flag: Option<&'a Path>,
    /// The policy's, which counts where there is no flag.
    pub(super) policy: Option<&'a str>,
    /// Whether it is to be written, so that it need not be there.
    pub(super) is_written: bool,
}

/// A baseline and the file that it is kept in.
pub(super) struct Kept {
    /// The file.
    pub(super) path: PathBuf,
    /// What it says.
    pub(super) baseline: Baseline,
    /// The text as it stands; `None` where there is no file yet.
    text: Option<String>,
}

impl Kept {
    /// Reads the baseline that is wanted; `None` where none is.
    ///
    /// # Errors
    /// None to write, a file that cannot be read, or that is no baseline.
    pub(super) fn load(wanted: &Wanted<'_>) -> Result<Option<Self>, Failure> {
        let Some(path) = wanted.flag.or(wanted.policy.map(Path::new)) else {
            return match wanted.is_written {
                true => Err(none_named()),
                false => Ok(None),
            };
        };
        let path = path.to_owned();
        let bytes = match files::read_bounded(&path, BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(error) if wanted.is_written && error.source.kind() == io::ErrorKind::NotFound => {
                let (baseline, text) = (Baseline::default(), None);
                return Ok(Some(Self {
                    path,
                    baseline,
                    text,
                }));
            }
            Err(error) => {
                let hint = "take it for the first time with `--update-baseline`";
                return Err(Failure::new(Kind::Input, error).with_hint(hint));
            }
        };
        let text = String::from_utf8(bytes).map_err(|_| {
            let finding = Finding::new(&codes::COMMAND_INPUT, "the baseline is not UTF-8");
            Failure::of(Kind::Input, finding.at(shown(&path)))
        })?;
        let baseline = Baseline::parse(&text).map_err(|error| failure(&path, &error))?;
        let text = Some(text);
        Ok(Some(Self {
            path,
            baseline,
            text,
        }))
    }

    /// Writes what the evaluation made of it, if that is to be written and says something else; the
    /// word for what was done to the file.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub(super) fn write(&self, evaluation: &Evaluation) -> Result<&'static str, Failure> {
        match &evaluation.baseline {
            Some(text) if self.text.as_ref() != Some(text) => {
                files::write_atomic(&self.path, 0o644, |out| out.write_all(text.as_bytes()))
                    .map_err(|error| Failure::new(Kind::Output, error))?;
                Ok("write")
            }
            _ => Ok("read"),
        }
    }
}

fn none_named() -> Failure {
    let failure = Failure::because(Kind::Usage, "`--update-baseline` has no baseline to write");
    failure.with_hint("name it with `--baseline FILE`, or in `policy_guard.baseline` of the policy")
}

/// The failure of a baseline that cannot be used.
pub(super) fn failure(path: &Path, error: &BaselineError) -> Failure {
    let message = format!("cannot use the baseline: {error}");
    let mut finding = Finding::new(&codes::COMMAND_INPUT, message).at(shown(path));
    if let BaselineError::Line { line, .. } | BaselineError::TwoSalts { line, .. } = error {
        finding = finding.on_line(*line);
    }
    Failure::of(Kind::Input, finding.with_hint(error.hint()))
}
