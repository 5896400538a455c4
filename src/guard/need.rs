//! What a text must hold for a pattern to match in it: a run of bytes of some kind, read off the
//! parsed expression. Looking for it costs little, so that most places are done with before the
//! pattern is even compiled. Knows no rule.

use std::ops::Range;

use regex_syntax::hir::{Class, Hir, HirKind};

use super::runs::{self, ByteSet, DIGITS_MIN, Text};

/// The least that a run has to say, in bits, to be worth looking for.
const BITS_MIN: f64 = 12.0;
/// The shortest run worth looking for: a shorter one is everywhere.
const BYTES_MIN: usize = 4;

/// A run that every match holds.
#[derive(Debug)]
pub(super) struct Need {
    run: Run,
    /// Whether it is one of those that are known of a text.
    is_of_digits: bool,
}

/// So many bytes of a kind, one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Run {
    kind: ByteSet,
    least: usize,
}

impl Need {
    /// What every match of an expression holds; `None` where that says too little.
    pub(super) fn of(parsed: &Hir) -> Option<Self> {
        let says_enough = |run: &Run| run.least >= BYTES_MIN && run.bits() >= BITS_MIN;
        let run = held(parsed).filter(says_enough)?;
        Some(Self {
            is_of_digits: run.least >= DIGITS_MIN && run.kind.is_within(ByteSet::DIGITS),
            run,
        })
    }

    /// Whether a part of a text holds it.
    pub(super) fn is_in(&self, text: &Text<'_>, part: Range<usize>) -> bool {
        let Run { kind, least } = &self.run;
        if self.is_of_digits && !text.has_digits(&part, *least) {
            return false;
        }
        runs::find(&text.bytes[part], 0, *least, |byte| kind.has(byte)).is_some()
    }
}

impl Run {
    /// What every match of an expression begins with.
    pub(super) fn that_begins(parsed: &Hir) -> Self {
        beginning(parsed).0
    }

    /// Whether a text begins with it.
    pub(super) fn begins(&self, text: &[u8]) -> bool {
        let run = text.get(..self.least);
        run.is_some_and(|run| run.iter().all(|byte| self.kind.has(*byte)))
    }

    /// How much it says that such a run is there, in bits.
    fn bits(&self) -> f64 {
        let members = self.kind.len().max(1) as f64;
        self.least as f64 * (256.0 / members).log2()
    }

    fn then(mut self, other: &Self) -> Self {
        self.kind.extend(&other.kind);
        self.least += other.least;
        self
    }

    fn or(mut self, other: &Self) -> Self {
        self.kind.extend(&other.kind);
        self.least = self.least.min(other.least);
        self
    }
}

fn better(one: Option<Run>, other: Option<Run>) -> Option<Run> {
    match (one, other) {
        (Some(one), Some(other)) if other.bits() > one.bits() => Some(other),
        (one, other) => one.or(other),
    }
}

/// The run that says most among those that every match holds.
fn held(parsed: &Hir) -> Option<Run> {
    let inner = match parsed.kind() {
        HirKind::Capture(capture) => held(&capture.sub),
        HirKind::Repetition(repetition) if repetition.min > 0 => held(&repetition.sub),
        HirKind::Concat(parts) => {
            let inner = parts.iter().map(held).fold(None, better);
            (0..parts.len()).fold(inner, |best, from| {
                let mut run: Option<Run> = None;
                let joined = parts[from..].iter().map_while(|part| {
                    let part = whole(part)?;
                    run = Some(match run.take() {
                        Some(run) => run.then(&part),
                        None => part,
                    });
                    Some(run.clone())
                });
                joined.fold(best, better)
            })
        }
        HirKind::Alternation(parts) => parts
            .iter()
            .map(held)
            .reduce(|one, other| Some(one?.or(&other?)))
            .flatten(),
        _ => None,
    };
    better(whole(parsed), inner)
}

/// The run that every match begins with, and whether it is all of every match.
fn beginning(parsed: &Hir) -> (Run, bool) {
    if let Some(run) = whole(parsed) {
        return (run, true);
    }
    let nothing = Run {
        kind: ByteSet::EMPTY,
        least: 0,
    };
    let run = match parsed.kind() {
        HirKind::Capture(capture) => beginning(&capture.sub).0,
        HirKind::Repetition(repetition) if repetition.min > 0 => beginning(&repetition.sub).0,
        HirKind::Concat(parts) => {
            let mut run = nothing;
            for part in parts {
                let (more, is_whole) = beginning(part);
                run = run.then(&more);
                if !is_whole {
                    break;
                }
            }
            run
        }
        HirKind::Alternation(parts) => {
            let runs = parts.iter().map(|part| beginning(part).0);
            runs.reduce(|one, other| one.or(&other)).unwrap_or(nothing)
        }
        _ => nothing,
    };
    (run, false)
}

