//! Patterns that exclude paths from an inventory. Owns their grammar; knows no disk.
//!
//! The grammar is small on purpose: a signed manifest carries its patterns, and a verifier in any
//! language must read them the same way. A pattern speaks of raw path bytes relative to the root:
//!
//! | in a pattern | matches | as a regular expression over bytes |
//! |---|---|---|
//! | `*` | any run of bytes without `/`, also none | `[^/]*` |
//! | `?` | one byte but `/` | `[^/]` |
//! | `**/` before a component | any number of whole components, also none | `(?:.*/)?` |
//! | `/**` at the end | everything below, at least one component | `/.*` |
//! | `**` alone | every path | `.*` |
//! | anything else | itself (UTF-8 bytes, case counts, a leading dot is nothing special) | itself |
//!
//! The whole path must match, `.` in the third column stands for newlines too, and **a pattern that
//! matches a directory excludes everything below it**. `[ ] { } ! \` are refused, being read
//! differently by different programs; so are empty, `.` and `..` components, a slash at either
//! end, `**` as a part of a component, and `**/**`.

use std::sync::OnceLock;

use globset::{GlobBuilder, GlobSet};

use crate::base::relpath::{self, RelPath};

/// A set of exclusion patterns in the order given; may be empty, and then excludes nothing.
#[derive(Debug, Clone, Default)]
pub struct Globs {
    patterns: Vec<String>,
    /// Compiled when a path is first asked about, or before.
    set: OnceLock<GlobSet>,
}

/// A pattern outside the grammar.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("pattern `{pattern}` {reason}")]
pub struct GlobError {
    /// The pattern as it was given.
    pub pattern: String,
    /// What is wrong with it, to be read after the pattern.
    pub reason: String,
}

impl Globs {
    /// Reads patterns; the module's page says what they mean.
    ///
    /// # Errors
    /// The first pattern outside the grammar.
    pub fn compile(patterns: &[String]) -> Result<Self, GlobError> {
        let globs = Self::read(patterns)?;
        let set = compiled(patterns)?;
        Ok(Self {
            set: OnceLock::from(set),
            ..globs
        })
    }

    /// Reads patterns that are known to compile, and compiles them when they are needed.
    ///
    /// # Errors
    /// The first pattern outside the grammar.
    pub fn read(patterns: &[String]) -> Result<Self, GlobError> {
        Self::check(patterns)?;
        Ok(Self {
            patterns: patterns.to_vec(),
            set: OnceLock::new(),
        })
    }

    /// Whether patterns are of the grammar, without compiling them: some megabytes of patterns cost
    /// a thousand times that, so that nobody's but a signer's are compiled.
    ///
    /// # Errors
    /// The first pattern outside the grammar.
    pub fn check(patterns: &[String]) -> Result<(), GlobError> {
        patterns.iter().try_for_each(|pattern| {
            check(pattern).map_err(|reason| GlobError {
                pattern: pattern.clone(),
                reason,
            })
        })
    }

    /// The patterns as they were given.
    pub fn patterns(&self) -> &[String] {
        &self.patterns
    }

    /// Whether a pattern matches the path or one of the directories that it lies in.
    pub fn excludes(&self, path: &RelPath) -> bool {
        !self.patterns.is_empty()
            && path
                .as_bytes()
                .iter()
                .enumerate()
                .filter(|(_, byte)| **byte == b'/')
                .map(|(slash, _)| &path.as_bytes()[..slash])
                .chain([path.as_bytes()])
                .any(|prefix| self.matches(prefix))
    }

    /// Whether a pattern matches exactly this path: enough where the walk prunes from the top.
    pub(super) fn matches(&self, path: &[u8]) -> bool {
        use std::os::unix::ffi::OsStrExt;
        if self.patterns.is_empty() {
            return false;
        }
        let compile = || compiled(&self.patterns).unwrap_or_default();
        let set = self.set.get_or_init(compile);
        set.is_match(std::ffi::OsStr::from_bytes(path))
    }
}

fn compiled(patterns: &[String]) -> Result<GlobSet, GlobError> {
    let mut set = GlobSet::builder();
    for pattern in patterns {
        let glob = GlobBuilder::new(pattern)
            .literal_separator(true)
            .backslash_escape(false)
            .build();
        set.add(glob.map_err(|error| GlobError {
            pattern: pattern.clone(),
            reason: format!("cannot be read: {error}"),
        })?);
    }
    set.build().map_err(|error| GlobError {
        pattern: error.glob().unwrap_or_default().into(),
        reason: format!("cannot be compiled: {error}"),
    })
}

