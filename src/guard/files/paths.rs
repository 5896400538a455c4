//! The rules that look at paths only, as one set of patterns.

use std::path::Path;

use globset::{GlobBuilder, GlobSet};

use super::super::rule::{Pack, Rule};

/// All patterns of such rules.
#[derive(Debug, Default)]
pub(super) struct PathRules {
    set: GlobSet,
    /// For each pattern the place of its rule in the pack.
    rules: Vec<usize>,
}

impl PathRules {
    /// Compiles the patterns; they are known to be well-formed, having been read with the rules.
    pub(super) fn new(pack: &Pack) -> Self {
        let (mut builder, mut rules) = (GlobSet::builder(), Vec::new());
        for (number, rule) in pack.rules.iter().enumerate() {
            let path = rule.path.as_ref().filter(|_| rule.pattern.is_none());
            for pattern in path.map(|path| path.patterns()).unwrap_or_default() {
                let glob = GlobBuilder::new(pattern)
                    .literal_separator(true)
                    .backslash_escape(false)
                    .build();
                if let Ok(glob) = glob {
                    builder.add(glob);
                    rules.push(number);
                }
            }
        }
        let set = builder.build().unwrap_or_default();
        Self { set, rules }
    }

    /// The rules that look at a path, which is in lower case; each once, sorted by id.
    pub(super) fn of<'p>(&self, pack: &'p Pack, path: &Path) -> impl Iterator<Item = &'p Rule> {
        let mut numbers: Vec<usize> = self
            .set
            .matches(path)
            .into_iter()
            .map(|pattern| self.rules[pattern])
            .collect();
        numbers.sort_unstable();
        numbers.dedup();
        let rules = numbers.into_iter().map(|number| &pack.rules[number]);
        let path = path.to_owned();
        rules.filter(move |rule| {
            let spared = rule.unless.path.as_ref();
            !spared.is_some_and(|spared| excludes(spared, &path))
        })
    }
}

fn excludes(globs: &crate::inventory::Globs, path: &Path) -> bool {
    use std::os::unix::ffi::OsStrExt;
    let path = crate::base::relpath::RelPath::parse(path.as_os_str().as_bytes());
    path.is_ok_and(|path| globs.excludes(&path))
}
