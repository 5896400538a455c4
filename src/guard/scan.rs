//! One text against all rules: keywords in one pass, patterns on windows around them, filters,
//! then the most specific of what overlaps. Knows no file and no encoding.

use std::collections::BTreeMap;
use std::ops::Range;

use memchr::{memchr_iter, memrchr};
use regex_automata::meta;
use regex_automata::{Anchored, Input};

use super::assign;
use super::filter::{self, Kind, Setting, Weight};
use super::keywords::Keywords;
use super::pattern::{Pattern, Starts};
use super::rule::{Behind, Lead, Pack, REACH_BEFORE_BYTES, Rule};
use super::runs::Text;
use crate::base::relpath::RelPath;
use crate::base::severity::Severity;
use crate::inventory::Globs;
use crate::report::{Category, Confidence};

/// How much of a name may stand before and behind a keyword in it.
const NAME_BYTES_MAX: usize = 40;
/// How much of a line is looked at before a value, and from where it begins.
const LINE_BYTES: usize = 4096;
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

/// What a thread keeps between texts.
#[derive(Debug, Default)]
pub struct Scratch {
    /// For each rule where its keywords stand in the text at hand.
    hits: Vec<Vec<Range<usize>>>,
    touched: Vec<usize>,
    /// Room for the part of a text that is in memory; holds what was there before.
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
                hits.sort_unstable_by_key(|hit| (hit.start, hit.end));
                search(text, (number, rule), hits, &mut matches);
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
        scratch.touched.extend(&self.unkeyed);
        self.keywords.find(text, |keyword, place| {
            for number in &self.wanted_by[keyword] {
                let hits = &mut scratch.hits[*number];
                if hits.is_empty() {
                    scratch.touched.push(*number);
                }
                hits.push(place.clone());
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

/// One rule on a text in which its keywords stand at those places.
fn search(
    text: &Text<'_>,
    (number, rule): (usize, &Rule),
    keywords: &[Range<usize>],
    matches: &mut Vec<Match>,
) {
    let Some(pattern) = &rule.pattern else {
        return;
    };
    let Some(sketch) = pattern.sketch() else {
        return;
    };
    let mut add = |found: Match| {
        matches.push(Match {
            rule: number,
            ..found
        })
    };
    let (known, text) = (text, text.bytes);
    match (&rule.lead, sketch.starts) {
        (Some(lead), _) => {
            for keyword in keywords {
                let end = keyword.end + NAME_BYTES_MAX + rule.reach_bytes;
                if sketch.may_match(known, keyword.start..end.min(text.len()))
                    && let Some(found) = search_behind(text, (rule, lead, pattern), keyword)
                {
                    add(found);
                }
            }
        }
        (None, Starts::AtKeyword) => {
            let mut after = 0;
            for keyword in keywords {
                let end = (keyword.end + rule.reach_bytes).min(text.len());
                if keyword.start >= after
                    && sketch.may_begin(&text[keyword.start..end])
                    && sketch.may_match(known, keyword.start..end)
                    && let Some(value) = value_at(pattern, text, keyword.start..end)
                    && let Some(found) = judge(rule, text, keyword.start, value)
                {
                    after = found.value.end;
                    add(found);
                }
            }
        }
        (None, Starts::Anywhere) => {
            for window in windows(text, rule, keywords) {
                if sketch.may_match(known, window.clone())
                    && let Some(regex) = pattern.regex()
                {
                    search_window(text, (rule, regex), window, &mut add);
                }
            }
        }
    }
}

/// What a rule without a more precise place looks at: what stands around its keywords.
fn windows(text: &[u8], rule: &Rule, keywords: &[Range<usize>]) -> Vec<Range<usize>> {
    let mut windows: Vec<Range<usize>> = Vec::new();
    if rule.keywords.is_empty() {
        windows.push(0..text.len());
    }
    for keyword in keywords {
        let start = keyword.start.saturating_sub(REACH_BEFORE_BYTES);
        let end = (keyword.end + rule.reach_bytes).min(text.len());
        match windows.last_mut() {
            Some(last) if last.end >= start => last.end = last.end.max(end),
            _ => windows.push(start..end),
        }
    }
    windows
}

fn search_window(
    text: &[u8],
    (rule, regex): (&Rule, &meta::Regex),
    window: Range<usize>,
    add: &mut impl FnMut(Match),
) {
    let mut captures = None;
    let mut at = window.start;
    while at <= window.end {
        let input = Input::new(text).range(at..window.end);
        // Most windows hold nothing, which is cheaper to learn than where.
        let Some(half) = regex.search_half(&input) else {
            return;
        };
        let captures = captures.get_or_insert_with(|| regex.create_captures());
        regex.search_captures(&input.range(at..half.offset()), captures);
        let Some(whole) = captures.get_match() else {
            return;
        };
        let value = value_of(regex, captures).unwrap_or(whole.range());
        let judged = judge(rule, text, whole.start(), value);
        // What follows the value may begin the next one; what was rejected may hold one.
        let after = judged.as_ref().map_or(0, |found| found.value.end);
        at = after.max(whole.start() + 1).max(at + 1);
        if let Some(found) = judged {
            add(found);
        }
    }
}

/// The value in the match that begins where a range does.
fn value_at(pattern: &Pattern, text: &[u8], range: Range<usize>) -> Option<Range<usize>> {
    let regex = pattern.regex()?;
    let input = Input::new(text).anchored(Anchored::Yes);
    let half = regex.search_half(&input.clone().range(range.clone()))?;
    let mut captures = regex.create_captures();
    // What finds groups costs by the length that it is given.
    regex.search_captures(&input.range(range.start..half.offset()), &mut captures);
    let whole = captures.get_match()?.range();
    Some(value_of(regex, &captures).unwrap_or(whole))
}

/// What stands behind the name that a keyword is part of.
fn search_behind(
    text: &[u8],
    (rule, lead, pattern): (&Rule, &Lead, &Pattern),
    keyword: &Range<usize>,
) -> Option<Match> {
    if lead.behind == Behind::Setting && !assign::may_set(text, keyword) {
        return None;
    }
    let around = keyword.start.saturating_sub(NAME_BYTES_MAX)
        ..(keyword.end + NAME_BYTES_MAX).min(text.len());
    let names = lead.names.regex()?;
    // Mostly a name begins with its keyword, which is quickly seen.
    let here = Input::new(text).range(keyword.start..around.end);
    let name = names.find(here.anchored(Anchored::Yes)).or_else(|| {
        let mut names = names.find_iter(Input::new(text).range(around));
        names.find(|name| name.start() < keyword.end && keyword.start < name.end())
    })?;
    let end = (name.end() + rule.reach_bytes).min(text.len());
    let sketch = pattern.sketch()?;
    let judged_at = |start: usize| {
        if !sketch.may_begin(&text[start..end]) {
            return None;
        }
        let value = value_at(pattern, text, start..end)?;
        judge(rule, text, name.start(), value)
    };
    match lead.behind {
        Behind::Assignment => assign::value_starts(text, name.end())
            .take_while(|start| *start <= end)
            .find_map(judged_at),
        Behind::Setting => judged_at(name.end()),
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
            Kind::Place | Kind::Argument | Kind::Token | Kind::Basic => {
                Setting::at_place(text, value)
            }
        };
        let weight = setting.weigh(kind)?;
        (severity, confidence) = weighed(rule, weight);
        value = setting.value();
    } else if rule.category == Category::Secret {
        let bytes = text.get(value.clone())?;
        if filter::is_placeholder(bytes) {
            return None;
        }
        if rule.random && filter::is_typed(bytes) {
            // Somebody's fingers ran over the keys: an example, more often than not.
            (severity, confidence) = (severity.min(Severity::Low), Confidence::Low);
        } else if rule.random && (!filter::is_random(bytes) || filter::is_filler(bytes)) {
            return None;
        }
        if rule.lead.is_some() && is_amid_word(text, start) {
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
    if rule.category == Category::Secret && filter::is_published(bytes) {
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

/// Whether a place is within a word: behind a letter, and no capital that begins a word of its own.
fn is_amid_word(text: &[u8], at: usize) -> bool {
    let before = at.checked_sub(1).and_then(|before| text.get(before));
    let (Some(before), Some(first)) = (before, text.get(at)) else {
        return false;
    };
    let begins = before.is_ascii_lowercase() && first.is_ascii_uppercase();
    before.is_ascii_alphabetic() && first.is_ascii_alphabetic() && !begins
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

/// The first value that a rule by itself finds in a text, by keywords, pattern and filters.
pub(super) fn first_value(rule: &Rule, text: &[u8]) -> Option<Range<usize>> {
    let lower = text.to_ascii_lowercase();
    let mut places = Vec::new();
    for keyword in &rule.keywords {
        let found = memchr::memmem::find_iter(&lower, keyword);
        places.extend(found.map(|at| at..at + keyword.len()));
    }
    places.sort_by_key(|place| (place.start, place.end));
    let mut found = Vec::new();
    if !places.is_empty() {
        search(&Text::new(text), (0, rule), &places, &mut found);
    }
    found.into_iter().next().map(|first| first.value)
}

/// The line in which a value begins, without its end; of a long one what stands near.
fn line_around<'t>(text: &'t [u8], value: &Range<usize>) -> &'t [u8] {
    let near = value.start.saturating_sub(LINE_BYTES);
    let start = memrchr(b'\n', &text[near..value.start]).map_or(near, |at| near + at + 1);
    let rest = &text[start..text.len().min(value.start + LINE_BYTES)];
    &rest[..memchr::memchr(b'\n', rest).unwrap_or(rest.len())]
}

/// Fills in lines and columns of matches that are sorted by place.
pub(super) fn place(text: &[u8], matches: &mut [Match]) {
    // Bytes that begin a character of UTF-8.
    let characters = |text: &[u8]| {
        let begin = text.iter().filter(|byte| **byte & 0xC0 != 0x80);
        begin.count() as u64
    };
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
