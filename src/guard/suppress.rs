//! Markers in a text by which its authors say that a finding is known and accepted. Owns their
//! grammar; must never know a rule. Pure.
//!
//! | marker | accepts |
//! |---|---|
//! | `agp:allow[RULE] reason=…` | what RULE finds on the same line, or in lines that include it |
//! | `agp:allow-next[RULE] reason=…` | what RULE finds from the next line on |
//!
//! What is about a file as a whole is accepted by a marker on its first line. RULE is an
//! identifier, a family or `family.*`; several are separated by commas. The reason is the rest of the
//! line without what closes a comment, or what stands in double quotes. Brackets that hold anything
//! else, such as capital letters, are no marker.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::LazyLock;

use memchr::{memchr, memmem};

use super::found::{Found, Place};
use super::rule::Pack;
use crate::report::State;

/// The check that finds suppressions that accept nothing.
pub(super) const UNUSED: &str = "suppression.unused";
/// The check that finds suppressions without a reason.
pub(super) const UNEXPLAINED: &str = "suppression.unexplained";
/// The check that finds suppressions whose time is over.
pub(super) const EXPIRED: &str = "suppression.expired";
/// Every check about suppressions.
#[cfg(test)]
pub(super) const CHECKS: [&str; 3] = [UNUSED, UNEXPLAINED, EXPIRED];

/// What our markers begin with.
const OURS: &[u8] = b"agp:allow";
/// Markers of other scanners, lower case, and whether they are about the next line. What they are
/// called is theirs; they count only where a policy says so.
const FOREIGN: [(&str, bool); 11] = [
    ("gitleaks:allow", false),
    ("betterleaks:allow", false),
    ("trufflehog:ignore", false),
    ("kingfisher:ignore", false),
    ("kingfisher:allow", false),
    ("pragma: allowlist nextline secret", true),
    ("pragma: allowlist secret", false),
    ("pragma: whitelist secret", false),
    ("ggignore", false),
    ("nosemgrep", false),
    ("nosec", false),
];
/// What may close a comment at the end of a line.
const CLOSERS: [&str; 6] = ["*/", "-->", "#}", "--}}", "%>", "*)"];

/// One marker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Marker {
    /// The line where it stands, from 1.
    pub(super) line: u64,
    /// The line that it is about.
    pub(super) covers: u64,
    /// Whose findings it accepts.
    pub(super) who: Who,
    /// Why, in the words of its author; `None` where nothing is said.
    pub(super) reason: Option<String>,
}

/// Whose findings a marker accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Who {
    /// Those of rules: identifiers, families, `family.*`. Not empty.
    Rules(Vec<String>),
    /// All: another scanner's marker, by its spelling.
    Foreign(&'static str),
}

impl Marker {
    /// Whether it accepts what a rule found on these lines.
    pub(super) fn accepts(&self, rule_id: &str, (line, end_line): (u64, u64)) -> bool {
        let is_there = (line..=end_line.max(line)).contains(&self.covers);
        is_there
            && match &self.who {
                Who::Rules(patterns) => patterns.iter().any(|pattern| names(pattern, rule_id)),
                Who::Foreign(_) => true,
            }
    }
}

/// Whether a pattern of a marker names a rule: by its identifier, or by the segments that it
/// begins with.
pub(super) fn names(pattern: &str, rule_id: &str) -> bool {
    let stem = pattern.strip_suffix(".*").unwrap_or(pattern);
    match rule_id.strip_prefix(stem) {
        Some(rest) => rest.is_empty() || rest.starts_with('.'),
        None => false,
    }
}

/// The markers that begin in a part of a text, sorted by line; those of other scanners only where
/// they count.
pub(super) fn markers(text: &[u8], part: Range<usize>, honors_foreign: bool) -> Vec<Marker> {
    let mut found = Vec::new();
    let mut lines = Lines::of(text);
    static FINDER: LazyLock<memmem::Finder<'_>> = LazyLock::new(|| memmem::Finder::new(OURS));
    for at in FINDER.find_iter(&text[part.start..]) {
        let at = part.start + at;
        if at >= part.end {
            break;
        }
        if let Some((next, rules, rest)) = ours(&text[at + OURS.len()..]) {
            let line = lines.number_at(at);
            found.push(Marker {
                line,
                covers: line + u64::from(next),
                who: Who::Rules(rules),
                reason: reason(rest),
            });
        }
    }
    if honors_foreign {
        found.extend(foreign(text, part));
        found.sort_by_key(|marker| marker.line);
    }
    found
}

