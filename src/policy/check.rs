//! A policy's text against the schema of the types: every problem at once, each with its place.
//!
//! Knows JSON Schema as far as our own schema uses it. Must never repeat in a message a text
//! that might be a secret at the wrong key: only closed word lists quote what they found.

use std::collections::{HashMap, HashSet};
use std::sync::OnceLock;

use globset::Glob;
use regex::Regex;
use serde_json::Value;

use super::describe;
use super::place::{Kind, Member, Node, Place, Problem, SyntaxProblem};
use super::raw::{Policy, RESERVED_LABELS};
use crate::base::clock::Timestamp;
use crate::base::units::printable;

/// The most problems that are told of one file; who has more has the wrong file.
const PROBLEMS_MAX: usize = 100;
/// The most regular expressions in a file. Each is compiled to be checked, which takes
/// milliseconds, and nobody may be kept waiting by a file that merely lies there.
const REGEXES_MAX: usize = 1000;
/// The longest text from a file that a message repeats, characters.
const QUOTED_CHARS_MAX: usize = 64;
/// How alike two names have to be for one to be a slip of the other (Jaro-Winkler, 0 to 1).
const LIKENESS_MIN: f64 = 0.85;

/// Reads and checks the text of a policy file.
///
/// # Errors
/// All problems, in the order of the text; at least one.
pub(super) fn read(text: &str) -> Result<Policy, Vec<Problem>> {
    let root = Node::read(text).map_err(|problem| vec![locate_syntax(problem, text)])?;
    let mut checker = Checker::default();
    checker.node(&root, schema());
    checker.relations(&root);
    let found = checker.problems;
    if found.is_empty() {
        // The schema is made from the types, so this cannot fail; if it does, it says where.
        return serde_json::from_str(text).map_err(|error| {
            vec![Problem {
                pointer: String::new(),
                line: error.line() as u64,
                column: error.column() as u64,
                message: printable(&error.to_string()).into_owned(),
                hint: None,
            }]
        });
    }
    let mut problems: Vec<_> = found.into_iter().map(|found| found.locate(text)).collect();
    problems.sort_by_key(|problem| (problem.line, problem.column));
    Err(problems)
}

/// The schema, made once and only when a file is read.
fn schema() -> &'static Value {
    static SCHEMA: OnceLock<Value> = OnceLock::new();
    SCHEMA.get_or_init(describe::schema)
}

fn locate_syntax(problem: SyntaxProblem, text: &str) -> Problem {
    let hint = match text {
        _ if text.trim().is_empty() => Some("the smallest policy is `{}`"),
        _ if text.starts_with('\u{feff}') => Some("save it as UTF-8 without a byte order mark"),
        _ => None,
    };
    let Place { line, column } = Place::of(problem.offset, text);
    Problem {
        pointer: String::new(),
        line,
        column,
        message: match text {
            _ if text.trim().is_empty() => "the file is empty".into(),
            _ if text.starts_with('\u{feff}') => "the file starts with a byte order mark".into(),
            _ => problem.message,
        },
        hint: hint.map(String::from),
    }
}

/// A problem before its line is known.
struct Found {
    offset: usize,
    pointer: String,
    message: String,
    hint: Option<String>,
}

impl Found {
    fn locate(self, text: &str) -> Problem {
        let Place { line, column } = Place::of(self.offset, text);
        Problem {
            pointer: self.pointer,
            line,
            column,
            message: self.message,
            hint: self.hint,
        }
    }
}

/// Walks over a tree beside its schema and notes what does not fit.
#[derive(Default)]
struct Checker {
    /// Where the walk is.
    pointer: String,
    problems: Vec<Found>,
    patterns: HashMap<&'static str, Option<Regex>>,
    /// How many regular expressions were met.
    regexes: usize,
}

impl Checker {
    /// Whether no further problem is told, so that looking for more is a waste.
    fn is_full(&self) -> bool {
        self.problems.len() >= PROBLEMS_MAX
    }

