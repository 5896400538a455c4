//! One way to run the binary: a temporary directory, a fixed key, an empty environment.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A secret of 32 bytes, assembled at run time so that no scanner takes it for a real one.
pub fn secret() -> String {
    format!("hex:{}", "0123456789abcdef".repeat(4))
}

/// The binary under test.
pub const AGP: &str = env!("CARGO_BIN_EXE_agp");

/// A place to work in, with the binary at hand. Removed when dropped.
pub struct Place {
    folder: tempfile::TempDir,
    variables: Vec<(String, String)>,
}

/// What a run gave.
#[derive(Debug)]
pub struct Ran {
    /// The exit code; 128 + signal where a signal ended it.
    pub code: i32,
    /// What it wrote on stdout.
    pub stdout: String,
    /// What it wrote on stderr.
    pub stderr: String,
}

impl Place {
    /// A new place whose runs have the fixed key in their environment.
    pub fn new() -> Self {
        let mut place = Self::without_key();
        place.set("POCKETMON_SIGN_SECRET", &secret());
        place
    }

    /// A new place whose runs have an empty environment.
    pub fn without_key() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            variables: Vec::new(),
        }
    }

    /// Sets a variable for the runs to come.
    pub fn set(&mut self, name: &str, value: &str) {
        self.variables.retain(|(known, _)| known != name);
        self.variables.push((name.into(), value.into()));
    }

    /// The working directory.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A path below it.
    pub fn at(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path().join(name)
    }

    /// Writes a file below it, with the directories on the way.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.at(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    }

    /// Reads a file below it.
    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.at(name)).unwrap()
    }

    /// Sets a mode.
    pub fn chmod(&self, name: &str, mode: u32) {
        std::fs::set_permissions(self.at(name), std::fs::Permissions::from_mode(mode)).unwrap();
    }

    /// A small tree `tree/` with files, a link and nested directories, signed with the fixed key.
    pub fn signed_tree(&self) {
        self.write("tree/a.json", "{\"a\": 1}\n");
        self.write("tree/sub/b.txt", "bee\n");
        self.write("tree/sub/deep/c.bin", [0, 1, 2, 255]);
        self.write("tree/empty", "");
        std::os::unix::fs::symlink("sub/b.txt", self.at("tree/link")).unwrap();
        let ran = self.run(["sign", "--input-dir", "tree"]);
        assert_eq!(ran.code, 0, "{ran:?}");
    }

    /// The command, ready for more than [`Place::run`] offers.
    pub fn command<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(AGP);
        command
            .args(arguments)
            .current_dir(self.path())
            .env_clear()
            .stdin(Stdio::null());
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// The same as a user whom permissions bind, also where the tests run as root.
    pub fn command_bound<S: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = S>,
    ) -> Command {
        let command = self.command(arguments);
        if !rustix::process::geteuid().is_root() {
            return command;
        }
        // The binary may lie where only root may look, so nobody gets a copy.
        let copy = self.at("agp-copy");
        if !copy.exists() {
            std::fs::copy(AGP, &copy).unwrap();
            self.chmod("", 0o777);
        }
        let mut lesser = Command::new(copy);
        lesser
            .args(command.get_args())
            .current_dir(self.path())
            .env_clear()
            .stdin(Stdio::null())
            .uid(65534)
            .gid(65534);
        lesser.envs(self.variables.iter().map(|(name, value)| (name, value)));
        lesser
    }

    /// Runs to the end.
    pub fn run<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Ran {
        Ran::of(&self.command(arguments).output().unwrap())
    }

    /// Runs `verify` on `tree/` with `--json`, and gives exit code and report.
    pub fn verify(&self) -> (i32, serde_json::Value) {
        let ran = self.run([
            "verify",
            "--manifest",
            "tree/integrity_manifest.json",
            "--json",
        ]);
        (ran.code, ran.json())
    }
}

impl Ran {
    /// From the standard library's form.
    pub fn of(output: &std::process::Output) -> Self {
        use std::os::unix::process::ExitStatusExt;
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("output is UTF-8");
        let signal = || 128 + output.status.signal().unwrap_or(0);
        Self {
            code: output.status.code().unwrap_or_else(signal),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }

    /// stdout as exactly one JSON document.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// The finding codes of a report, sorted, each once.
pub fn codes(report: &serde_json::Value) -> Vec<String> {
    let findings = report["findings"].as_array().expect("findings");
    let mut codes: Vec<String> = findings
        .iter()
        .map(|finding| finding["code"].as_str().expect("code").to_owned())
        .collect();
    codes.sort();
    codes.dedup();
    codes
}

/// Says that a test was skipped, or fails where CI must have what is missing.
pub fn skip(test: &str, missing: &str) {
    assert!(
        std::env::var_os("CI").is_none(),
        "{test}: {missing} is missing, and CI installs it"
    );
    eprintln!("skipped: {test}: {missing} is missing");
}
