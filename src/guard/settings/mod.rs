//! Configuration violations: assets that are not what the policy wants, settings that open doors,
//! and policies that contradict themselves. Knows no disk.

mod container;
mod json;
mod policy;
mod thresholds;
mod tomls;
mod workflow;
mod yaml;

use std::collections::BTreeSet;

pub use self::policy::contradictions;

use self::json::{Dialect, Problem, ProblemKind};
use self::thresholds::Thresholds;
use super::notes::{Item, Notes, Spot};
use super::wide;
use crate::base::severity::Severity;
use crate::policy::Policy;

const MALFORMED: &str = "asset.malformed";
const NESTING: &str = "asset.nesting";
const DUPLICATE_KEY: &str = "asset.duplicate_key";
const METADATA_MISSING: &str = "quality.metadata";

/// Every check of this module.
#[cfg(test)]
pub(super) const CHECKS: [&[&str]; 5] = [
    &[MALFORMED, NESTING, DUPLICATE_KEY, METADATA_MISSING],
    &thresholds::CHECKS,
    &workflow::CHECKS,
    &container::CHECKS,
    &policy::CHECKS,
];

/// How deep things may lie in each other: most parsers give up, or fall over, not far from there.
const NESTING_MAX: usize = 500;
/// The largest YAML or TOML that is parsed, bytes: it has to be held as a whole.
const WHOLE_BYTES_MAX: usize = 16 << 20;
/// The largest YAML whose settings are looked at, bytes.
const SETTINGS_BYTES_MAX: usize = 1 << 20;
/// What engines of templates replace begins so.
const TEMPLATE_MARKS: [[u8; 2]; 3] = [*b"{{", *b"{%", *b"<%"];
/// Where fields may stand besides the top.
const FIELDS_BELOW: &str = "metadata";

/// A value at a place of a YAML text.
#[derive(Debug)]
struct Leaf {
    /// The document, from 1.
    document: usize,
    /// Keys and indices from the top.
    steps: Vec<String>,
    value: String,
    spot: Spot,
}

/// What the outermost value of a text is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Shape {
    /// Whether it is an object, mapping or table.
    is_object: bool,
    /// The wanted fields that have not been seen.
    missing: BTreeSet<String>,
    is_in_metadata: bool,
}

impl Shape {
    fn wanting(wanted: &[String]) -> Self {
        Self {
            missing: wanted.iter().cloned().collect(),
            ..Self::default()
        }
    }

    /// Sees a key so many objects deep: a field stands at the top, or right below `metadata` there.
    fn see(&mut self, depth: usize, key: &str) {
        if depth == 1 {
            self.is_in_metadata = key == FIELDS_BELOW;
        }
        if depth == 1 || (depth == 2 && self.is_in_metadata) {
            self.missing.remove(key);
        }
    }
}

/// The checks of settings, ready.
#[derive(Debug)]
pub(super) struct Checks<'p> {
    policy: &'p Policy,
    thresholds: Thresholds<'p>,
}

/// How a content is to be parsed.
enum Parser {
    Json(Box<json::Reader>),
    Yaml(Vec<u8>),
    Toml(Vec<u8>),
}

impl<'p> Checks<'p> {
    /// Makes the checks ready.
    pub(super) fn new(policy: &'p Policy) -> Self {
        let thresholds = Thresholds::new(&policy.quality_thresholds);
        Self { policy, thresholds }
    }

    /// What is wrong with a file, from outside.
    pub(super) fn entry(&self, size_bytes: u64, notes: &mut Notes<'_>) {
        self.thresholds.entry(size_bytes, notes);
    }

    /// Begins to look at a content which begins like this, and which is text of that wider
    /// encoding, if it is any.
    pub(super) fn watch(
        &self,
        (head, form): (&[u8], Option<wide::Form>),
        item: &Item<'_>,
    ) -> Watch<'p> {
        let wanted = &self.policy.validation_rules.required_metadata_fields;
        let parser = parser_of(item, wanted);
        Watch {
            wanted,
            is_template: false,
            last: 0,
            is_cut: false,
            thresholds: self.thresholds.watch((head, form), parser.is_some()),
            parser,
        }
    }
}

/// What a name says a text is.
fn parser_of(item: &Item<'_>, wanted: &[String]) -> Option<Parser> {
    let (name, extension) = (item.name(), item.extension());
    let json = |dialect| {
        let wanted = if dialect == Dialect::Lines {
            &[]
        } else {
            wanted
        };
        let reader = json::Reader::new(dialect, Shape::wanting(wanted));
        Some(Parser::Json(Box::new(reader)))
    };
    match &*extension {
        "jsonl" | "ndjson" => json(Dialect::Lines),
        "json5" => json(Dialect::Json5),
        "jsonc" | "code-workspace" => json(Dialect::Comments),
        "json" if has_comments(item, &name) => json(Dialect::Comments),
        "json" | "geojson" | "topojson" | "jsonld" | "webmanifest" | "gltf" | "ipynb" | "har"
        | "avsc" => json(Dialect::Strict),
        "yaml" | "yml" => Some(Parser::Yaml(Vec::new())),
        "toml" => Some(Parser::Toml(Vec::new())),
        _ => None,
    }
}

