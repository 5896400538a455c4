//! Fetches signing secrets from where flags, policy and environment say they are.
//!
//! One flag; else the keyring's active key; else the environment. There is no default secret.

use std::ffi::OsString;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use zeroize::Zeroizing;

use super::args::KeyArgs;
use super::env;
use crate::base::files;
use crate::base::units;
use crate::policy::{self, KeySource, KeyStatus, Policy};
use crate::process::{self, Query};
use crate::seal::{Key, KeyError, KeyId, Keyring, Secret, Status};

/// The most bytes a key source may give.
const SECRET_BYTES_MAX: u64 = 64 << 10;
/// How long a key command may take.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(10);

/// The keys that a command may use.
///
/// # Errors
/// A flag or the environment that gives no usable secret. Keys of the keyring are fetched when
/// they are needed.
pub(super) fn keyring(flags: &KeyArgs, policy: &Policy) -> Result<Keyring, KeyError> {
    let bytes_min = usize::try_from(policy.integrity.secret_bytes_min).unwrap_or(usize::MAX);
    let hidden = hidden_variables(policy);
    let mut keys = Vec::new();
    // Statuses of the policy come first: a revoked key stays revoked, whoever hands it over.
    let revoked = |key: &&policy::Key| key.status == KeyStatus::Revoked;
    keys.extend(
        policy
            .integrity
            .keys
            .iter()
            .filter(revoked)
            .filter_map(|key| listed(key, (bytes_min, &hidden))),
    );
    if let Some(source) = flag_source(flags)? {
        let origin = source.in_words();
        keys.push(Key::at_hand(fetch(&source, (bytes_min, &hidden))?, origin));
        return Ok(Keyring::new(keys));
    }
    let others = policy.integrity.keys.iter().filter(|key| !revoked(key));
    keys.extend(others.filter_map(|key| listed(key, (bytes_min, &hidden))));
    if env::lookup(env::SIGN_SECRET.name).is_some_and(|value| !value.is_empty()) {
        let source = Source::Environment(env::SIGN_SECRET.name.to_owned());
        let origin = source.in_words();
        keys.push(Key::at_hand(fetch(&source, (bytes_min, &hidden))?, origin));
    }
    Ok(Keyring::new(keys))
}

/// The key that seals parts: the file's, else the environment's; `None` where there is none.
///
/// # Errors
/// A source that gives no usable secret.
pub(super) fn part_key(file: Option<&Path>, policy: &Policy) -> Result<Option<Secret>, KeyError> {
    let of_environment = || {
        let is_set = env::lookup(env::PART_KEY.name).is_some_and(|value| !value.is_empty());
        is_set.then(|| Source::Environment(env::PART_KEY.name.to_owned()))
    };
    let source = file.map(|path| Source::File(path.to_owned()));
    let Some(source) = source.or_else(of_environment) else {
        return Ok(None);
    };
    let bytes_min = usize::try_from(policy.integrity.secret_bytes_min).unwrap_or(usize::MAX);
    fetch(&source, (bytes_min, &hidden_variables(policy))).map(Some)
}

/// Every variable that holds or points to a secret: no child gets to see them.
pub(super) fn hidden_variables(policy: &Policy) -> Vec<OsString> {
    let own = [&env::SIGN_SECRET, &env::PART_KEY];
    let mut names: Vec<OsString> = own.map(|own| own.name.into()).into();
    for key in &policy.integrity.keys {
        if let KeySource::Environment(name) = &key.source {
            names.push(name.into());
        }
    }
    names.extend(
        policy
            .policy_guard
            .fingerprint_salt_env
            .iter()
            .map(OsString::from),
    );
    for channel in policy.alerts.channels.values() {
        let named = [
            &channel.url_env,
            &channel.secret_env,
            &channel.username_env,
            &channel.password_env,
        ];
        names.extend(
            named
                .into_iter()
                .filter(|name| !name.is_empty())
                .map(OsString::from),
        );
    }
    names
}

/// A place that a secret comes from.
#[derive(Clone, Debug)]
enum Source {
    Environment(String),
    File(std::path::PathBuf),
    Command(Vec<String>),
    Stdin,
}