/// The bytes that matches consist of, and how many there are at least; `None` where they may be any.
fn whole(parsed: &Hir) -> Option<Run> {
    let mut kind = ByteSet::EMPTY;
    match parsed.kind() {
        HirKind::Empty | HirKind::Look(_) => Some(Run { kind, least: 0 }),
        HirKind::Literal(literal) => {
            literal.0.iter().for_each(|byte| kind.insert(*byte));
            let least = literal.0.len();
            Some(Run { kind, least })
        }
        HirKind::Class(Class::Bytes(class)) => {
            let bytes = class.iter().flat_map(|range| range.start()..=range.end());
            bytes.for_each(|byte| kind.insert(byte));
            Some(Run { kind, least: 1 })
        }
        HirKind::Class(Class::Unicode(_)) => None,
        HirKind::Repetition(repetition) => {
            let part = whole(&repetition.sub)?;
            let least = part.least.saturating_mul(repetition.min as usize);
            Some(Run { least, ..part })
        }
        HirKind::Capture(capture) => whole(&capture.sub),
        HirKind::Concat(parts) => parts
            .iter()
            .map(whole)
            .reduce(|one, other| Some(one?.then(&other?)))
            .flatten(),
        HirKind::Alternation(parts) => parts
            .iter()
            .map(whole)
            .reduce(|one, other| Some(one?.or(&other?)))
            .flatten(),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use proptest::prelude::*;
    use regex_automata::{meta, util::syntax};

    use super::*;

    fn need(pattern: &str) -> Option<Need> {
        let syntax = syntax::Config::new().unicode(false).utf8(false);
        Need::of(&syntax::parse_with(pattern, &syntax).unwrap())
    }

    #[test]
    fn what_every_match_begins_with_is_read_off() {
        for (pattern, least, has, lacks) in [
            (r"\b(ghp_[0-9A-Za-z]{36})\b", 40, b'_', b'-'),
            (r"key(?:[0-9]{4}x|[a-f]{3}[^:])z", 8, b'k', b':'),
            (r"(?:-?[0-9a-f]{8}){2}[.]", 17, b'-', b'k'),
            (r"[0-9]{0,20}x?", 0, b'x', b'y'),
        ] {
            let syntax = syntax::Config::new().unicode(false).utf8(false);
            let begin = Run::that_begins(&syntax::parse_with(pattern, &syntax).unwrap());
            assert_eq!(begin.least, least, "{pattern}");
            assert!(begin.kind.has(has) && !begin.kind.has(lacks), "{pattern}");
        }
    }

    #[test]
    fn the_run_that_says_most_is_read_off() {
        for (pattern, least, has, lacks) in [
            (r"\b(ghp_[0-9A-Za-z]{36})\b", 40, b'_', b'-'),
            (r"(?:a|b)([0-9a-f]{32})[\s;]", 32, b'0', b'g'),
            (
                r"[^x]{0,9}([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})",
                36,
                b'-',
                b'g',
            ),
            (r"(?i)key[ =]+(?:[0-9]{20}|[a-f]{10,30})", 14, b'f', b'g'),
        ] {
            let need = need(pattern).unwrap().run;
            assert_eq!(need.least, least, "{pattern}");
            assert!(need.kind.has(has) && !need.kind.has(lacks), "{pattern}");
        }
        for pattern in [r"a|[^\n]{3,}", r"[0-9]{0,20}", r"(?s).{8}", "ab"] {
            assert!(need(pattern).is_none(), "{pattern}");
        }
    }

    proptest! {
        /// Whatever an expression matches holds what it needs.
        #[test]
        fn no_match_is_lost(
            pattern in proptest::sample::select(vec![
                r"a{4,}b{2,6}", r"(?:ab|ba){3}c?", r"(a{5}|b{4,}c)+", r"\b[ab]{4}\b|c{6}",
                r"(?:a(?:b{4}|c{5})){1,2}[abc]*", r"(?:[ab]{2}c){2}|(?:a?b){4}",
                r"ab(?:c|[^x]b)+a", r"(?:(?s-u:.)b|ac){2}", r"\Ba{0,2}(?:b|c{2})(?:$|[^b])",
            ]),
            text in proptest::collection::vec(proptest::sample::select(b"abc ".to_vec()), 0..40),
        ) {
            let syntax = syntax::Config::new().unicode(false).utf8(false);
            let regex = meta::Builder::new().syntax(syntax).build(pattern).unwrap();
            if let (Some(found), Some(need)) = (regex.find(&text), need(pattern)) {
                prop_assert!(need.is_in(&Text::new(&text), 0..text.len()), "{pattern} {found:?}");
            }
            let parsed = syntax::parse_with(pattern, &syntax).unwrap();
            if let Some(found) = regex.find(&text) {
                let begin = Run::that_begins(&parsed);
                prop_assert!(begin.begins(&text[found.start()..]), "{pattern} {found:?}");
            }
        }
    }
}
