//! What a text must hold for a pattern to match in it: a run of bytes of some kind, read off the
//! parsed expression. Looking for it costs little, so that most places are done with before the
//! pattern is even compiled. Knows no rule.

use regex_syntax::hir::{Class, Hir, HirKind};

use super::runs::{self, ByteSet};

/// The least that a run has to say, in bits, to be worth looking for.
const BITS_MIN: f64 = 12.0;
/// The shortest run worth looking for: a shorter one is everywhere.
const BYTES_MIN: usize = 4;

/// A run that every match holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Need {
    kind: ByteSet,
    least: usize,
}

impl Need {
    /// What every match of an expression holds; `None` where that says too little.
    pub(super) fn of(parsed: &Hir) -> Option<Self> {
        let says_enough = |need: &Self| need.least >= BYTES_MIN && need.bits() >= BITS_MIN;
        held(parsed).filter(says_enough)
    }

    /// Whether a text holds it.
    pub(super) fn is_in(&self, text: &[u8]) -> bool {
        runs::find(text, 0, self.least, |byte| self.kind.has(byte)).is_some()
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

fn better(one: Option<Need>, other: Option<Need>) -> Option<Need> {
    match (one, other) {
        (Some(one), Some(other)) if other.bits() > one.bits() => Some(other),
        (one, other) => one.or(other),
    }
}

/// The run that says most among those that every match holds.
fn held(parsed: &Hir) -> Option<Need> {
    let inner = match parsed.kind() {
        HirKind::Capture(capture) => held(&capture.sub),
        HirKind::Repetition(repetition) if repetition.min > 0 => held(&repetition.sub),
        HirKind::Concat(parts) => {
            let inner = parts.iter().map(held).fold(None, better);
            (0..parts.len()).fold(inner, |best, from| {
                let mut run: Option<Need> = None;
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

/// The bytes that matches consist of, and how many there are at least; `None` where they may be any.
fn whole(parsed: &Hir) -> Option<Need> {
    let mut kind = ByteSet::EMPTY;
    match parsed.kind() {
        HirKind::Empty | HirKind::Look(_) => Some(Need { kind, least: 0 }),
        HirKind::Literal(literal) => {
            literal.0.iter().for_each(|byte| kind.insert(*byte));
            let least = literal.0.len();
            Some(Need { kind, least })
        }
        HirKind::Class(Class::Bytes(class)) => {
            let bytes = class.iter().flat_map(|range| range.start()..=range.end());
            bytes.for_each(|byte| kind.insert(byte));
            Some(Need { kind, least: 1 })
        }
        HirKind::Class(Class::Unicode(_)) => None,
        HirKind::Repetition(repetition) => {
            let part = whole(&repetition.sub)?;
            let least = part.least.saturating_mul(repetition.min as usize);
            Some(Need { least, ..part })
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
            let need = need(pattern).unwrap();
            assert_eq!(need.least, least, "{pattern}");
            assert!(need.kind.has(has) && !need.kind.has(lacks), "{pattern}");
        }
        for pattern in [r"a|[^\n]{3,}", r"[0-9]{0,20}", r"(?s).{8}", "ab"] {
            assert_eq!(need(pattern), None, "{pattern}");
        }
    }

    proptest! {
        /// Whatever an expression matches holds what it needs.
        #[test]
        fn no_match_is_lost(
            pattern in proptest::sample::select(vec![
                r"a{4,}b{2,6}", r"(?:ab|ba){3}c?", r"(a{5}|b{4,}c)+", r"\b[ab]{4}\b|c{6}",
                r"(?:a(?:b{4}|c{5})){1,2}[abc]*", r"(?:[ab]{2}c){2}|(?:a?b){4}",
            ]),
            text in proptest::collection::vec(proptest::sample::select(b"abc ".to_vec()), 0..40),
        ) {
            let syntax = syntax::Config::new().unicode(false).utf8(false);
            let regex = meta::Builder::new().syntax(syntax).build(pattern).unwrap();
            if let (Some(found), Some(need)) = (regex.find(&text), need(pattern)) {
                prop_assert!(need.is_in(&text), "{pattern} {found:?}");
            }
        }
    }
}
