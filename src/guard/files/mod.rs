//! Suspicious files: what a name, a mode, a link or the first bytes give away. Knows no disk: it
//! judges facts that others have gathered.

mod archive;
mod danger;
mod key;
mod kind;
mod name;
mod paths;
mod pickle;
mod unseen;

use std::os::unix::ffi::OsStrExt;

pub use archive::{Bomb, Member};

use self::archive::Leads;
use self::danger::Danger;
use self::key::Holds;
use self::kind::{Class, Promise};
use self::paths::PathRules;
use self::unseen::Deceit;
use super::found::{Found, Place};
use super::notes::{Item, Notes, Spot};
use super::rule::Pack;
use crate::base::severity::Severity;
use crate::base::units;
use crate::inventory::Kind;

/// What is known of an entry before anybody looks into it.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Which entry.
    pub item: Item<'a>,
    /// What it is.
    pub kind: Kind,
    /// Permission bits, 0 to 0o7777; 0 where there are none.
    pub mode: u32,
    /// Where it points, if it is a link.
    pub link_target: Option<&'a [u8]>,
    /// The whole content of a file, or at least its first 8 KiB.
    pub content: &'a [u8],
    /// Whether that is the whole.
    pub is_whole: bool,
}

const PRIVATE_KEY: &str = "credential_file.private_key";
const ENVIRONMENT: &str = "credential_file.environment";
const MEMORY_DUMP: &str = "dump.memory";
const DATABASE_DUMP: &str = "dump.database";
const PROGRAM: &str = "disguise.program";
const SCRIPT: &str = "disguise.script";
const ARCHIVE: &str = "disguise.archive";
const DOCUMENT: &str = "disguise.document";
const OTHER_MEDIA: &str = "disguise.other_format";
const UNRECOGNIZED: &str = "disguise.unrecognized";
const APPENDED: &str = "disguise.appended";
const PICKLE_RUNS: &str = "pickle.runs_code";
const PICKLE_REACHES: &str = "pickle.reaches_out";
const PICKLE_UNBOUNDED: &str = "pickle.unbounded";
const SETUID: &str = "permission.setuid";
const SETGID: &str = "permission.setgid";
const WORLD_WRITABLE: &str = "permission.world_writable";
const SPECIAL: &str = "file_type.special";
const LINK_OUTSIDE: &str = "link.outside";
const BIDI: &str = "trojan_source.bidi";
const HIDDEN_TEXT: &str = "trojan_source.hidden_text";
const INVISIBLE: &str = "trojan_source.invisible";
const HOMOGLYPH: &str = "trojan_source.homoglyph";

/// Every check of this module.
#[cfg(test)]
pub(super) const CHECKS: [&str; 32] = [
    PRIVATE_KEY,
    ENVIRONMENT,
    MEMORY_DUMP,
    DATABASE_DUMP,
    PROGRAM,
    SCRIPT,
    ARCHIVE,
    DOCUMENT,
    OTHER_MEDIA,
    UNRECOGNIZED,
    APPENDED,
    PICKLE_RUNS,
    PICKLE_REACHES,
    PICKLE_UNBOUNDED,
    SETUID,
    SETGID,
    WORLD_WRITABLE,
    SPECIAL,
    LINK_OUTSIDE,
    BIDI,
    HIDDEN_TEXT,
    INVISIBLE,
    HOMOGLYPH,
    name::BIDI,
    name::INVISIBLE,
    name::CONTROL,
    name::MIXED_SCRIPT,
    name::NOT_UTF8,
    name::DOUBLE_EXTENSION,
    archive::OUTSIDE,
    archive::LINK_OUTSIDE,
    archive::BOMB,
];

/// The checks of files, ready.
#[derive(Debug)]
pub struct Checks<'p> {
    pack: &'p Pack,
    paths: PathRules,
}

impl<'p> Checks<'p> {
    /// Makes the checks ready.
    pub fn new(pack: &'p Pack) -> Self {
        Self {
            pack,
            paths: PathRules::new(pack),
        }
    }

