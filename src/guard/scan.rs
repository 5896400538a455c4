//! One text against all rules: keywords in one pass, patterns on windows around them, filters,
//! then the most specific of what overlaps. Knows no file and no encoding.

use std::collections::BTreeMap;
use std::ops::Range;

use aho_corasick::{AhoCorasick, MatchKind};
use memchr::{memchr_iter, memrchr};
use regex_automata::Input;
use regex_automata::meta;

use super::filter::{self, Kind, Setting, Weight};
use super::rule::{Pack, Pattern, REACH_BEFORE_BYTES, Rule};
use crate::base::relpath::RelPath;
use crate::base::severity::Severity;
use crate::report::{Category, Confidence};

/// The family whose rules yield to those of any provider.
const GENERIC_FAMILY: &str = "generic";

/// All rules, ready to look at texts.
#[derive(Debug)]
pub struct Scanner {
    pack: Pack,
    keywords: AhoCorasick,
    /// For each keyword the rules that want it.
    wanted_by: Vec<Vec<usize>>,
}

/// What a thread keeps between texts.
#[derive(Debug, Default)]
pub struct Scratch {
    /// For each rule the windows of the text at hand.
    windows: Vec<Vec<Range<usize>>>,
    touched: Vec<usize>,
    /// The part of a long text that is in memory.
    pub(super) window: Vec<u8>,
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
    /// Makes a scanner of rules. Keywords are few thousands of bytes, so that this cannot fail for
    /// want of room.
    ///
    /// # Errors
    /// More keywords than the automaton holds.
    pub fn new(pack: Pack) -> Result<Self, aho_corasick::BuildError> {
        let mut wanted_by: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (number, rule) in pack.rules.iter().enumerate() {
            for keyword in &rule.keywords {
                wanted_by.entry(keyword).or_default().push(number);
            }
        }
        let keywords = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .match_kind(MatchKind::Standard)
            .build(wanted_by.keys())?;
        let wanted_by = wanted_by.into_values().collect();
        Ok(Self {
            pack,
            keywords,
            wanted_by,
        })
    }

    /// The rules.
    pub fn pack(&self) -> &Pack {
        &self.pack
    }

    /// What the rules find in a text that stands at a path, sorted by place; `path` decides which
    /// rules look.
    pub fn scan(&self, text: &[u8], path: Option<&RelPath>, scratch: &mut Scratch) -> Vec<Match> {
        self.mark(text, scratch);
        let mut matches = Vec::new();
        scratch.touched.sort_unstable();
        for number in std::mem::take(&mut scratch.touched) {
            let windows = std::mem::take(&mut scratch.windows[number]);
            let rule = &self.pack.rules[number];
            if looks_at(rule, path) {
                for window in windows {
                    search(text, (number, rule), window, &mut matches);
                }
            }
        }
        matches.sort_by_key(|found| (found.value.start, found.value.end, found.rule));
        place(text, &mut matches);
        self.keep_accompanied(&mut matches);
        self.keep_specific(matches)
    }

    /// Whether a match is as good as certain whatever stands around it.
    pub(super) fn is_certain(&self, found: &Match) -> bool {
        found.confidence == Confidence::High
    }