/// The part of the grammar that `globset` would read in its own way.
fn check(pattern: &str) -> Result<(), String> {
    if let Some(found) = pattern.chars().find(|found| "[]{}!\\\0".contains(*found)) {
        return Err(format!("holds {found:?}, which no pattern may hold"));
    }
    if pattern.len() > relpath::BYTES_MAX {
        return Err(format!("is longer than {} bytes", relpath::BYTES_MAX));
    }
    let mut previous = "";
    for component in pattern.split('/') {
        match component {
            "" => return Err("is empty, absolute, or has an empty component".into()),
            "." | ".." => return Err("has a `.` or `..` component".into()),
            "**" if previous == "**" => {
                return Err("has `**/**`, which says no more than `**`".into());
            }
            "**" => {}
            _ if component.contains("**") => {
                return Err("has `**` as a part of a component; it must stand alone".into());
            }
            _ => {}
        }
        previous = component;
    }
    Ok(())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The module page's table, by other means than `globset`; verifiers in other languages do this.
    fn to_regex(pattern: &str) -> regex::bytes::Regex {
        let mut text = String::from(r"(?s-u)\A");
        let mut rest = pattern;
        if rest == "**" {
            (text, rest) = (text + ".*", "");
        }
        while let Some(first) = rest.chars().next() {
            let (translated, length) = if rest == "/**" {
                ("/.*".into(), 3)
            } else if rest.starts_with("**/") {
                ("(?:.*/)?".into(), 3)
            } else if first == '*' {
                ("[^/]*".into(), 1)
            } else if first == '?' {
                ("[^/]".into(), 1)
            } else {
                let literal: String = first
                    .to_string()
                    .bytes()
                    .map(|byte| format!(r"\x{byte:02x}"))
                    .collect();
                (literal, first.len_utf8())
            };
            text.push_str(&translated);
            rest = &rest[length..];
        }
        regex::bytes::Regex::new(&(text + r"\z")).unwrap()
    }

    fn path(bytes: &[u8]) -> RelPath {
        RelPath::parse(bytes).unwrap()
    }

    #[test]
    fn patterns_mean_what_the_table_says() {
        for (pattern, matched, unmatched) in [
            (
                "*.tmp",
                &[&b"a.tmp"[..], b".tmp", b"a.tmp/below", b"\xff\n.tmp"][..],
                &[&b"d/a.tmp"[..], b"a.tmpx"][..],
            ),
            ("**/*.tmp", &[b"a.tmp", b"d/e/a.tmp"], &[b"d/a.tmp.x"]),
            (
                "build",
                &[b"build", b"build/x/y"],
                &[b"a/build", b"Build", b"builds"],
            ),
            (
                "build/**",
                &[b"build/x", b"build/x/y"],
                &[b"build", b"a/build/x"],
            ),
            (
                "a/**/z",
                &[b"a/z", b"a/b/z", b"a/b/c/z"],
                &[b"a/bz", b"z", b"az"],
            ),
            (
                "a?c",
                &[b"abc", b"a\xffc", b"a\nc"],
                &[b"a/c", b"ac", "aéc".as_bytes()],
            ),
            ("a??c", &["aéc".as_bytes()], &[b"abc"]),
            ("**", &[b"a", b"a/b"], &[]),
            ("é.", &["é.".as_bytes()], &["é".as_bytes()]),
        ] {
            let globs = Globs::compile(&[pattern.into()]).unwrap();
            for name in matched {
                assert!(globs.excludes(&path(name)), "{pattern} {name:?}");
            }
            for name in unmatched {
                assert!(!globs.excludes(&path(name)), "{pattern} {name:?}");
            }
        }
        assert!(!Globs::default().excludes(&path(b"a")));
        assert!(!Globs::compile(&[]).unwrap().excludes(&path(b"a")));
    }

    #[test]
    fn refuses_what_other_programs_read_differently() {
        for pattern in [
            "",
            "/a",
            "a/",
            "a//b",
            "./a",
            "a/..",
            "[ab]",
            "{a,b}",
            "!a",
            "a\\b",
            "a]",
            "a}",
            "a\0",
            "a**",
            "**a/b",
            "***",
            "**/**",
            "a/**/**/b",
        ] {
            let error = Globs::compile(&["fine".into(), pattern.into()]).unwrap_err();
            assert_eq!(error.pattern, pattern);
        }
    }

    /// Few letters, so that patterns and names often meet.
    fn pattern() -> impl Strategy<Value = String> {
        let component = prop_oneof![
            2 => Just("**".to_owned()),
            6 => "[ab*?]{1,3}",
            1 => "[a.é\n^$+()|]{1,2}",
        ];
        proptest::collection::vec(component, 1..5).prop_map(|components| components.join("/"))
    }

    fn name() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![
            4 => Just(b'a'), 4 => Just(b'b'), 3 => Just(b'/'),
            1 => prop::sample::select(&b".\n\xc3\xa9*^$+()|"[..]),
        ];
        proptest::collection::vec(byte, 1..8)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1500))]
        #[test]
        fn agrees_with_a_plain_regular_expression(pattern in pattern(), name in name()) {
            let globs = Globs::compile(std::slice::from_ref(&pattern));
            if let (Ok(globs), Ok(path)) = (globs, RelPath::parse(&name)) {
                let expected = to_regex(&pattern).is_match(&name);
                prop_assert_eq!(globs.matches(path.as_bytes()), expected, "{:?}", path);
            }
        }
    }
}