    /// What is wrong with an entry of a tree.
    pub fn entry(&self, facts: &Facts<'_>) -> Vec<Found> {
        let mut notes = Notes::new(self.pack, facts.item);
        name::check(&mut notes);
        match facts.kind {
            Kind::File => {
                mode(&mut notes, facts.mode);
                self.content(&mut notes, (facts.content, facts.is_whole));
            }
            Kind::Directory => mode_of_directory(&mut notes, facts.mode),
            Kind::Symlink => link(&mut notes, facts.link_target.unwrap_or_default()),
            Kind::Special(_) => {
                let message = format!("a {} lies among the files", facts.kind.name());
                notes.add(SPECIAL, None, message);
            }
        }
        notes.into_found()
    }

    /// What is wrong with a member of an archive.
    pub fn member(&self, member: &Member<'_>) -> Vec<Found> {
        let mut notes = Notes::new(self.pack, member.item);
        archive::check(&mut notes, member);
        name::check(&mut notes);
        self.content(&mut notes, (member.content, member.is_whole));
        notes.into_found()
    }

    /// That an archive unpacks to more than anybody wants.
    pub fn bomb(&self, item: &Item<'_>, bomb: &Bomb) -> Vec<Found> {
        let mut notes = Notes::new(self.pack, *item);
        notes.add(archive::BOMB, None, bomb.message());
        notes.into_found()
    }

    /// What deceives in a text, by line and column. Texts that are no programs may turn the
    /// direction of writing, and mix alphabets, as their languages do.
    pub fn text(&self, item: &Item<'_>, text: &str) -> Vec<Found> {
        let mut notes = Notes::new(self.pack, *item);
        if !text.is_ascii() {
            trojan_source(&mut notes, text);
        }
        notes.into_found()
    }

    fn content(&self, notes: &mut Notes<'_>, (content, is_whole): (&[u8], bool)) {
        self.credentials(notes, content);
        let format = kind::of(content);
        match format.map(|format| (format.class, format.name)) {
            Some((Class::Dump, name @ "a PostgreSQL dump")) => {
                notes.add(DATABASE_DUMP, None, format!("the file is {name}"));
            }
            Some((Class::Dump, name)) => {
                notes.add(MEMORY_DUMP, None, format!("the file is {name}"));
            }
            _ if is_written_dump(content) => {
                let message = "the file is a dump of a data base, in SQL";
                notes.add_as(DATABASE_DUMP, Severity::Medium, None, message);
            }
            _ => disguise(notes, (content, format)),
        }
        if is_whole {
            appended(notes, (content, format));
        }
        look_into_pickle(notes, content);
    }

    /// Stores of credentials, by name and by what is in them.
    fn credentials(&self, notes: &mut Notes<'_>, content: &[u8]) {
        let item = *notes.item();
        let holds = key::of(content);
        if holds == Holds::Nothing {
            return;
        }
        let path = item.path.to_ascii_lowercase();
        let path = std::path::Path::new(std::ffi::OsStr::from_bytes(&path));
        let mut known = false;
        for rule in self.paths.of(self.pack, path) {
            known = true;
            let place = Place {
                shown: item.shown,
                member: item.member,
                ..Place::default()
            };
            let found = Found::by_rule(rule, &place, rule.title.clone());
            notes.push(found);
        }
        let (name, extension) = (item.name(), item.extension());
        let may_hold_key = ["pem", "key", "asc", "p8", "crt", "cer", "der"].contains(&&*extension);
        match holds {
            Holds::PrivateKey if may_hold_key && !known => {
                notes.add(PRIVATE_KEY, None, "the file holds a private key");
            }
            Holds::Unknown if extension == "pem" && !known => {
                let message = "the file is named as keys are, and holds no certificate";
                notes.add_as(PRIVATE_KEY, Severity::Medium, None, message);
            }
            _ if is_environment(&name) => {
                let (severity, message) = match key::names_a_credential(content) {
                    true => (Severity::High, "a file of variables sets credentials"),
                    false => (Severity::Medium, "a file of variables lies among the files"),
                };
                notes.add_as(ENVIRONMENT, severity, None, message);
            }
            _ => {}
        }
    }
}