    /// Notes for each rule where to look.
    fn mark(&self, text: &[u8], scratch: &mut Scratch) {
        scratch.windows.resize(self.pack.rules.len(), Vec::new());
        for hit in self.keywords.find_overlapping_iter(text) {
            for number in &self.wanted_by[hit.pattern().as_usize()] {
                let reach = self.pack.rules[*number].reach_bytes;
                let start = hit.start().saturating_sub(REACH_BEFORE_BYTES);
                let end = hit.end().saturating_add(reach).min(text.len());
                let windows = &mut scratch.windows[*number];
                match windows.last_mut() {
                    Some(last) if last.end >= start => {
                        last.start = last.start.min(start);
                        last.end = last.end.max(end);
                    }
                    Some(_) => windows.push(start..end),
                    None => {
                        scratch.touched.push(*number);
                        windows.push(start..end);
                    }
                }
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

    /// Of values that overlap, the one whose rule says most.
    fn keep_specific(&self, matches: Vec<Match>) -> Vec<Match> {
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
            rule.family() != GENERIC_FAMILY,
            found.confidence,
            found.severity,
            found.value.len(),
            std::cmp::Reverse(found.rule),
        )
    }
}

/// One rule on one window.
fn search(
    text: &[u8],
    (number, rule): (usize, &Rule),
    window: Range<usize>,
    matches: &mut Vec<Match>,
) {
    let Some(regex) = rule.pattern.as_ref().and_then(|pattern| pattern.regex()) else {
        return;
    };
    let mut captures = regex.create_captures();
    let mut at = window.start;
    while at <= window.end {
        regex.search_captures(&Input::new(text).range(at..window.end), &mut captures);
        let Some(whole) = captures.get_match() else {
            return;
        };
        let value = value_of(regex, &captures).unwrap_or(whole.range());
        let judged = judge(rule, text, whole.start(), value);
        // What follows the value may begin the next one; what was rejected may hold one.
        let after = judged.as_ref().map_or(0, |found| found.value.end);
        at = after.max(whole.start() + 1).max(at + 1);
        if let Some(found) = judged {
            matches.push(Match {
                rule: number,
                ..found
            });
        }
    }
}

/// Whether a rule looks at a path; a text without one is looked at by the rules for every path.
fn looks_at(rule: &Rule, path: Option<&RelPath>) -> bool {
    match path {
        Some(path) => {
            rule.path.as_ref().is_none_or(|globs| globs.excludes(path))
                && !rule
                    .unless
                    .path
                    .as_ref()
                    .is_some_and(|globs| globs.excludes(path))
        }
        None => rule.path.is_none(),
    }
}

/// The group named `secret`, else the first group that took part.
fn value_of(
    regex: &meta::Regex,
    captures: &regex_automata::util::captures::Captures,
) -> Option<Range<usize>> {
    let named = captures.get_group_by_name("secret");
    let first = || (1..regex.captures_len()).find_map(|group| captures.get_group(group));
    Some(named.or_else(first)?.range())
}

/// What a rule says of a value that its pattern found, by its filters: `None` lets it pass.
fn judge(rule: &Rule, text: &[u8], start: usize, mut value: Range<usize>) -> Option<Match> {
    let (mut severity, mut confidence) = (rule.severity, rule.confidence);
    if let Some(kind) = rule.setting {
        let setting = match kind {
            Kind::Password | Kind::Secret | Kind::Key => Setting::of(text, start, value)?,
            Kind::Place | Kind::Token | Kind::Basic => Setting::at_place(text, value),
        };
        let weight = setting.weigh(kind)?;
        (severity, confidence) = weighed(rule, weight);
        value = setting.value();
    } else if rule.category == Category::Secret {
        let bytes = text.get(value.clone())?;
        let is_placeholder = match rule.random {
            true => !filter::is_random(bytes) || filter::is_filler(bytes),
            false => false,
        };
        if is_placeholder || filter::is_placeholder(bytes) {
            return None;
        }
    }
    let bytes = text.get(value.clone())?;
    let too_plain = |least| filter::entropy(bytes) < least;
    let passes = |pattern: &Pattern| pattern.is_match(bytes);
    let line_passes = |pattern: &Pattern| pattern.is_match(line_around(text, &value));
    if rule.entropy_min.is_some_and(too_plain)
        || rule.unless.value.iter().any(passes)
        || rule.unless.line.iter().any(line_passes)
    {
        return None;
    }
    if rule.checksum.is_some_and(|checksum| !checksum.holds(bytes)) {
        // Has the shape and not the sum: most likely made up.
        severity = severity.min(Severity::Medium);
        confidence = Confidence::Low;
    }
    Some(Match {
        rule: 0,
        value,
        severity,
        confidence,
        line: 0,
        column: 0,
        end_line: 0,
    })
}

/// What a rule says of an assignment that weighs so much: its own word only where nothing is left
/// to doubt.
fn weighed(rule: &Rule, weight: Weight) -> (Severity, Confidence) {
    match weight {
        Weight::Strong => (rule.severity, rule.confidence),
        Weight::Fair => (
            rule.severity.min(Severity::Medium),
            rule.confidence.min(Confidence::Medium),
        ),
        Weight::Weak => (rule.severity.min(Severity::Low), Confidence::Low),
    }
}

/// Whether a rule by itself finds anything in a text, by keywords, pattern and filters.
pub(super) fn finds(rule: &Rule, text: &[u8]) -> bool {
    let lower = text.to_ascii_lowercase();
    let has_keyword = |keyword: &String| memchr::memmem::find(&lower, keyword.as_bytes()).is_some();
    let mut found = Vec::new();
    if rule.keywords.iter().any(has_keyword) {
        search(text, (0, rule), 0..text.len(), &mut found);
    }
    !found.is_empty()
}

/// The line in which a value begins, without its end.
fn line_around<'t>(text: &'t [u8], value: &Range<usize>) -> &'t [u8] {
    let start = memrchr(b'\n', &text[..value.start]).map_or(0, |at| at + 1);
    let length = memchr::memchr(b'\n', &text[start..]).unwrap_or(text.len() - start);
    &text[start..start + length]
}

/// Fills in lines and columns of matches that are sorted by place.
pub(super) fn place(text: &[u8], matches: &mut [Match]) {
    let (mut line, mut counted) = (1, 0);
    for found in matches {
        let start = found.value.start;
        line += memchr_iter(b'\n', &text[counted..start]).count() as u64;
        counted = start;
        let line_start = memrchr(b'\n', &text[..start]).map_or(0, |at| at + 1);
        // Bytes that begin a character of UTF-8.
        let characters = text[line_start..start]
            .iter()
            .filter(|byte| **byte & 0xC0 != 0x80);
        found.line = line;
        found.column = characters.count() as u64 + 1;
        found.end_line = line + memchr_iter(b'\n', &text[found.value.clone()]).count() as u64;
    }
}
