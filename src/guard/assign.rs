//! What stands between a name and the value that is assigned to it, in whatever language: more of
//! the identifier, a closing quote or bracket, an operator or a blank, a call, a scheme and an
//! opening quote. Knows no rule: where a value may begin is all that is said.

use std::ops::Range;

use super::runs::ByteSet;

/// How much more of an identifier, with what closes around it, may follow a name.
const REST_BYTES_MAX: usize = 40;
/// Blanks before an operator, and white space behind it.
const BLANKS_MAX: usize = 8;
const SPACE_MAX: usize = 24;
/// The longest name of a called function, or of an element.
const WORD_BYTES_MAX: usize = 24;
/// How much more of a name, and of an index, a syntax allows behind a keyword.
const NAME_BYTES_MAX: usize = 80;
const INDEX_BYTES_MAX: usize = 22;
/// Signs that close a name, and blanks behind them.
const CLOSERS_MAX: usize = 6;
const NAME_BLANKS_MAX: usize = 20;
/// The longest call before a quote, and what it is written with: names, and what connects them.
const CALL_BYTES_MAX: usize = 72;
const CALL: &ByteSet = &ByteSet::WORDS.with(b" .:@$&");
/// How far behind a name its tag may end.
const TAG_BYTES_MAX: usize = 64;
/// Names of the entry that holds the value of what another one names.
const ENTRIES: [&[u8]; 3] = [b"value", b"content", b"default"];
/// Words that introduce a credential in a header.
const SCHEMES: [&[u8]; 5] = [b"bearer ", b"token ", b"basic ", b"apikey ", b"key "];

/// Whether what follows the name that a keyword is part of may set something, by a few bytes: most
/// names are only used. Never says no where a value is assigned in any syntax that rules know.
pub(super) fn may_set(text: &[u8], keyword: &Range<usize>) -> bool {
    let is_name =
        |byte: &u8| byte.is_ascii_alphanumeric() || b"_.-".contains(byte) || !byte.is_ascii();
    // A keyword may hold what closes a name, too.
    let within = text[keyword.clone()].iter().rposition(is_name);
    let name = run(
        text,
        (
            keyword.start + within.map_or(0, |at| at + 1),
            NAME_BYTES_MAX,
        ),
        is_name,
    );
    let at = match text.get(name) {
        Some(b'[') => run(text, (name, INDEX_BYTES_MAX), |byte| *byte != b']'),
        _ => name,
    };
    let at = run(text, (at, CLOSERS_MAX), |byte| b"\\\"'`]".contains(byte));
    let blanks = run(text, (at, NAME_BLANKS_MAX), is_blank);
    match text.get(blanks) {
        Some(b':' | b'?' | b'+' | b'|' | b'.' | b'&' | b'!' | b'=' | b'<' | b'-' | b'>') => true,
        Some(b'"' | b'\'' | b'`' | b'\\' | b'[' | b']' | b'*') => true,
        Some(b',' | b'(') => may_open(text, blanks + 1),
        Some(next) if blanks > at || next.is_ascii_whitespace() => {
            may_be_declared(text, blanks) || may_open(text, blanks) || is_in_tag(text, at)
        }
        _ => false,
    }
}

/// Whether a value in quotes may begin behind white space, a prefix or a call; or the entry that
/// holds the value of what was named.
fn may_open(text: &[u8], at: usize) -> bool {
    let at = run(text, (at, SPACE_MAX), u8::is_ascii_whitespace);
    let rest = &text[at..];
    let call = run(rest, (0, CALL_BYTES_MAX), |byte| CALL.has(*byte));
    let introduced = |word: &&[u8]| {
        let rest = match rest {
            [b'"' | b'\'', rest @ ..] => rest,
            rest => rest,
        };
        rest.starts_with(word)
    };
    match rest.get(call) {
        Some(b'"' | b'\'' | b'`' | b'\\') => true,
        Some(b'(') => rest[call + 1..]
            .iter()
            .take(4)
            .any(|byte| is_quote(Some(byte)) || *byte == b'&'),
        _ => memchr::memchr(b'&', &rest[..call]).is_some() || ENTRIES.iter().any(introduced),
    }
}