    fn note(&mut self, offset: usize, message: String, hint: Option<String>) {
        if !self.is_full() {
            self.problems.push(Found {
                offset,
                pointer: printable(&self.pointer).into_owned(),
                message,
                hint,
            });
        }
    }

    /// Does something one step further down.
    fn below(&mut self, step: &str, act: impl FnOnce(&mut Self)) {
        let length = self.pointer.len();
        self.pointer.push('/');
        self.pointer
            .push_str(&step.replace('~', "~0").replace('/', "~1"));
        act(self);
        self.pointer.truncate(length);
    }

    fn node(&mut self, node: &Node<'_>, schema: &'static Value) {
        if !self.fits(node, schema) {
            let expected = describe::expectation(schema);
            let found = in_words(node, schema);
            let words = describe::words(schema);
            let hint = node.text().and_then(|text| nearest(text, &words));
            self.note(
                node.start,
                format!("expected {expected}, found {found}"),
                hint,
            );
            return;
        }
        match &node.kind {
            Kind::Text(text) => {
                let format = schema["format"].as_str();
                self.regexes += usize::from(format == Some("regex"));
                let refused = match self.regexes.saturating_sub(REGEXES_MAX) {
                    0 => refusal(text, format),
                    1 if format == Some("regex") => {
                        Some(format!("more than {REGEXES_MAX} regular expressions"))
                    }
                    _ => None,
                };
                if let Some(message) = refused {
                    self.note(node.start, message, None);
                }
            }
            Kind::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    if self.is_full() {
                        return;
                    }
                    self.below(&index.to_string(), |checker| {
                        checker.node(item, &schema["items"]);
                    });
                }
            }
            Kind::Object(members) => self.members(node.start, members, schema),
            Kind::Null | Kind::Bool(_) | Kind::Number(_) => {}
        }
    }

    fn members(&mut self, start: usize, members: &[Member<'_>], schema: &'static Value) {
        let mut seen = HashSet::new();
        for Member { start, key, value } in members {
            if self.is_full() {
                return;
            }
            if !seen.insert(key) {
                self.note(*start, format!("duplicate key `{}`", quoted(key)), None);
            }
            let own = &schema["properties"][&**key];
            let others = &schema["additionalProperties"];
            if own.is_object() {
                self.below(key, |checker| checker.node(value, own));
            } else if others.is_object() {
                self.name(*start, key, &schema["propertyNames"]);
                self.below(key, |checker| checker.node(value, others));
            } else {
                let known = describe::keys(schema);
                let hint = nearest(key, &known).or_else(|| Some(listing(&known)));
                self.note(*start, format!("unknown key `{}`", quoted(key)), hint);
            }
        }
        for required in schema["required"].as_array().into_iter().flatten() {
            let required = required.as_str().unwrap_or_default();
            if !members.iter().any(|member| member.key == required) {
                self.note(start, format!("missing key `{required}`"), None);
            }
        }
    }

    /// Checks the name of a member that the file may choose.
    fn name(&mut self, offset: usize, name: &str, schema: &'static Value) {
        if name.is_empty() || name.contains('\0') || !self.matches(name, schema) {
            let expected = match schema.is_object() {
                true => describe::expectation(schema),
                false => "a name".into(),
            };
            let message = format!("expected {expected}, found `{}`", quoted(name));
            self.note(offset, message, None);
        }
    }

    fn matches(&mut self, text: &str, schema: &'static Value) -> bool {
        let Some(pattern) = schema["pattern"].as_str() else {
            return true;
        };
        let compiled = self.patterns.entry(pattern);
        let compiled = compiled.or_insert_with(|| Regex::new(pattern).ok());
        compiled.as_ref().is_some_and(|regex| regex.is_match(text))
    }

    /// Whether the node is of a type, and in the range, that the schema allows; not what is in it.
    fn fits(&mut self, node: &Node<'_>, schema: &'static Value) -> bool {
        let allows = |name| describe::types(schema).any(|allowed| allowed == name);
        match &node.kind {
            Kind::Null => allows("null"),
            Kind::Bool(_) => allows("boolean"),
            Kind::Number(number) => {
                // `u64` and not `1.0` or `1e3`: an integer has one spelling.
                let integer = allows("integer") && number.parse::<u64>().is_ok();
                let value = number.parse().unwrap_or(f64::NAN);
                (integer || allows("number")) && within(value, schema)
            }
            Kind::Text(text) => {
                let words = describe::words(schema);
                let listed = words.is_empty() || words.contains(&&**text);
                let filled = schema["minLength"].is_null() || !text.is_empty();
                allows("string")
                    && listed
                    && filled
                    && !text.contains('\0')
                    && self.matches(text, schema)
            }
            Kind::Array(items) => {
                allows("array") && (schema["minItems"].is_null() || !items.is_empty())
            }
            Kind::Object(_) => allows("object"),
        }
    }

    /// What holds between keys, each of which is good by itself.
    fn relations(&mut self, root: &Node<'_>) {
        if let Some(keys) = root.at("/integrity/keys") {
            self.unlike(keys, "/integrity/keys", "key_id");
            self.one_active(keys);
        }
        if let Some(stages) = root.at("/pipeline/stages") {
            self.unlike(stages, "/pipeline/stages", "name");
        }
        let channels = root.at("/alerts/channels");
        if let Some(routes) = root.at("/alerts/routes") {
            self.known_channels(routes, channels);
        }
        if let Some(Kind::Object(channels)) = channels.map(|node| &node.kind) {
            channels.iter().for_each(|channel| self.complete(channel));
        }
        let labels = root.at("/metrics/labels").map(|node| &node.kind);
        if let Some(Kind::Object(labels)) = labels {
            labels.iter().for_each(|label| self.free(label));
        }
    }

    fn note_at(&mut self, pointer: String, offset: usize, message: String) {
        let before = std::mem::replace(&mut self.pointer, pointer);
        self.note(offset, message, None);
        self.pointer = before;
    }

    /// Notes each item whose text under `key` an earlier item has too.
    fn unlike(&mut self, items: &Node<'_>, pointer: &str, key: &str) {
        let mut seen = HashSet::new();
        for (index, item) in items.items().iter().enumerate() {
            let Some(node) = item.member(key) else {
                continue;
            };
            let Some(text) = node.text() else { continue };
            if !seen.insert(text) {
                let pointer = format!("{pointer}/{index}/{key}");
                let message = format!("an earlier entry has this `{key}` already");
                self.note_at(pointer, node.start, message);
            }
        }
    }

    fn one_active(&mut self, keys: &Node<'_>) {
        let is_active = |key: &&Node<'_>| match key.member("status") {
            Some(status) => status.text() == Some("active"),
            None => true,
        };
        let active = keys.items().iter().filter(is_active).skip(1);
        for key in active {
            let message = "more than one key is active".into();
            self.note_at("/integrity/keys".into(), key.start, message);
        }
    }

    fn known_channels(&mut self, routes: &Node<'_>, channels: Option<&Node<'_>>) {
        for (index, route) in routes.items().iter().enumerate() {
            let names = route.member("channels").map_or(&[][..], Node::items);
            for (place, name) in names.iter().enumerate() {
                let Some(text) = name.text() else { continue };
                if channels.is_none_or(|channels| channels.member(text).is_none()) {
                    let pointer = format!("/alerts/routes/{index}/channels/{place}");
                    let message = format!("unknown channel `{}`", quoted(text));
                    self.note_at(pointer, name.start, message);
                }
            }
        }
    }

    /// Notes a label whose name has another meaning.
    fn free(&mut self, label: &Member<'_>) {
        let is_reserved = RESERVED_LABELS.contains(&&*label.key) || label.key.starts_with("__");
        if is_reserved {
            let message = format!("the label `{}` has a meaning already", quoted(&label.key));
            self.note_at("/metrics/labels".into(), label.start, message);
        }
    }

    /// Notes what a channel of its type cannot do without.
    fn complete(&mut self, channel: &Member<'_>) {
        let kind = channel.value.member("type").and_then(Node::text);
        let needed: &[&str] = match kind {
            Some("slack" | "webhook" | "alertmanager") => &["url_env"],
            Some("email") => &["smtp_host", "from", "to"],
            Some("command") => &["argv"],
            _ => &[],
        };
        for key in needed {
            let value = channel.value.member(key);
            let missing = value.is_none_or(|value| {
                value.text() == Some("")
                    || matches!(&value.kind, Kind::Array(items) if items.is_empty())
            });
            if missing {
                let message = format!("a channel of this type needs `{key}`");
                let step = channel.key.replace('~', "~0").replace('/', "~1");
                self.note_at(format!("/alerts/channels/{step}"), channel.start, message);
            }
        }
    }
}

