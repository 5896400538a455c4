//! One rule on one text: its pattern where its keywords stand, then what its filters say of the value.
//! Knows no other rule.

use std::ops::Range;

use memchr::memrchr;
use regex_automata::meta;
use regex_automata::util::captures::Captures;
use regex_automata::{Anchored, Input};

use super::assign;
use super::filter::{self, Kind, Setting, Weight};
use super::keywords::Span;
use super::pattern::{Matcher, Pattern, Starts};
use super::rule::{Behind, Lead, REACH_BEFORE_BYTES, Rule};
use super::runs::Text;
use super::scan::Match;
use crate::base::severity::Severity;
use crate::report::{Category, Confidence};

/// How much of a name may stand before and behind a keyword in it.
const NAME_BYTES_MAX: usize = 40;
/// How much of a line is looked at before a value, and from where it begins.
const LINE_BYTES: usize = 4096;

/// What matching the patterns of a rule takes, kept from text to text.
#[derive(Debug, Default)]
pub(super) struct Matchers {
    pattern: Matcher,
    names: Matcher,
}

/// One rule on a text in which its keywords stand at those places.
pub(super) fn search(
    text: &Text<'_>,
    (number, rule): (usize, &Rule),
    (keywords, matchers): (&[Span], &mut Matchers),
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
            for keyword in keywords.iter().map(Span::range) {
                let end = keyword.end + NAME_BYTES_MAX + rule.reach_bytes;
                if sketch.may_match(known, keyword.start..end.min(text.len()))
                    && let Some(found) =
                        search_behind(text, (rule, lead, pattern), (&keyword, matchers))
                {
                    add(found);
                }
            }
        }
        (None, Starts::AtKeyword) => {
            let mut after = 0;
            for keyword in keywords.iter().map(Span::range) {
                let end = (keyword.end + rule.reach_bytes).min(text.len());
                if keyword.start >= after
                    && sketch.may_begin(&text[keyword.start..end])
                    && sketch.may_match(known, keyword.start..end)
                    && let Some(value) =
                        value_at((pattern, &mut matchers.pattern), text, keyword.start..end)
                    && let Some(found) = judge(rule, text, keyword.start, value)
                {
                    after = found.value.end;
                    add(found);
                }
            }
        }
        (None, Starts::Anywhere) => {
            for window in windows(text, rule, keywords) {
                if sketch.may_match(known, window.clone()) {
                    let pattern = (&**pattern, &mut matchers.pattern);
                    search_window(text, (rule, pattern), window, &mut add);
                }
            }
        }
    }
}

/// What a rule without a more precise place looks at: what stands around its keywords.
fn windows(text: &[u8], rule: &Rule, keywords: &[Span]) -> Vec<Range<usize>> {
    let mut windows: Vec<Range<usize>> = Vec::new();
    if rule.keywords.is_empty() {
        windows.push(0..text.len());
    }
    for keyword in keywords.iter().map(Span::range) {
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
    (rule, (pattern, matcher)): (&Rule, (&Pattern, &mut Matcher)),
    window: Range<usize>,
    add: &mut impl FnMut(Match),
) {
    let Some((regex, cache, captures)) = matcher.of(pattern) else {
        return;
    };
    let mut at = window.start;
    while at <= window.end {
        let input = Input::new(text).range(at..window.end);
        // Most windows hold nothing, which is cheaper to learn than where.
        let Some(half) = regex.search_half_with(cache, &input) else {
            return;
        };
        regex.search_captures_with(cache, &input.range(at..half.offset()), captures);
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
fn value_at(
    (pattern, matcher): (&Pattern, &mut Matcher),
    text: &[u8],
    range: Range<usize>,
) -> Option<Range<usize>> {
    let (regex, cache, captures) = matcher.of(pattern)?;
    let input = Input::new(text).anchored(Anchored::Yes);
    let half = regex.search_half_with(cache, &input.clone().range(range.clone()))?;
    // What finds groups costs by the length that it is given.
    regex.search_captures_with(cache, &input.range(range.start..half.offset()), captures);
    let whole = captures.get_match()?.range();
    Some(value_of(regex, captures).unwrap_or(whole))
}

/// What stands behind the name that a keyword is part of.
fn search_behind(
    text: &[u8],
    (rule, lead, pattern): (&Rule, &Lead, &Pattern),
    (keyword, matchers): (&Range<usize>, &mut Matchers),
) -> Option<Match> {
    if lead.behind == Behind::Setting && !assign::may_set(text, keyword) {
        return None;
    }
    let name = name_at((&lead.names, &mut matchers.names), text, keyword)?;
    let end = (name.end + rule.reach_bytes).min(text.len());
    let sketch = pattern.sketch()?;
    let mut judged_at = |start: usize| {
        if !sketch.may_begin(&text[start..end]) {
            return None;
        }
        let value = value_at((pattern, &mut matchers.pattern), text, start..end)?;
        judge(rule, text, name.start, value)
    };
    match lead.behind {
        Behind::Assignment => assign::value_starts(text, name.end)
            .take_while(|start| *start <= end)
            .find_map(judged_at),
        Behind::Setting => judged_at(name.end),
    }
}

/// The name that a keyword is part of.
fn name_at(
    (names, matcher): (&Pattern, &mut Matcher),
    text: &[u8],
    keyword: &Range<usize>,
) -> Option<Range<usize>> {
    let around = keyword.start.saturating_sub(NAME_BYTES_MAX)
        ..(keyword.end + NAME_BYTES_MAX).min(text.len());
    let (regex, cache, _) = matcher.of(names)?;
    // Mostly a name begins with its keyword, which is quickly seen.
    let here = Input::new(text).range(keyword.start..around.end);
    if let Some(name) = regex.search_with(cache, &here.anchored(Anchored::Yes)) {
        return Some(name.range());
    }
    let mut at = around.start;
    while at < keyword.end {
        let name = regex.search_with(cache, &Input::new(text).range(at..around.end))?;
        if name.start() < keyword.end && keyword.start < name.end() {
            return Some(name.range());
        }
        at = name.end().max(at + 1);
    }
    None
}

/// The group named `secret`, else the first group that took part.
fn value_of(regex: &meta::Regex, captures: &Captures) -> Option<Range<usize>> {
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
        places.extend(found.map(|at| Span::new(at, keyword.len())));
    }
    places.sort();
    let mut found = Vec::new();
    if !places.is_empty() {
        let known = &Text::new(text);
        search(
            known,
            (0, rule),
            (&places, &mut Matchers::default()),
            &mut found,
        );
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
