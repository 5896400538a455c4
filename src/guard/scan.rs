//! One text against all rules: keywords in one pass, each rule where its own stand, then the most
//! specific of what overlaps. Knows no file and no encoding.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use memchr::{memchr_iter, memrchr};

use super::filter;
use super::keywords::{Keywords, Span};
use super::notes::characters;
use super::rule::{Pack, Rule};
use super::runs::Text;
use super::search::{Matchers, search};
use crate::base::relpath::RelPath;
use crate::base::severity::Severity;
use crate::inventory::Globs;
use crate::report::{Category, Confidence};

/// The family whose rules yield to those of any provider.
const GENERIC_FAMILY: &str = "generic";

/// All rules, ready to look at texts.
#[derive(Debug)]
pub struct Scanner {
    pack: Pack,
    keywords: Keywords,
    /// For each keyword the rules that want it.
    wanted_by: Vec<Vec<usize>>,
    /// Rules that want none: those that a policy makes.
    unkeyed: Vec<usize>,
    honors_foreign: bool,
}

/// What a thread keeps between texts, for one scanner.
#[derive(Debug, Default)]
pub struct Scratch {
    /// For each rule where its keywords stand in the text at hand.
    hits: Vec<Vec<Span>>,
    touched: Vec<usize>,
    /// What matching the patterns of each rule takes.
    matchers: Vec<Matchers>,
    /// Room for the part of a text that is in memory; holds what was there before.
    pub(super) window: Vec<u8>,
    /// Others of its kind, for texts that several threads look at.
    pub(super) spare: Scratches,
}

/// What threads take while they look at a text and give back for the next: what one has learned is worth
/// keeping.
#[derive(Debug, Default)]
pub(super) struct Scratches(Mutex<Vec<Scratch>>);

impl Scratches {
    /// Does some work with one that nobody else has.
    pub(super) fn with<T>(&self, work: impl FnOnce(&mut Scratch) -> T) -> T {
        let scratches = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = scratches().pop();
        let mut scratch = taken.unwrap_or_default();
        let done = work(&mut scratch);
        scratches().push(scratch);
        done
    }
}

/// Something that a rule found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Match {
    /// Which rule, by its place in the pack.
    pub rule: usize,
    /// The value, within the text.
    pub value: Range<usize>,
    /// How bad it is: the rule's word, or milder where a checksum does not hold.
    pub severity: Severity,
    /// How sure it is: the rule's word, or less.
    pub confidence: Confidence,
    /// The line where the value begins, from 1.
    pub line: u64,
    /// The column where it begins, in characters, from 1.
    pub column: u64,
    /// The line where it ends.
    pub end_line: u64,
}

impl Scanner {
    /// Makes a scanner of rules.
    pub fn new(pack: Pack) -> Self {
        let wishes = pack.rules.iter().enumerate();
        let mut wishes: Vec<(&str, usize)> = wishes
            .flat_map(|(number, rule)| {
                rule.keywords
                    .iter()
                    .map(move |keyword| (&**keyword, number))
            })
            .collect();
        wishes.sort_unstable();
        wishes.dedup();
        let by_keyword = || wishes.chunk_by(|one, other| one.0 == other.0);
        let keywords = Keywords::new(by_keyword().map(|wishes| wishes[0].0));
        let numbers = |wishes: &[(&str, usize)]| wishes.iter().map(|wish| wish.1).collect();
        let wanted_by = by_keyword().map(numbers).collect();
        let is_unkeyed = |rule: &Rule| rule.pattern.is_some() && rule.keywords.is_empty();
        let numbers = 0..pack.rules.len();
        let unkeyed = numbers.filter(|number| is_unkeyed(&pack.rules[*number]));
        Self {
            unkeyed: unkeyed.collect(),
            pack,
            keywords,
            wanted_by,
            honors_foreign: false,
        }
    }

    /// The same, reading the markers of other scanners too, or not.
    pub fn honoring_foreign(mut self, honors_foreign: bool) -> Self {
        self.honors_foreign = honors_foreign;
        self
    }

