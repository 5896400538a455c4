//! Suspicious files: what a name, a mode, a link or the first bytes give away. Knows no disk: it
//! judges facts that others have gathered.

mod archive;
mod danger;
mod hidden;
mod key;
mod kind;
mod lines;
mod link;
mod name;
mod paths;
mod pickle;
mod unseen;

use std::os::unix::ffi::OsStrExt;
use std::sync::LazyLock;

use memchr::memmem::Finder;

pub(super) use self::archive::{Bomb, Member};
pub(super) use self::kind::reads_as_text;

use self::danger::Danger;
use self::hidden::Tail;
use self::key::Holds;
use self::kind::{Class, Promise};
use self::lines::Lines;
use self::link::leads_out;
use self::paths::PathRules;
use super::found::{Found, Place};
use super::notes::Notes;
use super::rule::Pack;
use crate::base::severity::Severity;
use crate::base::units;
use crate::inventory::Kind;

/// What is known of an entry before anybody looks into it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts<'a> {
    /// What it is.
    pub(super) kind: Kind,
    /// Permission bits, 0 to 0o7777; 0 where there are none.
    pub(super) mode: u32,
    /// Bytes of a file; 0 for anything else.
    pub(super) size_bytes: u64,
    /// Where it points, if it is a link.
    pub(super) link_target: Option<&'a [u8]>,
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
pub(super) struct Checks<'p> {
    pack: &'p Pack,
    paths: PathRules,
}

impl<'p> Checks<'p> {
    /// Makes the checks ready.
    pub(super) fn new(pack: &'p Pack) -> Self {
        Self {
            pack,
            paths: PathRules::new(pack),
        }
    }

    /// What is wrong with an entry of a tree, from outside.
    pub(super) fn entry(&self, facts: &Facts<'_>, notes: &mut Notes<'_>) {
        name::check(notes);
        match facts.kind {
            Kind::File => mode(notes, facts.mode),
            Kind::Directory => mode_of_directory(notes, facts.mode),
            Kind::Symlink => link(notes, facts.link_target.unwrap_or_default()),
            Kind::Special(_) => {
                let message = format!("a {} lies among the files", facts.kind.name());
                notes.add(SPECIAL, None, message);
            }
        }
    }

    /// What is wrong with a member of an archive, from outside.
    pub(super) fn member(&self, member: &Member<'_>, notes: &mut Notes<'_>) {
        archive::check(notes, member);
        name::check(notes);
    }

    /// Begins to look at a content which begins like this, and whether it is text of a wider
    /// encoding.
    pub(super) fn watch(&self, (head, is_wide): (&[u8], bool), notes: &mut Notes<'_>) -> Watch {
        let format = kind::of(head);
        let is_text = is_wide || kind::is_text(head);
        match format.map(|format| format.class) {
            // A program may bear the name of what it works on.
            Some(Class::Program | Class::Script | Class::Media | Class::Document) => {}
            _ => self.credentials(notes, head),
        }
        match format.map(|format| (format.class, format.name)) {
            Some((Class::Dump, name @ "a PostgreSQL dump")) => {
                notes.add(DATABASE_DUMP, None, format!("the file is {name}"));
            }
            Some((Class::Dump, name)) => {
                notes.add(MEMORY_DUMP, None, format!("the file is {name}"));
            }
            _ if is_written_dump(head) => {
                let message = "the file is a dump of a data base, in SQL";
                notes.add_as(DATABASE_DUMP, Severity::Medium, None, message);
            }
            _ => disguise(notes, (head, format), is_text),
        }
        const PICKLES: [&str; 5] = ["pkl", "pickle", "pck", "pcl", "dill"];
        let extension = notes.item().extension();
        let is_media = format.is_some_and(|format| format.class == Class::Media);
        let pickle = pickle::Reader::new(head, PICKLES.contains(&&*extension));
        let may_deceive = is_text && pickle.is_none();
        Watch {
            pickle,
            lines: may_deceive.then(|| Lines::new(head, &extension)),
            tail: is_media.then(Tail::default),
        }
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
        b"MySQL dump ",
        b"MariaDB dump ",
        b"PostgreSQL database dump",
        b"phpMyAdmin SQL Dump",
    ];
    static COMMENT: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new("-- "));
    COMMENT
        .find_iter(head)
        .any(|at| begins.iter().any(|begin| head[at + 3..].starts_with(begin)))
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
    if target != b"/dev/null" && leads_out(notes.item().path, target) {
        let target = units::printable(&String::from_utf8_lossy(target)).into_owned();
        let message = format!("the link points to `{target}`, out of the tree");
        notes.add(LINK_OUTSIDE, None, message);
    }
}

/// Notes a content that is not what the name promises.
fn disguise(
    notes: &mut Notes<'_>,
    (content, format): (&[u8], Option<&kind::Format>),
    is_text: bool,
) {
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
            Promise::Text => (!is_text).then_some("the content is not text"),
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
        (Promise::Text, Class::Media) if is_text => return,
        (_, Class::Media) => (OTHER_MEDIA, Severity::Medium),
        (_, Class::Dump) => return,
    };
    notes.add_as(check, severity, None, message);
}

/// A content on its way through, its first bytes included.
pub(super) struct Watch {
    pickle: Option<pickle::Reader>,
    lines: Option<Lines>,
    tail: Option<Tail>,
}

impl Watch {
    /// Looks at the next bytes: as they are, or as UTF-8 where they are text of a wider encoding.
    pub(super) fn feed(&mut self, bytes: &[u8], notes: &mut Notes<'_>) {
        if let Some(pickle) = &mut self.pickle {
            pickle.feed(bytes);
        }
        if let Some(lines) = &mut self.lines {
            lines.feed(bytes, notes);
        }
        if let Some(tail) = &mut self.tail {
            tail.feed(bytes);
        }
    }

    /// Notes what the whole showed.
    pub(super) fn finish(self, notes: &mut Notes<'_>) {
        if let Some(lines) = self.lines {
            lines.finish(notes);
        }
        if self.tail.is_some_and(|tail| tail.ends_as_zip()) {
            notes.add(APPENDED, None, "a zip archive is appended to the content");
        }
        if let Some(pickle) = self.pickle {
            of_pickle(notes, pickle);
        }
    }
}

fn of_pickle(notes: &mut Notes<'_>, pickle: pickle::Reader) {
    let (imports, end) = pickle.finish();
    for (danger, check) in [
        (Danger::Runs, PICKLE_RUNS),
        (Danger::Reaches, PICKLE_REACHES),
    ] {
        let bad = imports.iter().filter(|(_, found)| **found == danger);
        let names = bad.map(|((module, name), _)| {
            format!("`{}`", units::printable(&format!("{module}.{name}")))
        });
        let names: Vec<_> = names.take(5).collect();
        if !names.is_empty() {
            let names = names.join(", ");
            notes.add(
                check,
                None,
                format!("loading this pickle calls upon {names}"),
            );
        }
    }
    if end == pickle::End::TooMuch {
        let message = "the pickle wants more room than is given, and was not followed to its end";
        notes.add(PICKLE_UNBOUNDED, None, message);
    }
}

#[cfg(test)]
mod tests;
