//! A machine that stands still, for tests: its tables in a folder.
#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::fs;

use super::Tables;

/// Tables of these texts, for as long as the folder lives.
pub(super) fn machine(files: &[(&str, &str)]) -> (tempfile::TempDir, Tables) {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let tables = Tables {
        proc: folder.path().join("proc"),
        cgroup: folder.path().join("cgroup"),
    };
    (folder, tables)
}