    /// Whether the markers of other scanners count.
    pub fn honors_foreign(&self) -> bool {
        self.honors_foreign
    }

    /// The rules.
    pub fn pack(&self) -> &Pack {
        &self.pack
    }

    /// What the rules find in a text that stands at a path, sorted by place; `path` decides which
    /// rules look.
    pub(super) fn scan(
        &self,
        text: &Text<'_>,
        path: Option<&RelPath>,
        scratch: &mut Scratch,
    ) -> Vec<Match> {
        self.mark(text.bytes, scratch);
        let mut matches = Vec::new();
        scratch.touched.sort_unstable();
        for number in scratch.touched.drain(..) {
            let hits = &mut scratch.hits[number];
            let rule = &self.pack.rules[number];
            if looks_at(rule, path) {
                hits.sort_unstable();
                let matchers = &mut scratch.matchers[number];
                search(text, (number, rule), (hits, matchers), &mut matches);
            }
            hits.clear();
        }
        matches.sort_by_key(|found| (found.value.start, found.value.end, found.rule));
        place(text.bytes, &mut matches);
        if path.is_some_and(|path| filter::is_for_tests(path.as_bytes())) {
            self.lower_for_tests(&mut matches);
        }
        self.keep_accompanied(&mut matches);
        self.keep_specific(matches)
    }

    /// Whether a match is as good as certain whatever stands around it.
    pub(super) fn is_certain(&self, found: &Match) -> bool {
        found.confidence == Confidence::High
    }

    /// Notes for each rule where its keywords stand.
    fn mark(&self, text: &[u8], scratch: &mut Scratch) {
        scratch.hits.resize(self.pack.rules.len(), Vec::new());
        scratch
            .matchers
            .resize_with(self.pack.rules.len(), Matchers::default);
        scratch.touched.extend(&self.unkeyed);
        self.keywords.find(text, |keyword, place| {
            for number in &self.wanted_by[keyword] {
                let hits = &mut scratch.hits[*number];
                if hits.is_empty() {
                    scratch.touched.push(*number);
                }
                hits.push(place);
            }
        });
    }

    /// In files that serve tests only what has the form of a provider's token fails a build.
    fn lower_for_tests(&self, matches: &mut [Match]) {
        for found in matches {
            let rule = &self.pack.rules[found.rule];
            let has_form = rule.family() != GENERIC_FAMILY && found.confidence == Confidence::High;
            if rule.category == Category::Secret && !has_form {
                found.severity = found.severity.min(Severity::Medium);
            }
        }
    }

    /// Drops what wants company and has none, then the company.
    fn keep_accompanied(&self, matches: &mut Vec<Match>) {
        let rules = &self.pack.rules;
        if matches
            .iter()
            .all(|found| rules[found.rule].near.is_empty() && !rules[found.rule].companion)
        {
            return;
        }
        let places: Vec<(usize, u64)> = matches
            .iter()
            .map(|found| (found.rule, found.line))
            .collect();
        matches.retain(|found| {
            let rule = &rules[found.rule];
            let is_accompanied = rule.near.is_empty()
                || rule.near.iter().any(|near| {
                    places.iter().any(|(other, line)| {
                        rules[*other].id == near.rule && line.abs_diff(found.line) <= near.lines
                    })
                });
            is_accompanied && !rule.companion
        });
    }

    /// Of values that overlap, the one whose rule says most. A secret in what shows an operation
    /// is something else, and stays.
    fn keep_specific(&self, matches: Vec<Match>) -> Vec<Match> {
        let is_operation =
            |found: &Match| self.pack.rules[found.rule].category == Category::Operation;
        let (operations, others) = matches.into_iter().partition(is_operation);
        let mut kept = self.most_specific(others);
        kept.extend(self.most_specific(operations));
        kept.sort_by_key(|found| (found.value.start, found.value.end, found.rule));
        kept
    }