impl Source {
    /// The place for people; never what it holds, and of a command only the program.
    fn in_words(&self) -> String {
        match self {
            Self::Environment(name) => format!("the environment variable `{name}`"),
            Self::File(path) => format!("the file `{}`", units::printable(&path.to_string_lossy())),
            Self::Command(argv) => {
                format!(
                    "the command `{}`",
                    units::printable(argv.first().map_or("", String::as_str))
                )
            }
            Self::Stdin => "stdin".to_owned(),
        }
    }
}

fn flag_source(flags: &KeyArgs) -> Result<Option<Source>, KeyError> {
    if let Some(path) = &flags.key_file {
        return Ok(Some(Source::File(path.clone())));
    }
    if let Some(text) = &flags.key_command {
        let argv = shlex::split(text)
            .filter(|argv| !argv.is_empty())
            .ok_or_else(|| KeyError::Fetch {
                origin: "`--key-command`".into(),
                source: "its words cannot be told apart: is a quote left open?".into(),
            })?;
        return Ok(Some(Source::Command(argv)));
    }
    Ok(flags.key_stdin.then_some(Source::Stdin))
}

fn listed(key: &policy::Key, (bytes_min, hidden): (usize, &[OsString])) -> Option<Key> {
    // The loader has checked the identifier's form.
    let id = KeyId::parse(&key.key_id).ok()?;
    let status = match key.status {
        KeyStatus::Active => Status::Active,
        KeyStatus::VerifyOnly => Status::VerifyOnly,
        KeyStatus::Revoked => Status::Revoked,
    };
    let source = match &key.source {
        KeySource::Environment(name) => Source::Environment(name.clone()),
        KeySource::File(path) => Source::File(path.clone()),
        KeySource::Command(argv) => Source::Command(argv.clone()),
    };
    let origin = source.in_words();
    let hidden = hidden.to_vec();
    let fetch = Box::new(move || fetch(&source, (bytes_min, &hidden)));
    let mut listed = Key::listed(id, status, origin, fetch);
    listed.not_before = key.not_before;
    listed.not_after = key.not_after;
    Some(listed)
}

fn fetch(source: &Source, (bytes_min, hidden): (usize, &[OsString])) -> Result<Secret, KeyError> {
    let origin = source.in_words();
    let bytes = read(source, hidden).map_err(|error| KeyError::Fetch {
        origin: origin.clone(),
        source: error,
    })?;
    let secret = Secret::decode(&bytes, bytes_min);
    // From here on a secret is in our memory.
    process::forbid_dumps();
    secret.map_err(|error| KeyError::Refused {
        origin,
        source: error,
    })
}

type Cause = Box<dyn std::error::Error + Send + Sync>;

fn read(source: &Source, hidden: &[OsString]) -> Result<Zeroizing<Vec<u8>>, Cause> {
    match source {
        Source::Environment(name) => {
            let value = env::lookup(name).ok_or("it is not set")?;
            Ok(Zeroizing::new(value.as_bytes().to_vec()))
        }
        Source::File(path) => read_file(path),
        Source::Command(argv) => {
            let asked = Query {
                argv,
                hidden,
                timeout: COMMAND_TIMEOUT,
                bytes_max: SECRET_BYTES_MAX,
            };
            process::query(&asked)
                .map_err(|error| format!("{:#}", anyhow::Error::new(error)).into())
        }
        Source::Stdin => bounded(&mut std::io::stdin().lock()),
    }
}

/// Reads a key file. A link to it is followed, as mounted secrets are links; its own mode counts.
fn read_file(path: &Path) -> Result<Zeroizing<Vec<u8>>, Cause> {
    let mut file = files::open_regular(path).map_err(|error| error.source)?;
    let mode = file.metadata()?.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(format!(
            "its mode is {mode:04o}, so others may read it; run `chmod 600` on it"
        )
        .into());
    }
    bounded(&mut file)
}

fn bounded(reader: &mut impl Read) -> Result<Zeroizing<Vec<u8>>, Cause> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(4096));
    reader.take(SECRET_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > SECRET_BYTES_MAX {
        true => Err(format!("it gives more than {}", units::bytes(SECRET_BYTES_MAX)).into()),
        false => Ok(bytes),
    }
}