/// Whether it is about the next line, the rules, and what follows on the line.
fn ours(text: &[u8]) -> Option<(bool, Vec<String>, &[u8])> {
    let (next, text) = match text.strip_prefix(b"-next") {
        Some(text) => (true, text),
        None => (false, text),
    };
    let text = text.strip_prefix(b"[")?;
    let line = &text[..memchr(b'\n', text).unwrap_or(text.len())];
    let close = memchr(b']', line)?;
    let inner = std::str::from_utf8(&line[..close]).ok()?;
    let rules: Vec<String> = inner
        .split(',')
        .map(|rule| rule.trim().to_owned())
        .collect();
    let is_plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.' | b'*');
    let is_rule = |rule: &String| !rule.is_empty() && rule.bytes().all(is_plain);
    rules
        .iter()
        .all(is_rule)
        .then_some((next, rules, &line[close + 1..]))
}

fn reason(rest: &[u8]) -> Option<String> {
    let rest = String::from_utf8_lossy(rest);
    let text = rest
        .trim_start_matches([' ', '\t', ':', ','])
        .strip_prefix("reason=")?;
    let reason = match text.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next().unwrap_or_default(),
        None => {
            let ends = CLOSERS.iter().filter_map(|closer| text.find(closer));
            &text[..ends.min().unwrap_or(text.len())]
        }
    };
    let reason = reason.trim();
    (!reason.is_empty()).then(|| reason.to_owned())
}

fn foreign(text: &[u8], part: Range<usize>) -> Vec<Marker> {
    let lower: Cow<'_, [u8]> = match text.iter().any(u8::is_ascii_uppercase) {
        true => Cow::Owned(text.to_ascii_lowercase()),
        false => Cow::Borrowed(text),
    };
    let mut found = Vec::new();
    for (spelling, next) in FOREIGN {
        let mut lines = Lines::of(text);
        for at in memmem::find_iter(&lower[part.start..], spelling) {
            let at = part.start + at;
            if at >= part.end {
                break;
            }
            let is_inner =
                |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
            let before = at.checked_sub(1).and_then(|at| lower.get(at));
            if is_inner(before) || is_inner(lower.get(at + spelling.len())) {
                continue;
            }
            let line = lines.number_at(at);
            found.push(Marker {
                line,
                covers: line + u64::from(next),
                who: Who::Foreign(spelling),
                reason: Some(format!("marked `{spelling}` for another scanner")),
            });
        }
    }
    found
}

/// Counts lines on the way to rising places of a text.
struct Lines<'t> {
    text: &'t [u8],
    at: usize,
    line: u64,
}

impl<'t> Lines<'t> {
    fn of(text: &'t [u8]) -> Self {
        let (at, line) = (0, 1);
        Self { text, at, line }
    }

    fn number_at(&mut self, at: usize) -> u64 {
        let passed = &self.text[self.at..at];
        self.line += memchr::memchr_iter(b'\n', passed).count() as u64;
        self.at = at;
        self.line
    }
}

/// The markers of one text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Marked {
    /// The file, as one would type it.
    pub(super) shown: String,
    /// The file inside an archive; `None` outside of archives.
    pub(super) member: Option<String>,
    /// The commit that held it; `None` where no history was looked at.
    pub(super) commit: Option<String>,
    /// Sorted by line; not empty.
    pub(super) markers: Vec<Marker>,
}

/// Puts the state of what markers accept, and gives what is wrong with the markers: those that
/// accept nothing and those that say no reason.
pub(super) fn apply(found: &mut [Found], marked: &[Marked], pack: &Pack) -> Vec<Found> {
    let mut by_text: HashMap<_, Vec<usize>> = HashMap::new();
    for (at, text) in marked.iter().enumerate() {
        let key = (
            text.shown.as_str(),
            text.member.as_deref(),
            text.commit.as_deref(),
        );
        by_text.entry(key).or_default().push(at);
    }
    let mut used: Vec<Vec<bool>> = marked
        .iter()
        .map(|text| vec![false; text.markers.len()])
        .collect();
    for Found { finding, .. } in found {
        let (Some(path), Some(detail)) = (&finding.path, &mut finding.detail) else {
            continue;
        };
        let line = finding.line.unwrap_or(1);
        let key = (
            path.as_str(),
            detail.member.as_deref(),
            detail.commit.as_deref(),
        );
        let texts = by_text.get(&key);
        let lines = (line, detail.end_line.unwrap_or(line));
        for at in texts.into_iter().flatten() {
            for (number, marker) in marked[*at].markers.iter().enumerate() {
                if marker.accepts(&detail.rule_id, lines) {
                    used[*at][number] = true;
                    detail.state = State::Suppressed;
                    detail.reason = detail.reason.take().or_else(|| marker.reason.clone());
                }
            }
        }
    }
    // Nobody can mend a marker of the past.
    let present = marked.iter().zip(used);
    let present = present.filter(|(text, _)| text.commit.is_none());
    let judged = present.flat_map(|(text, used)| {
        let each = text.markers.iter().zip(used);
        each.filter_map(move |(marker, used)| fault(marker, used, (text, pack)))
    });
    judged.collect()
}

