//! Paths as the baseline has them: relative to its own folder, so that the same file has the same
//! path from wherever, and however, the guard was called. Opens nothing.

use std::io;
use std::path::{Component, Path, PathBuf};

/// The working directory and the folder that paths are relative to.
#[derive(Clone, Debug)]
pub(super) struct Places {
    here: PathBuf,
    base: PathBuf,
}

impl Places {
    /// Paths relative to the folder of a baseline, or to the working directory where there is none.
    ///
    /// # Errors
    /// A working directory that is gone.
    pub(super) fn new(baseline: Option<&Path>) -> io::Result<Self> {
        let here = std::env::current_dir()?;
        let folder = baseline.and_then(Path::parent).unwrap_or(Path::new(""));
        let base = tidied(&here.join(folder));
        Ok(Self { here, base })
    }

    /// The path of what was shown as that.
    pub(super) fn relative(&self, shown: &str) -> String {
        let path = tidied(&self.here.join(shown));
        let shared = self.base.components().zip(path.components());
        let shared = shared.take_while(|(a, b)| a == b).count();
        let up = self
            .base
            .components()
            .skip(shared)
            .map(|_| Component::ParentDir);
        let relative: PathBuf = up.chain(path.components().skip(shared)).collect();
        match relative.to_string_lossy().into_owned() {
            relative if relative.is_empty() => ".".to_owned(),
            relative => relative,
        }
    }

    /// Whether a path of the baseline is a target, or lies in it.
    pub(super) fn is_within(&self, relative: &str, target: &Path) -> bool {
        let path = tidied(&self.base.join(relative));
        path.starts_with(tidied(&self.here.join(target)))
    }
}

/// Without `.`, and without `..` where a name stands before it. Links are not followed: what is
/// typed alike is alike.
fn tidied(path: &Path) -> PathBuf {
    let mut tidy = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                tidy.pop();
            }
            other => tidy.push(other),
        }
    }
    tidy
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(base: &str) -> Places {
        let here = PathBuf::from("/repo");
        let base = tidied(&here.join(base));
        Places { here, base }
    }

    #[test]
    fn the_same_file_has_the_same_path_however_it_was_typed() {
        for (base, shown, expected) in [
            ("", "assets/a", "assets/a"),
            ("", "./assets/../assets/a", "assets/a"),
            ("", "/repo/assets/a", "assets/a"),
            ("", "/other/a", "../other/a"),
            ("", ".", "."),
            ("config", "assets/a", "../assets/a"),
            ("config", "config/a", "a"),
            ("/repo/sub", "a", "../a"),
            ("/", "a", "repo/a"),
        ] {
            assert_eq!(places(base).relative(shown), expected, "{base} {shown}");
        }
    }

    #[test]
    fn what_lies_in_a_target_is_told_from_what_does_not() {
        for (base, relative, target, expected) in [
            ("", "assets/a", "assets", true),
            ("", "assets/a", ".", true),
            ("", "assets/a", "assets/a", true),
            ("", "assets2/a", "assets", false),
            ("", "../a", ".", false),
            ("config", "../assets/a", "./assets", true),
            ("config", "a", "/repo", true),
        ] {
            let is_within = places(base).is_within(relative, Path::new(target));
            assert_eq!(is_within, expected, "{base} {relative} {target}");
        }
    }
}
