//! Paths as people type them. Knows what lies in what; opens nothing.

use std::path::Path;

use super::files;
use super::relpath::RelPath;

/// The path of a file below a root, by what both really are; `None` where it lies elsewhere.
pub fn path_within(root: &Path, file: &Path) -> Option<RelPath> {
    use std::os::unix::ffi::OsStrExt;
    let directory = files::parent_of(file).canonicalize().ok()?;
    let path = directory.join(file.file_name()?);
    let below = path
        .strip_prefix(root.canonicalize().ok()?)
        .ok()?
        .to_owned();
    RelPath::parse(below.as_os_str().as_bytes()).ok()
}

/// A path as one would type it, without a leading `./`.
pub fn shown(path: &Path) -> String {
    let path = path.strip_prefix(".").unwrap_or(path);
    match path.to_string_lossy().into_owned() {
        shown if shown.is_empty() => ".".to_owned(),
        shown => shown,
    }
}

/// An entry's path as one would type it.
pub fn below(root: &str, path: &RelPath) -> String {
    match root {
        "." => path.to_string(),
        "/" => format!("/{path}"),
        _ => format!("{root}/{path}"),
    }
}
