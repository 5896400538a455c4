//! One regular expression of a rule: read, compiled when it is first needed, and what it tells of
//! where and whether it can match. Knows no rule.

use std::ops::Range;
use std::sync::OnceLock;

use regex_automata::meta;
use regex_automata::util::captures::Captures;
use regex_automata::util::syntax;
use regex_syntax::hir::Hir;
use regex_syntax::hir::literal::{ExtractKind, Extractor};

use super::need::{Need, Run};
use super::runs::Text;

/// The most memory that a compiled pattern may take.
const PATTERN_BYTES_MAX: usize = 1 << 20;
/// The most memory of a pattern's lazily built automaton, per thread.
const LAZY_BYTES_MAX: usize = 1 << 20;

/// A regular expression over bytes, compiled when it is first needed.
#[derive(Debug)]
pub struct Pattern {
    text: String,
    extent: Extent,
    sketch: OnceLock<Option<Sketch>>,
    regex: OnceLock<Option<meta::Regex>>,
}

/// What a pattern is for.
#[derive(Debug)]
enum Extent {
    /// A few hundred bytes at a known place, for which little is built.
    Brief,
    /// Stretches of any length around these keywords.
    Around(Vec<String>),
}

/// What is read off an expression without compiling it.
#[derive(Debug)]
pub(super) struct Sketch {
    pub(super) starts: Starts,
    need: Option<Need>,
    begin: Run,
}

/// Where the matches of a pattern start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Starts {
    /// Where one of the rule's keywords does, all of them.
    AtKeyword,
    /// Somewhere near one.
    Anywhere,
}

/// What matching one pattern takes, kept from match to match: by one thread, so that none waits for
/// another.
#[derive(Debug, Default)]
pub(super) struct Matcher(Option<Box<(meta::Cache, Captures)>>);

impl Matcher {
    /// The compiled expression with what it takes: always the same pattern's. `None` for one that was
    /// never checked and does not compile.
    pub(super) fn of<'m, 'p>(
        &'m mut self,
        pattern: &'p Pattern,
    ) -> Option<(&'p meta::Regex, &'m mut meta::Cache, &'m mut Captures)> {
        let regex = pattern.regex()?;
        let make = || Box::new((regex.create_cache(), regex.create_captures()));
        let (cache, captures) = &mut **self.0.get_or_insert_with(make);
        Some((regex, cache, captures))
    }
}

impl Pattern {
    /// A pattern for a few hundred bytes at a known place.
    pub(super) fn brief(text: String) -> Self {
        Self::new(text, Extent::Brief)
    }

    /// A pattern for what stands around keywords.
    pub(super) fn around(text: String, keywords: &[String]) -> Self {
        Self::new(text, Extent::Around(keywords.to_vec()))
    }

    fn new(text: String, extent: Extent) -> Self {
        Self {
            text,
            extent,
            sketch: OnceLock::new(),
            regex: OnceLock::new(),
        }
    }

    /// The expression with its macros expanded.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What is known without compiling it; `None` for one that does not parse.
    pub(super) fn sketch(&self) -> Option<&Sketch> {
        let read = || {
            let parsed = self.parse().ok()?;
            Some(Sketch {
                starts: self.starts(&parsed),
                need: Need::of(&parsed),
                begin: Run::that_begins(&parsed),
            })
        };
        self.sketch.get_or_init(read).as_ref()
    }

    /// The compiled expression; `None` for one that was never checked and does not compile.
    pub(super) fn regex(&self) -> Option<&meta::Regex> {
        self.regex.get_or_init(|| self.compile().ok()).as_ref()
    }

    pub(super) fn check(&self) -> Result<(), String> {
        let regex = self.compile()?;
        // Whoever was first compiled the same text.
        let _ = self.regex.set(Some(regex));
        Ok(())
    }

    /// Whether the whole of `text` matches an anchored pattern.
    pub fn is_match(&self, text: &[u8]) -> bool {
        self.regex().is_some_and(|regex| regex.is_match(text))
    }

    fn parse(&self) -> Result<Hir, String> {
        let syntax = syntax::Config::new().unicode(false).utf8(false);
        syntax::parse_with(&self.text, &syntax).map_err(|error| error.to_string())
    }

    fn starts(&self, parsed: &Hir) -> Starts {
        match &self.extent {
            Extent::Around(keywords) if all_begin_with(parsed, keywords) => Starts::AtKeyword,
            _ => Starts::Anywhere,
        }
    }

    fn compile(&self) -> Result<meta::Regex, String> {
        let parsed = self.parse()?;
        let is_long =
            matches!(self.extent, Extent::Around(_)) && self.starts(&parsed) == Starts::Anywhere;
        let config = meta::Config::new()
            .utf8_empty(false)
            .nfa_size_limit(Some(PATTERN_BYTES_MAX))
            .onepass(false)
            .hybrid(is_long)
            .hybrid_cache_capacity(LAZY_BYTES_MAX);
        let built = meta::Builder::new()
            .configure(config)
            .build_from_hir(&parsed);
        built.map_err(|error| match error.size_limit() {
            Some(limit) => format!("compiles to more than {limit} bytes"),
            None => error.to_string(),
        })
    }
}

impl Sketch {
    /// Whether a match may lie in a part of a text.
    pub(super) fn may_match(&self, text: &Text<'_>, part: Range<usize>) -> bool {
        self.need.as_ref().is_none_or(|need| need.is_in(text, part))
    }

    /// Whether a match may begin where a text does.
    pub(super) fn may_begin(&self, text: &[u8]) -> bool {
        self.begin.begins(text)
    }
}

/// Whether every match of an expression begins with one of the keywords, whatever the case.
fn all_begin_with(parsed: &Hir, keywords: &[String]) -> bool {
    let prefixes = Extractor::new().kind(ExtractKind::Prefix).extract(parsed);
    prefixes.literals().is_some_and(|literals| {
        literals.iter().all(|literal| {
            let literal = literal.as_bytes().to_ascii_lowercase();
            let begins = |keyword: &String| literal.starts_with(keyword.as_bytes());
            keywords.iter().any(begins)
        })
    })
}
