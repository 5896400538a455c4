//! What a file's name alone gives away: characters that deceive, and extensions that do.

use super::super::notes::Notes;
use super::unseen::{self, Unseen};
use crate::base::severity::Severity;

pub(super) const BIDI: &str = "file_name.bidi";
pub(super) const INVISIBLE: &str = "file_name.invisible";
pub(super) const CONTROL: &str = "file_name.control";
pub(super) const MIXED_SCRIPT: &str = "file_name.mixed_script";
pub(super) const NOT_UTF8: &str = "file_name.not_utf8";
pub(super) const DOUBLE_EXTENSION: &str = "file_name.double_extension";

/// What Windows runs when one clicks it.
const RUNS: [&str; 18] = [
    "bat", "cmd", "com", "cpl", "exe", "hta", "jse", "lnk", "msi", "pif", "ps1", "scf", "scr",
    "url", "vbe", "vbs", "wsf", "wsh",
];
/// What one clicks without a thought.
const DECOYS: [&str; 40] = [
    "avi", "bmp", "csv", "doc", "docx", "flac", "gif", "gz", "heic", "htm", "html", "jpeg", "jpg",
    "json", "m4a", "md", "mkv", "mov", "mp3", "mp4", "odt", "ogg", "pdf", "png", "ppt", "pptx",
    "rar", "rtf", "svg", "tif", "tiff", "txt", "wav", "webm", "webp", "xls", "xlsx", "xml", "yaml",
    "zip",
];
/// Spaces that push what follows out of a window.
const SPACES: &str = "    ";

/// Looks at the last component of the item's path; those before it have had their turn.
pub(super) fn check(notes: &mut Notes<'_>) {
    let path = notes.item().path;
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
    let Ok(name) = std::str::from_utf8(name) else {
        notes.add(NOT_UTF8, None, "the name is not UTF-8");
        return;
    };
    if name.is_ascii() {
        // The common case needs no more than this.
        if name.bytes().any(|byte| byte.is_ascii_control()) {
            notes.add(CONTROL, None, "the name has a control character");
        }
    } else {
        characters(notes, name);
    }
    extensions(notes, &name.to_lowercase());
}

fn characters(notes: &mut Notes<'_>, name: &str) {
    let seen = |wanted: fn(Unseen) -> bool| {
        name.chars()
            .find(|character| unseen::of(*character).is_some_and(wanted))
    };
    let turns = |kind| matches!(kind, Unseen::Override | Unseen::Embedding | Unseen::Isolate);
    let hides = |kind| matches!(kind, Unseen::ZeroWidth | Unseen::Filler | Unseen::Tag);
    if let Some(character) = seen(turns) {
        let what = code_point(character);
        notes.add(
            BIDI,
            None,
            format!("the name has {what}, which turns the direction of writing"),
        );
    }
    let joined = unseen::deceits(name);
    let hidden = joined
        .iter()
        .any(|(deceit, _)| *deceit == unseen::Deceit::ZeroWidth);
    // A flag of emoji is made of tags.
    let hidden_by = seen(hides).filter(|_| !name.contains('\u{1f3f4}'));
    if let Some(character) = hidden_by {
        let what = code_point(character);
        notes.add(
            INVISIBLE,
            None,
            format!("the name has {what}, which nobody sees"),
        );
    } else if hidden {
        notes.add(
            INVISIBLE,
            None,
            "the name has a character between its letters that nobody sees",
        );
    }
    if name.chars().any(char::is_control) {
        notes.add(CONTROL, None, "the name has a control character");
    }
    if unseen::homoglyph(name).is_some() {
        let message = "the name mixes Latin letters with others that look like them";
        notes.add(MIXED_SCRIPT, None, message);
    }
}

fn code_point(character: char) -> String {
    format!("U+{:04X}", u32::from(character))
}

fn extensions(notes: &mut Notes<'_>, name: &str) {
    let Some((stem, last)) = name.rsplit_once('.') else {
        return;
    };
    if !RUNS.contains(&last.trim_end()) {
        return;
    }
    let decoy = stem.rsplit_once('.').map(|(_, decoy)| decoy.trim_end());
    if let Some(decoy) = decoy.filter(|decoy| DECOYS.contains(decoy)) {
        let message = format!("the name ends in `.{decoy}.{last}`, which runs as a program");
        notes.add(DOUBLE_EXTENSION, None, message);
    } else if stem.contains(SPACES) {
        let message = format!("spaces push the extension `.{last}` out of sight");
        notes.add_as(DOUBLE_EXTENSION, Severity::High, None, message);
    }
}