/// Whether the name stands before another word and an equals sign: it is a type, or part of one.
fn may_be_declared(text: &[u8], at: usize) -> bool {
    let word = run(text, (at, CLOSERS_MAX + NAME_BLANKS_MAX), |byte| {
        is_word(byte) || b".[]*".contains(byte)
    });
    let rest = &text[word..];
    rest.starts_with(b"=") || rest.starts_with(b" =")
}

/// Whether the name stands in a tag whose element's text follows.
fn is_in_tag(text: &[u8], at: usize) -> bool {
    let rest = &text[at..text.len().min(at + TAG_BYTES_MAX)];
    memchr::memchr3(b'\r', b'<', b'>', rest).is_some_and(|at| rest[at] == b'>')
}

/// The places where a value may begin behind a name that ends at `from`, nearest first.
pub(super) fn value_starts(text: &[u8], from: usize) -> impl Iterator<Item = usize> {
    let is_rest = |byte: &u8| byte.is_ascii_alphanumeric() || b"_ .-[]\"'\\".contains(byte);
    let tail = text.get(from..).unwrap_or_default();
    let rest = tail
        .iter()
        .take(REST_BYTES_MAX)
        .take_while(|byte| is_rest(byte));
    let mut last = 0;
    (from..=from + rest.count())
        .filter_map(|at| operator_end(text, at))
        .flat_map(|at| openings(text, at))
        .filter(move |start| {
            let is_further = *start > last;
            last = last.max(*start);
            is_further
        })
}

/// Where an operator, or a mere blank, ends with the white space behind it.
fn operator_end(text: &[u8], at: usize) -> Option<usize> {
    let blanks = run(text, (at, BLANKS_MAX), is_blank);
    match sign_end(text, blanks) {
        Some(end) => Some(space_end(text, end)),
        None => (blanks > at).then_some(blanks),
    }
}

/// Where the white space behind an operator ends: on the same line, or indented on the next one. A
/// line that begins at its margin sets something else.
fn space_end(text: &[u8], at: usize) -> usize {
    let space = run(text, (at, SPACE_MAX), u8::is_ascii_whitespace);
    match text.get(space.wrapping_sub(1)) {
        Some(b'\n' | b'\r') if !closes_element(text, at) => run(text, (at, SPACE_MAX), is_blank),
        _ => space,
    }
}

fn closes_element(text: &[u8], at: usize) -> bool {
    at.checked_sub(1).and_then(|before| text.get(before)) == Some(&b'>')
}

/// Where an operator ends.
fn sign_end(text: &[u8], at: usize) -> Option<usize> {
    let rest = text.get(at..)?;
    // `=`, `==`, `:=`, `?=`, `+=`, `||=`, `:::=`, `=>`, …
    let before = run(rest, (0, 3), |byte| b":?+|.!".contains(byte));
    let equals = run(rest, (before, 3), |byte| *byte == b'=');
    if equals > before {
        let arrow = usize::from(rest.get(equals) == Some(&b'>'));
        return Some(at + equals + arrow);
    }
    let length = match rest {
        [b'|', b'|', ..] | [b':', b':', ..] | [b'-', b'>', ..] => 2,
        [b'<', b'-', ..] if rest.get(2) != Some(&b'-') => 2,
        [b':' | b',' | b'>', ..] => 1,
        [b'<', ..] => next_element(rest)?,
        _ => return None,
    };
    Some(at + length)
}

