//! The room that a confined stage has: where it may write, and what is made so that it can.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use crate::base::files::{self, FileError};
use crate::base::naming;
use crate::cli::env;
use crate::process::{self, Confine};

/// Where temporary files go when nobody says.
const TEMPORARY: &str = "/tmp";
/// Before the number of the process that a place for temporary files belongs to.
const PREFIX: &str = "temporary-";

/// Places that are there as long as this is.
#[derive(Debug)]
pub(super) struct Room {
    within: PathBuf,
    writable: Vec<PathBuf>,
    /// Directories that were made for it, the upper ones first.
    made: Vec<PathBuf>,
    /// A place of its own for temporary files, where the usual one leads to the working directory.
    temporary: Option<PathBuf>,
}

impl Room {
    /// Makes the places in a working directory that a stage may write in.
    ///
    /// # Errors
    /// A directory that cannot be made.
    pub(super) fn prepare(
        (directory, places): (&Path, &[PathBuf]),
        state_dir: &Path,
    ) -> Result<Self, FileError> {
        let mut room = Self {
            within: directory.to_owned(),
            writable: places.to_vec(),
            made: Vec::new(),
            temporary: None,
        };
        for place in places {
            let above = place.ancestors().take_while(|above| !above.exists());
            let mut missing: Vec<&Path> = above.collect();
            missing.reverse();
            for folder in missing {
                fs::create_dir(folder).map_err(FileError::at("create", folder))?;
                room.made.push(folder.to_owned());
            }
        }
        let usual = env::lookup("TMPDIR").map_or_else(|| TEMPORARY.into(), PathBuf::from);
        if usual
            .canonicalize()
            .is_ok_and(|usual| directory.starts_with(usual))
        {
            let name = format!("{PREFIX}{}", std::process::id());
            files::create_private_directory(state_dir)?;
            clear(state_dir);
            let folder = state_dir.join(name);
            files::create_private_directory(&folder)?;
            let folder = folder
                .canonicalize()
                .map_err(FileError::at("find", &folder))?;
            room.writable.push(folder.clone());
            room.temporary = Some(folder);
        }
        Ok(room)
    }

    /// Where it may write, seen from the working directory.
    pub(super) fn shown(&self, directory: &Path) -> Vec<String> {
        let below = |place: &PathBuf| {
            let place = place.strip_prefix(directory).unwrap_or(place);
            naming::shown(place)
        };
        self.writable.iter().map(below).collect()
    }

    /// What the stage is put into.
    pub(super) fn confine(&self) -> Confine<'_> {
        Confine {
            within: &self.within,
            writable: &self.writable,
        }
    }

    /// What the stage is told of its place for temporary files.
    pub(super) fn variables(&self) -> Vec<(OsString, OsString)> {
        let temporary = self.temporary.as_ref();
        temporary
            .map(|folder| ("TMPDIR".into(), folder.clone().into()))
            .into_iter()
            .collect()
    }
}

/// Removes what runs left behind that were killed.
fn clear(state_dir: &Path) {
    for entry in fs::read_dir(state_dir).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        let owner: Option<u32> = owner.and_then(|number| number.parse().ok());
        if owner.is_some_and(|owner| !process::is_alive(owner)) {
            // What stays is in nobody's way.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        // What the stage has put something into stays.
        for folder in self.made.iter().rev() {
            let _ = fs::remove_dir(folder);
        }
        if let Some(folder) = &self.temporary {
            let _ = fs::remove_dir_all(folder);
        }
    }
}
