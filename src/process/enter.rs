//! Becoming another program inside an enclosure: how a command gets into a control group, and out of
//! places where it may not write, before its first instruction, without code between fork and exec.

use std::ffi::OsString;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::confine::Confine;

/// What a command is put into before it begins.
#[derive(Clone, Copy, Debug, Default)]
pub struct Enclosure<'a> {
    /// A control group of version 2.
    pub group: Option<&'a Path>,
    /// Where it may write; `None`: wherever its user may.
    pub confine: Option<Confine<'a>>,
}

/// Enters what is wanted and becomes the command; comes back only where one of them was not possible,
/// and says whether we are in the group.
pub fn enter(enclosure: &Enclosure<'_>, argv: &[OsString]) -> (bool, io::Error) {
    // 0 is whoever writes it.
    let join = |group: &Path| std::fs::write(group.join("cgroup.procs"), "0");
    if let Some(Err(error)) = enclosure.group.map(join) {
        return (false, error);
    }
    if let Some(Err(error)) = enclosure.confine.map(|confine| confine.apply()) {
        return (true, error);
    }
    match argv.split_first() {
        Some((program, arguments)) => (true, Command::new(program).args(arguments).exec()),
        None => (true, io::ErrorKind::InvalidInput.into()),
    }
}

/// The file that a command's name means: itself where it holds a slash, else the first executable
/// file of that name in the folders of `path`.
///
/// # Errors
/// None, or none that may be executed.
pub fn find_program(name: &OsString, path: Option<&OsString>) -> io::Result<PathBuf> {
    use std::os::unix::ffi::OsStrExt;
    let is_program = |file: &Path| {
        let meta = file.metadata();
        meta.is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    };
    if name.as_bytes().contains(&b'/') {
        let file = PathBuf::from(name);
        return match file.metadata()? {
            _ if is_program(&file) => Ok(file),
            _ => Err(rustix::io::Errno::ACCESS.into()),
        };
    }
    let folders = path.into_iter().flat_map(std::env::split_paths);
    let mut files = folders.map(|folder| folder.join(name));
    let found = files.find(|file| is_program(file));
    found.ok_or_else(|| rustix::io::Errno::NOENT.into())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use super::*;

    #[test]
    fn finds_what_a_name_means() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tool");
        std::fs::write(&file, "#!/bin/sh\n").unwrap();
        let path = OsString::from(format!("/nowhere:{}", folder.path().display()));
        let find = |name: &str| find_program(&name.into(), Some(&path));
        assert_eq!(find("tool").unwrap_err().kind(), io::ErrorKind::NotFound);
        let named = file.to_str().unwrap();
        assert_eq!(
            find(named).unwrap_err().kind(),
            io::ErrorKind::PermissionDenied
        );
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(find("tool").unwrap(), file);
        assert_eq!(find(named).unwrap(), file);
        assert_eq!(
            find("/none/such").unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
        assert!(find_program(&"tool".into(), None).is_err());
    }

    #[test]
    fn stays_itself_where_there_is_no_group_or_no_program() {
        let folder = tempfile::tempdir().unwrap();
        let within = |group: &Path, argv: &[OsString]| {
            let group = Some(group);
            enter(
                &Enclosure {
                    group,
                    ..Enclosure::default()
                },
                argv,
            )
        };
        let (entered, _) = within(&folder.path().join("none"), &["true".into()]);
        assert!(!entered);
        let (entered, error) = within(folder.path(), &["/none/such".into()]);
        assert!(entered);
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(within(folder.path(), &[]).0);
    }
}