fn within(value: f64, schema: &Value) -> bool {
    let bound = |key| schema[key].as_f64();
    value.is_finite()
        && bound("minimum").is_none_or(|bound| value >= bound)
        && bound("maximum").is_none_or(|bound| value <= bound)
        && bound("exclusiveMinimum").is_none_or(|bound| value > bound)
        && bound("exclusiveMaximum").is_none_or(|bound| value < bound)
}

/// Why a text is not of the format that its schema names.
fn refusal(text: &str, format: Option<&str>) -> Option<String> {
    let (what, why) = match format? {
        "glob" => ("a glob", Glob::new(text).err()?.kind().to_string()),
        "regex" => {
            let built = regex::bytes::RegexBuilder::new(text)
                .size_limit(1 << 20)
                .build();
            ("a regular expression", built.err()?.to_string())
        }
        "date-time" => {
            let error = Timestamp::parse(text).err()?;
            return Some(printable(&error.to_string()).into_owned());
        }
        _ => return None,
    };
    // The reason proper is the last line; a regular expression's is preceded by a drawing.
    let why = why.lines().last().unwrap_or_default();
    let why = printable(why.trim_start_matches("error: ")).into_owned();
    Some(format!("expected {what}: {why}"))
}

/// What stands there, in words. Text is quoted only where a closed word list was expected.
fn in_words(node: &Node<'_>, schema: &Value) -> String {
    match &node.kind {
        Kind::Null => "null".into(),
        Kind::Bool(value) => value.to_string(),
        Kind::Number(number) => quoted(number),
        Kind::Text(text) if text.is_empty() => "empty text".into(),
        Kind::Text(text) if !describe::words(schema).is_empty() => format!("`{}`", quoted(text)),
        Kind::Text(_) if describe::types(schema).any(|name| name == "string") => {
            "other text".into()
        }
        Kind::Text(_) => "text".into(),
        Kind::Array(items) if items.is_empty() => "an empty array".into(),
        Kind::Array(_) => "an array".into(),
        Kind::Object(_) => "an object".into(),
    }
}

/// A text from the file, short and safe to print.
fn quoted(text: &str) -> String {
    let mut short: String = text.chars().take(QUOTED_CHARS_MAX).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    printable(&short).into_owned()
}

fn nearest(text: &str, known: &[&str]) -> Option<String> {
    let text = quoted(text).to_lowercase();
    let likeness = |known: &&str| strsim::jaro_winkler(&text, known);
    let best = known
        .iter()
        .map(|known| (likeness(known), known))
        .filter(|(likeness, _)| *likeness >= LIKENESS_MIN)
        .max_by(|left, right| left.0.total_cmp(&right.0))?;
    Some(format!("did you mean `{}`?", best.1))
}

fn listing(known: &[&str]) -> String {
    let known: Vec<_> = known.iter().map(|key| format!("`{key}`")).collect();
    format!("the keys here are {}", known.join(", "))
}