/// The length of an element's end and the beginning of the next one: an entry of a property list.
fn next_element(rest: &[u8]) -> Option<usize> {
    let slash = usize::from(rest.get(1) == Some(&b'/'));
    let tag_end = |at: usize| {
        let end = run(rest, (at, WORD_BYTES_MAX), is_word);
        (end > at && rest.get(end) == Some(&b'>')).then_some(end + 1)
    };
    let space = run(rest, (tag_end(1 + slash)?, 40), u8::is_ascii_whitespace);
    match rest.get(space) {
        Some(b'<') => tag_end(space + 1),
        _ => None,
    }
}

/// Where the value begins behind an operator: past a call, a prefix and quotes, and past a scheme
/// where there is one.
fn openings(text: &[u8], at: usize) -> impl Iterator<Item = usize> + use<> {
    let called = run(text, (at, WORD_BYTES_MAX), |byte| {
        is_word(byte) || *byte == b'.'
    });
    let at = match text.get(called) {
        Some(b'(') if called > at => called + 1,
        _ => at,
    };
    let has_prefix = match text.get(at) {
        Some(b'@' | b'$') => true,
        Some(b'b' | b'B' | b'u' | b'U' | b'r' | b'R' | b'f' | b'L' | b'N') => {
            is_quote(text.get(at + 1))
        }
        _ => false,
    };
    let at = at + usize::from(has_prefix);
    let at = run(text, (at, 3), |byte| *byte == b'\\');
    let at = run(text, (at, 3), |byte| matches!(byte, b'"' | b'\'' | b'`'));
    let has = |scheme: &&&[u8]| {
        let found = text.get(at..at + scheme.len());
        found.is_some_and(|found| found.eq_ignore_ascii_case(scheme))
    };
    let scheme = SCHEMES.iter().find(has).map(|scheme| at + scheme.len());
    [Some(at), scheme].into_iter().flatten()
}

fn is_quote(byte: Option<&u8>) -> bool {
    matches!(byte, Some(b'"' | b'\'' | b'`' | b'\\'))
}

fn is_blank(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

fn is_word(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || *byte == b'_'
}

/// Where a run of at most so many fitting bytes ends.
fn run(text: &[u8], (at, most): (usize, usize), fits: impl Fn(&u8) -> bool) -> usize {
    let rest = text.get(at..).unwrap_or_default();
    at + rest.iter().take(most).take_while(|byte| fits(byte)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_begins_where_a_reader_sees_it() {
        for text in [
            "name=VALUE",
            "name = \"VALUE\"",
            "name: 'VALUE'",
            "\"name\": \"VALUE\"",
            "{\\\"name\\\":\\\"VALUE\\\"}",
            "name_api_key := \"VALUE\"",
            "name.api.key => 'VALUE'",
            "config['name']['key'] ||= \"VALUE\"",
            "name api key VALUE",
            "nameToken, VALUE",
            "<nameToken>VALUE</nameToken>",
            "<key>name</key>\n  <string>VALUE</string>",
            "name <- \"VALUE\"",
            "name: Bearer VALUE",
            "name = String(\"VALUE\")",
            "name = b'VALUE'",
            "name = @\"VALUE\"",
            "--name VALUE",
            "name?=VALUE",
            "name :::= \"VALUE\"",
            "name:\n    VALUE",
        ] {
            let from = text.find("name").map_or(0, |at| at + 4);
            let value = text.find("VALUE").unwrap_or_default();
            let starts: Vec<usize> = value_starts(text.as_bytes(), from).collect();
            assert!(starts.contains(&value), "{text}: {value} in {starts:?}");
            assert!(starts.is_sorted(), "{text}: {starts:?}");
        }
    }

    #[test]
    fn nothing_is_assigned_across_other_text() {
        for text in [
            "name",
            "name;VALUE",
            "name(VALUE)",
            "name\nVALUE",
            "name=\nVALUE",
            "name<b>VALUE",
        ] {
            let starts: Vec<usize> = value_starts(text.as_bytes(), 4).collect();
            let value = text.find("VALUE");
            assert!(
                value.is_none_or(|value| !starts.contains(&value)),
                "{text}: {starts:?}"
            );
        }
    }
}