/// Whether the program that reads a file of this name is known to read comments.
fn has_comments(item: &Item<'_>, name: &str) -> bool {
    const PREFIXES: [&str; 6] = [
        "tsconfig",
        "jsconfig",
        "tslint",
        "devcontainer",
        "api-extractor",
        ".eslintrc",
    ];
    let path = String::from_utf8_lossy(item.path).to_lowercase();
    PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        || path
            .split('/')
            .any(|folder| matches!(folder, ".vscode" | ".devcontainer"))
}

/// A content on its way through.
pub(super) struct Watch<'p> {
    wanted: &'p [String],
    parser: Option<Parser>,
    /// Whether it holds what engines of templates replace.
    is_template: bool,
    /// The last byte that has come.
    last: u8,
    /// Whether there was more than is held.
    is_cut: bool,
    thresholds: Option<thresholds::Watch>,
}

impl Watch<'_> {
    /// Looks at the next bytes: as they are, or as UTF-8 where they are text of a wider encoding.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        if let Some(thresholds) = &mut self.thresholds {
            thresholds.feed(bytes);
        }
        let Some(parser) = &mut self.parser else {
            return;
        };
        let edge = [self.last, bytes.first().copied().unwrap_or_default()];
        self.is_template = self.is_template
            || TEMPLATE_MARKS
                .iter()
                .any(|mark| *mark == edge || memchr::memmem::find(bytes, mark).is_some());
        self.last = bytes.last().copied().unwrap_or(self.last);
        match parser {
            Parser::Json(reader) => reader.feed(bytes),
            Parser::Yaml(whole) | Parser::Toml(whole) => {
                let room = WHOLE_BYTES_MAX - whole.len();
                self.is_cut |= bytes.len() > room;
                whole.extend_from_slice(&bytes[..bytes.len().min(room)]);
            }
        }
    }

    /// Notes what the whole showed.
    pub(super) fn finish(mut self, notes: &mut Notes<'_>) {
        let is_valid = self
            .thresholds
            .take()
            .is_none_or(|thresholds| thresholds.finish(notes));
        match self.parser.take() {
            None => {}
            Some(_) if !is_valid => notes.add(MALFORMED, None, "the text is not UTF-8"),
            Some(Parser::Json(reader)) => {
                let (problem, twice, shape) = reader.finish();
                self.told(notes, problem.as_ref());
                duplicates(notes, &twice);
                if problem.is_none() {
                    self.fields(notes, &[shape]);
                }
            }
            Some(Parser::Yaml(_) | Parser::Toml(_)) if self.is_cut => {}
            Some(Parser::Yaml(whole)) => self.yaml(notes, &String::from_utf8_lossy(&whole)),
            Some(Parser::Toml(whole)) => {
                let text = String::from_utf8_lossy(&whole);
                let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
                let (problem, shape) = tomls::read(text, self.wanted);
                self.told(notes, problem.as_ref());
                if problem.is_none() {
                    self.fields(notes, &[shape]);
                }
            }
        }
    }

    fn yaml(&self, notes: &mut Notes<'_>, text: &str) {
        let read = yaml::read(text, self.wanted, text.len() <= SETTINGS_BYTES_MAX);
        self.told(notes, read.problem.as_ref());
        duplicates(notes, &read.twice);
        if read.problem.is_none() {
            self.fields(notes, &read.shapes);
        }
        workflow::check(&read.leaves, notes);
        container::check(&read.leaves, notes);
    }

    fn told(&self, notes: &mut Notes<'_>, problem: Option<&Problem>) {
        let Some(problem) = problem else {
            return;
        };
        let spot = Some(problem.spot);
        match problem.kind {
            ProblemKind::Nesting => notes.add(NESTING, spot, &*problem.message),
            // A template is parsed when its marks have been replaced.
            ProblemKind::Syntax if !self.is_template => {
                notes.add(MALFORMED, spot, &*problem.message)
            }
            _ => notes.add_as(MALFORMED, Severity::Low, spot, &*problem.message),
        }
    }

    fn fields(&self, notes: &mut Notes<'_>, shapes: &[Shape]) {
        let lacking = shapes
            .iter()
            .find(|shape| shape.is_object && !shape.missing.is_empty());
        if let Some(shape) = lacking {
            let names: Vec<String> = shape
                .missing
                .iter()
                .map(|name| format!("`{name}`"))
                .collect();
            let message = format!("the metadata lacks {}", names.join(", "));
            notes.add(METADATA_MISSING, None, message);
        }
    }
}

fn duplicates(notes: &mut Notes<'_>, twice: &[(Spot, String)]) {
    for (spot, key) in twice {
        let key: String = key.chars().take(64).collect();
        let key = crate::base::units::printable(&key);
        notes.add(
            DUPLICATE_KEY,
            Some(*spot),
            format!("the key `{key}` is there already"),
        );
    }
}

#[cfg(test)]
mod tests;