/// Whether a name is that of a file of variables, and not of an example of one.
fn is_environment(name: &str) -> bool {
    const EXAMPLES: [&str; 9] = [
        "example", "sample", "template", "tpl", "dist", "defaults", "default", "schema", "examples",
    ];
    let is_one = name == ".env" || name.starts_with(".env.") || name.ends_with(".env");
    is_one
        && !name
            .split(['.', '-', '_'])
            .any(|part| EXAMPLES.contains(&part))
}

/// Whether a text begins as the tools of a data base write one.
fn is_written_dump(content: &[u8]) -> bool {
    let head = &content[..content.len().min(512)];
    let begins: [&[u8]; 4] = [
        b"-- MySQL dump ",
        b"-- MariaDB dump ",
        b"-- PostgreSQL database dump",
        b"-- phpMyAdmin SQL Dump",
    ];
    begins
        .iter()
        .any(|begin| memchr::memmem::find(head, begin).is_some())
}

fn mode(notes: &mut Notes<'_>, mode: u32) {
    if mode & 0o4000 != 0 {
        notes.add(
            SETUID,
            None,
            format!("mode {mode:04o}: whoever runs it becomes its owner"),
        );
    }
    if mode & 0o2000 != 0 && mode & 0o010 != 0 {
        notes.add(
            SETGID,
            None,
            format!("mode {mode:04o}: whoever runs it joins its group"),
        );
    }
    if mode & 0o002 != 0 {
        notes.add(
            WORLD_WRITABLE,
            None,
            format!("mode {mode:04o}: everybody may change it"),
        );
    }
}

fn mode_of_directory(notes: &mut Notes<'_>, mode: u32) {
    if mode & 0o1002 == 0o002 {
        let message = format!("mode {mode:04o}: everybody may add, remove and exchange files");
        notes.add(WORLD_WRITABLE, None, message);
    }
}

fn link(notes: &mut Notes<'_>, target: &[u8]) {
    // Nothing is where services are switched off with.
    if target != b"/dev/null" && archive::leads(notes.item().path, target) != Leads::Inside {
        let target = units::printable(&String::from_utf8_lossy(target)).into_owned();
        let message = format!("the link points to `{target}`, out of the tree");
        notes.add(LINK_OUTSIDE, None, message);
    }
}

/// Notes a content that is not what the name promises.
fn disguise(notes: &mut Notes<'_>, (content, format): (&[u8], Option<&kind::Format>)) {
    let Some(promise) = kind::promised(notes.item()) else {
        return;
    };
    if content.is_empty() || content.starts_with(b"version https://git-lfs.github.com/spec/") {
        return;
    }
    let extension = notes.item().extension();
    let Some(format) = format else {
        let unlike = match promise {
            Promise::Formats(_) => Some("the content does not begin as such files do"),
            Promise::Loosely(_) => None,
            Promise::Text => (!kind::is_text(content)).then_some("the content is not text"),
        };
        if let Some(unlike) = unlike {
            notes.add(
                UNRECOGNIZED,
                None,
                format!("named `.{extension}`, but {unlike}"),
            );
        }
        return;
    };
    let message = format!("named `.{extension}`, but the content is {}", format.name);
    let (check, severity) = match (promise, format.class) {
        (Promise::Formats(names) | Promise::Loosely(names), _) if names.contains(&format.name) => {
            return;
        }
        (_, Class::Program) => (PROGRAM, Severity::Critical),
        // Texts are often written to be run as well.
        (Promise::Text, Class::Script) => (SCRIPT, Severity::Low),
        (_, Class::Script) => (SCRIPT, Severity::High),
        (_, Class::Archive) => (ARCHIVE, Severity::High),
        (_, Class::Document) => (DOCUMENT, Severity::High),
        (Promise::Text, Class::Media) if kind::is_text(content) => return,
        (_, Class::Media) => (OTHER_MEDIA, Severity::Medium),
        (_, Class::Dump) => return,
    };
    notes.add_as(check, severity, None, message);
}

/// Notes a zip archive that hides behind a picture or sound: programs that unpack look for its end.
fn appended(notes: &mut Notes<'_>, (content, format): (&[u8], Option<&kind::Format>)) {
    let is_media = format.is_some_and(|format| format.class == Class::Media);
    if is_media && archive::ends_as_zip(content) {
        notes.add(APPENDED, None, "a zip archive is appended to the content");
    }
}