/// What is wrong with a marker.
fn fault(marker: &Marker, used: bool, (text, pack): (&Marked, &Pack)) -> Option<Found> {
    let Who::Rules(rules) = &marker.who else {
        // Written for another scanner: whether it is of use there is not ours to say.
        return None;
    };
    let place = Place {
        shown: &text.shown,
        member: text.member.as_deref(),
        line: Some(marker.line),
        ..Place::default()
    };
    if used {
        let check = pack.checks.get(UNEXPLAINED)?;
        let message = "the marker says no reason";
        return marker
            .reason
            .is_none()
            .then(|| Found::by_check(check, &place, message));
    }
    let check = pack.checks.get(UNUSED)?;
    let unknown = rules.iter().find(|rule| !pack.knows(rule));
    let message = match unknown {
        Some(rule) => format!("the marker names `{rule}`, which is no rule and no family"),
        None => format!(
            "the marker accepts nothing that `{}` finds there",
            rules.join(", ")
        ),
    };
    let mut found = Found::by_check(check, &place, message);
    if let Some(likely) = unknown.and_then(|rule| pack.nearest(rule)) {
        found.finding = found.finding.with_hint(format!("did you mean `{likely}`?"));
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text with markers for `MARK`, which would be found in this file if they stood here.
    fn marked(text: &str) -> String {
        text.replace("MARK", std::str::from_utf8(OURS).unwrap_or_default())
    }

    /// `line covers rules reason`, one line a marker.
    fn read(text: &str, honors_foreign: bool) -> Vec<String> {
        let text = marked(text);
        let markers = markers(text.as_bytes(), 0..text.len(), honors_foreign);
        let shown = markers.iter().map(|marker| {
            let who = match &marker.who {
                Who::Rules(rules) => rules.join("+"),
                Who::Foreign(spelling) => format!("<{spelling}>"),
            };
            let reason = marker.reason.as_deref().unwrap_or("-");
            format!("{} {} {who} {reason}", marker.line, marker.covers)
        });
        shown.collect()
    }

    #[test]
    fn markers_are_read_as_the_table_says() {
        for (text, expected) in [
            ("x = 1 # MARK[a.b] reason=a test", &["1 1 a.b a test"][..]),
            ("\n\n// MARK-next[a.b]\nx", &["3 4 a.b -"]),
            (
                "/* MARK[a.b, c.*,d] reason=why not */ x",
                &["1 1 a.b+c.*+d why not"],
            ),
            ("<!-- MARK[a.b] reason=why -->", &["1 1 a.b why"]),
            ("{# MARK[a.b] reason=why #}", &["1 1 a.b why"]),
            (
                "MARK[a.b] reason=\"so */ said\" rest",
                &["1 1 a.b so */ said"],
            ),
            ("MARK[a.b]: reason=why\r\nnext", &["1 1 a.b why"]),
            ("MARK[a.b] reason=  \n", &["1 1 a.b -"]),
            ("MARK[a.b] because\nreason=x", &["1 1 a.b -"]),
            ("MARK[*]", &["1 1 * -"]),
            (
                "MARK[a] MARK[b]\nMARK[c]",
                &["1 1 a -", "1 1 b -", "2 2 c -"],
            ),
            ("MARK[RULE] MARK[rule-id] MARK[] MARK[a,]", &[]),
            ("MARK [a] MARK MARKed[a] MARK[a\n]", &[]),
            ("x # nosec, gitleaks:allow", &[]),
        ] {
            assert_eq!(read(text, false), expected, "{text}");
        }
    }

    #[test]
    fn markers_of_other_scanners_count_where_they_are_honoured_as_whole_words() {
        let why = |spelling: &str| format!("<{spelling}> marked `{spelling}` for another scanner");
        for (text, expected) in [
            ("x # NOSEC B105", vec![format!("1 1 {}", why("nosec"))]),
            ("a nanosecond\nnosec_x", vec![]),
            (
                "x // gitleaks:allow",
                vec![format!("1 1 {}", why("gitleaks:allow"))],
            ),
            (
                "# pragma: allowlist nextline secret\nx",
                vec![format!("1 2 {}", why("pragma: allowlist nextline secret"))],
            ),
            (
                "\nx # MARK[a] trufflehog:ignore",
                vec![
                    "2 2 a -".to_owned(),
                    format!("2 2 {}", why("trufflehog:ignore")),
                ],
            ),
        ] {
            assert_eq!(read(text, true), expected, "{text}");
        }
    }

    #[test]
    fn a_pattern_names_rules_by_whole_segments() {
        for (pattern, rule, expected) in [
            ("github.pat", "github.pat", true),
            ("github.*", "github.pat", true),
            ("github", "github.pat", true),
            ("github.pat.*", "github.pat.classic", true),
            ("git", "github.pat", false),
            ("git*", "github.pat", false),
            ("*", "github.pat", false),
            ("github.pat", "github.pats", false),
            ("github.pat.classic", "github.pat", false),
        ] {
            assert_eq!(names(pattern, rule), expected, "{pattern} {rule}");
        }
    }

    fn pack() -> Pack {
        let mut pack = Pack::default();
        let check = |id: &str| {
            format!("[[check]]\nid = '{id}'\ntitle = 't'\ncategory = 'secret'\nseverity = 'high'\n")
        };
        let ids = ["github.pat", "gitlab.pat", UNUSED, UNEXPLAINED, EXPIRED];
        let text: String = ids.iter().map(|id| check(id)).collect();
        assert!(pack.add(&text).is_ok());
        pack
    }

    /// The states of findings of a rule on lines, and what is wrong with the markers of a text.
    fn applied(text: &str, found: &[(&str, Option<u64>, u64)]) -> (Vec<String>, Vec<String>) {
        let (pack, text) = (pack(), marked(text));
        let found = found.iter().map(|(id, line, end_line)| {
            let place = Place {
                shown: "a.txt",
                line: *line,
                end_line: Some(*end_line),
                ..Place::default()
            };
            Found::by_check(&pack.checks[*id], &place, "x")
        });
        let mut found: Vec<Found> = found.collect();
        let marked = Marked {
            shown: "a.txt".into(),
            member: None,
            commit: None,
            markers: markers(text.as_bytes(), 0..text.len(), true),
        };
        let faults = apply(&mut found, &[marked], &pack);
        let states = found.iter().filter_map(|one| {
            let detail = one.finding.detail.as_ref()?;
            let reason = detail.reason.as_deref().unwrap_or("-");
            Some(format!("{:?} {reason}", detail.state))
        });
        let faults = faults.iter().filter_map(|one| {
            let detail = one.finding.detail.as_ref()?;
            let line = one.finding.line.unwrap_or(0);
            let hint = one.finding.hint.as_deref();
            let hint = hint.filter(|hint| hint.starts_with("did")).unwrap_or("");
            Some(format!(
                "{line} {} {} {hint}",
                detail.rule_id, one.finding.message
            ))
        });
        (states.collect(), faults.collect())
    }

    #[test]
    fn findings_are_accepted_where_a_marker_is_about_them() {
        let open = "Open -";
        for (text, found, expected) in [
            (
                "x # MARK[github.pat] reason=why",
                ("github.pat", Some(1), 1),
                "Suppressed why",
            ),
            (
                "x # MARK[github] reason=why",
                ("github.pat", Some(1), 1),
                "Suppressed why",
            ),
            (
                "x # MARK[gitlab.*] reason=why",
                ("github.pat", Some(1), 1),
                open,
            ),
            (
                "\nx # MARK[github.*] reason=why",
                ("github.pat", Some(1), 1),
                open,
            ),
            (
                "# MARK-next[github.*] reason=why\nx",
                ("github.pat", Some(2), 9),
                "Suppressed why",
            ),
            (
                "\n\n# MARK[github.*] reason=why",
                ("github.pat", Some(1), 5),
                "Suppressed why",
            ),
            (
                "MARK[github.pat] reason=why",
                ("github.pat", None, 1),
                "Suppressed why",
            ),
            (
                "\nMARK[github.pat] reason=why",
                ("github.pat", None, 1),
                open,
            ),
            (
                "x // nosec",
                ("github.pat", Some(1), 1),
                "Suppressed marked `nosec` for another scanner",
            ),
        ] {
            assert_eq!(applied(text, &[found]).0, [expected], "{text}");
        }
    }

    #[test]
    fn markers_that_accept_nothing_or_say_no_reason_are_told() {
        for (text, found, expected) in [
            (
                "MARK[github.pat] reason=why",
                &[("github.pat", Some(1), 1)][..],
                &[][..],
            ),
            (
                "MARK[github.pat]",
                &[("github.pat", Some(1), 1)],
                &["1 suppression.unexplained the marker says no reason "],
            ),
            (
                "MARK[github.pat,gitlab] reason=why",
                &[],
                &[
                    "1 suppression.unused the marker accepts nothing that `github.pat, gitlab` finds there ",
                ],
            ),
            (
                "\nMARK[githup.pat]",
                &[("github.pat", Some(2), 2)],
                &[
                    "2 suppression.unused the marker names `githup.pat`, which is no rule and no family did you mean `github.pat`?",
                ],
            ),
            (
                "MARK[*]",
                &[("github.pat", Some(1), 1)],
                &["1 suppression.unused the marker names `*`, which is no rule and no family "],
            ),
            ("gitleaks:allow", &[], &[]),
        ] {
            assert_eq!(applied(text, found).1, expected, "{text}");
        }
    }
}