    fn most_specific(&self, matches: Vec<Match>) -> Vec<Match> {
        let mut order: Vec<usize> = (0..matches.len()).collect();
        order.sort_by_key(|at| std::cmp::Reverse(self.specificity(&matches[*at])));
        // By start; those kept never overlap.
        let mut kept: BTreeMap<usize, (usize, usize)> = BTreeMap::new();
        for at in order {
            let value = &matches[at].value;
            let before = kept.range(..value.end).next_back();
            if before.is_none_or(|(_, (end, _))| *end <= value.start) {
                kept.insert(value.start, (value.end, at));
            }
        }
        kept.into_values()
            .map(|(_, at)| matches[at].clone())
            .collect()
    }

    fn specificity(&self, found: &Match) -> impl Ord + use<> {
        let rule = &self.pack.rules[found.rule];
        (
            !rule.yields,
            rule.family() != GENERIC_FAMILY,
            found.confidence,
            found.severity,
            found.value.len(),
            std::cmp::Reverse(found.rule),
        )
    }
}

/// Whether a rule looks at a path; a text without one is looked at by the rules for every path.
/// What a setting looks like in prose, or was compiled to, sets nothing: there only rules look that
/// name the path.
fn looks_at(rule: &Rule, path: Option<&RelPath>) -> bool {
    let Some(path) = path else {
        return rule.path.is_none();
    };
    let is_of = |globs: &Option<Globs>| globs.as_ref().map(|globs| globs.excludes(path));
    let is_wanted = is_of(&rule.path)
        .unwrap_or_else(|| rule.category != Category::Configuration || !is_prose(path));
    is_wanted && is_of(&rule.unless.path) != Some(true)
}

/// Whether a path is that of a text to be read by people, or of a compiled one.
fn is_prose(path: &RelPath) -> bool {
    const EXTENSIONS: [&[u8]; 15] = [
        b"adoc", b"class", b"htm", b"html", b"info", b"log", b"md", b"mo", b"po", b"pot", b"pyc",
        b"rst", b"tex", b"texi", b"txt",
    ];
    const NAMES: [&[u8]; 6] = [
        b"changelog",
        b"changes",
        b"history",
        b"news",
        b"readme",
        b"todo",
    ];
    let components = path.as_bytes().split(|byte| *byte == b'/');
    let name = components.clone().next_back().unwrap_or_default();
    let mut parts = name.rsplitn(2, |byte| *byte == b'.');
    let extension = parts.next().unwrap_or_default();
    let stem = parts.next();
    (stem.is_some() && EXTENSIONS.contains(&extension))
        || NAMES.contains(&stem.unwrap_or(extension))
        || components
            .clone()
            .any(|folder| matches!(folder, b"doc" | b"docs" | b"man"))
}

/// Fills in lines and columns of matches that are sorted by place.
pub(super) fn place(text: &[u8], matches: &mut [Match]) {
    let (mut line, mut column, mut counted) = (1, 1, 0);
    for found in matches {
        let start = found.value.start;
        let passed = &text[counted..start];
        match memrchr(b'\n', passed) {
            None => column += characters(passed),
            Some(end) => {
                line += memchr_iter(b'\n', passed).count() as u64;
                column = 1 + characters(&passed[end + 1..]);
            }
        }
        counted = start;
        (found.line, found.column) = (line, column);
        found.end_line = line + memchr_iter(b'\n', &text[found.value.clone()]).count() as u64;
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use super::*;

    #[test]
    fn texts_for_people_set_nothing() {
        for (path, expected) in [
            ("a/readme.md", true),
            ("a/changelog", true),
            ("a/news.gz", true),
            ("doc/a.sh", true),
            ("a/b.html", true),
            ("a/b.sh", false),
            ("a/md", false),
            ("dockerfile", false),
            ("a/news.d/b.yml", false),
        ] {
            let path = RelPath::parse(path.as_bytes()).unwrap();
            assert_eq!(is_prose(&path), expected, "{path}");
        }
    }
}