fn look_into_pickle(notes: &mut Notes<'_>, content: &[u8]) {
    const EXTENSIONS: [&str; 5] = ["pkl", "pickle", "pck", "pcl", "dill"];
    let extension = notes.item().extension();
    let is_named_so = EXTENSIONS.contains(&&*extension);
    let Some(pickle) = pickle::read(
        archive::array_of_objects(content).unwrap_or(content),
        is_named_so,
    ) else {
        return;
    };
    let of_danger = |wanted| {
        let imports = pickle.imports.iter();
        let bad = imports.filter(|(module, name)| danger::of(module, name) == Some(wanted));
        let names = bad
            .map(|(module, name)| format!("`{}`", units::printable(&format!("{module}.{name}"))));
        names.take(5).collect::<Vec<_>>().join(", ")
    };
    for (danger, check) in [
        (Danger::Runs, PICKLE_RUNS),
        (Danger::Reaches, PICKLE_REACHES),
    ] {
        let names = of_danger(danger);
        if !names.is_empty() {
            notes.add(
                check,
                None,
                format!("loading this pickle calls upon {names}"),
            );
        }
    }
    if pickle.end == pickle::End::TooMuch {
        let message = "the pickle wants more room than is given, and was not followed to its end";
        notes.add(PICKLE_UNBOUNDED, None, message);
    }
}

/// How many lines of a file are told of; who has more knows enough.
const LINES_TOLD_MAX: usize = 20;

/// Extensions of programs' texts.
const CODE: [&str; 62] = [
    "adb", "ads", "asm", "awk", "bash", "bat", "c", "cc", "clj", "cmake", "cmd", "cpp", "cs", "cu",
    "cxx", "dart", "erl", "ex", "exs", "f90", "fs", "gd", "glsl", "go", "gradle", "groovy", "h",
    "hh", "hlsl", "hpp", "hs", "java", "jl", "js", "jsx", "kt", "kts", "lua", "m", "mjs", "cjs",
    "ml", "nim", "php", "pl", "pm", "ps1", "py", "pyi", "r", "rb", "rs", "s", "scala", "sh", "sol",
    "sql", "swift", "tf", "ts", "tsx", "zig",
];

fn trojan_source(notes: &mut Notes<'_>, text: &str) {
    let extension = notes.item().extension();
    let is_code = CODE.contains(&&*extension) || text.starts_with("#!");
    let mut told = 0;
    for (number, line) in text.split('\n').enumerate() {
        if line.is_ascii() {
            continue;
        }
        for (deceit, column) in unseen::deceits(line) {
            let (check, severity, message) = match (deceit, is_code) {
                (Deceit::TurnsAround, true) => (
                    BIDI,
                    Severity::High,
                    "what is shown here is not what runs: the direction of writing is turned",
                ),
                (Deceit::TurnsAround, false) if line.contains(['\u{202d}', '\u{202e}']) => (
                    BIDI,
                    Severity::Medium,
                    "the direction of writing is overridden",
                ),
                (Deceit::Embeds, true) => (
                    BIDI,
                    Severity::Low,
                    "the direction of writing is turned and turned back",
                ),
                (Deceit::HiddenText, _) => (
                    HIDDEN_TEXT,
                    Severity::High,
                    "a run of characters that nobody sees",
                ),
                (Deceit::Filler, true) => (
                    INVISIBLE,
                    Severity::High,
                    "a name holds a letter that nobody sees",
                ),
                (Deceit::ZeroWidth, true) => (
                    INVISIBLE,
                    Severity::Medium,
                    "a character without width beside a name",
                ),
                (Deceit::Homoglyph, true) => (
                    HOMOGLYPH,
                    Severity::Medium,
                    "a word mixes Latin letters with others that look like them",
                ),
                _ => continue,
            };
            let line = number as u64 + 1;
            notes.add_as(check, severity, Some(Spot { line, column }), message);
            told += 1;
        }
        if told >= LINES_TOLD_MAX {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
