//! What a stage may change in the trees: what the operations that it declares are about, and nothing that a
//! blocked operation is about. Pure but for looking where directories are.

use std::path::{Path, PathBuf};

use crate::base::relpath::RelPath;
use crate::guard::Operations;
use crate::inventory::Globs;
use crate::policy::Access;
use crate::report::{Finding, codes};
use crate::rollback::{Aspect, Changed};

/// What one stage may change.
#[derive(Debug)]
pub struct Allowance<'a> {
    stage: &'a str,
    operations: &'a Operations,
    /// Where the run was started; paths of operations are seen from here. Absolute, without links.
    directory: &'a Path,
    /// What the declared operations do to which paths; `None` where one of them, or there being none, says
    /// nothing about that.
    permits: Option<Vec<(Access, &'a Globs)>>,
    /// Paths below the targets that it may change; without patterns: all.
    changeable: &'a Globs,
}

impl<'a> Allowance<'a> {
    /// What a stage may change that declares these operations, and of the targets only these paths.
    pub fn new(
        (stage, declared, changeable): (&'a str, &[String], &'a Globs),
        operations: &'a Operations,
        directory: &'a Path,
    ) -> Self {
        let permits = declared.iter().map(|name| operations.catalogued(name));
        let permits: Option<Vec<_>> = permits.collect();
        Self {
            stage,
            operations,
            directory,
            permits: permits.filter(|permits| !permits.is_empty()),
            changeable,
        }
    }

    /// Directories of the working directory that the stage may write in, as far as directories can say it;
    /// they need not be there. `None` where that would be everywhere.
    pub fn writable(&self) -> Option<Vec<PathBuf>> {
        let mut places = Vec::new();
        for (access, paths) in self.permits.as_ref()? {
            if *access == Access::Read {
                continue;
            }
            for pattern in paths.patterns() {
                places.push(self.directory.join(base(self.directory, pattern)?));
            }
        }
        Some(places)
    }

    /// What is wrong with a change that the stage made.
    pub fn judge(&self, changed: &Changed) -> Option<Finding> {
        self.judge_operation(changed).or_else(|| {
            let is_free = self.changeable.patterns().is_empty();
            let path = changed.below.as_ref().filter(|_| !is_free)?;
            let text = format!(
                "the stage `{}` {} it, which its `allow_change` does not allow",
                self.stage,
                verb(access_of(&changed.aspects))
            );
            let finding = Finding::new(&codes::RUN_DATA_CORRUPTION, text).at(&*changed.path);
            (!self.changeable.excludes(path)).then_some(finding)
        })
    }

    fn judge_operation(&self, changed: &Changed) -> Option<Finding> {
        let path = seen_from(self.directory, &changed.path)?;
        let done = access_of(&changed.aspects);
        let is_it = |access: Access, paths: &Globs| {
            (access == done || access == Access::Modify) && paths.excludes(&path)
        };
        let mut blocked = self.operations.blocked();
        if let Some((name, ..)) = blocked.find(|(_, access, paths)| is_it(*access, paths)) {
            let text = format!(
                "the stage `{}` {} it, which the blocked operation `{name}` is about",
                self.stage,
                verb(done)
            );
            return Some(Finding::new(&codes::RUN_OPERATION_BLOCKED, text).at(&*changed.path));
        }
        let permits = self.permits.as_ref()?;
        if permits.iter().any(|(access, paths)| is_it(*access, paths)) {
            return None;
        }
        let text = format!(
            "the stage `{}` {} it, and declares no operation that does",
            self.stage,
            verb(done)
        );
        Some(Finding::new(&codes::RUN_OPERATION_UNDECLARED, text).at(&*changed.path))
    }
}

/// Directories that blocked operations are about, as far as they are there; sorted, each once.
pub fn protected(operations: &Operations, directory: &Path) -> Vec<PathBuf> {
    let patterns = operations
        .blocked()
        .flat_map(|(_, _, paths)| paths.patterns());
    let bases = patterns.filter_map(|pattern| base(directory, pattern));
    let mut places: Vec<PathBuf> = bases.filter(|base| directory.join(base).is_dir()).collect();
    places.sort();
    places.dedup();
    places
}

/// The directory that everything which a pattern matches lies in; `None` where that is the working
/// directory.
fn base(directory: &Path, pattern: &str) -> Option<PathBuf> {
    let is_plain = |part: &&str| !part.contains(['*', '?']);
    let parts: Vec<&str> = pattern.split('/').collect();
    let plain = parts.iter().take_while(|part| is_plain(part)).count();
    let mut base: PathBuf = parts[..plain].iter().collect();
    // A file is made, replaced and removed by its directory.
    if plain == parts.len() && !directory.join(&base).is_dir() {
        base.pop();
    }
    (!base.as_os_str().is_empty()).then_some(base)
}

fn seen_from(directory: &Path, path: &str) -> Option<RelPath> {
    use std::os::unix::ffi::OsStrExt;
    let path = Path::new(path);
    let path = path.strip_prefix(directory).unwrap_or(path);
    RelPath::parse(path.as_os_str().as_bytes()).ok()
}

fn access_of(aspects: &[Aspect]) -> Access {
    match aspects.first() {
        Some(Aspect::Missing) => Access::Delete,
        Some(Aspect::Extra) => Access::Create,
        _ => Access::Modify,
    }
}

fn verb(access: Access) -> &'static str {
    match access {
        Access::Read => "read",
        Access::Create => "made",
        Access::Modify => "changed",
        Access::Delete => "removed",
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use super::*;
    use crate::policy::{Operation, PolicyGuard};

    fn policy() -> PolicyGuard {
        let operation = |access, path: &str| Operation {
            access,
            paths: vec![path.to_owned()],
            ..Operation::default()
        };
        PolicyGuard {
            blocked_operations: vec!["modify_core_config".into()],
            core_config_paths: vec!["config/**".into()],
            operation_catalog: [
                ("pack".to_owned(), operation(Access::Modify, "output/**")),
                ("add".to_owned(), operation(Access::Create, "output/*.new")),
                ("look".to_owned(), operation(Access::Read, "assets/**")),
                ("anything".to_owned(), operation(Access::Modify, "**")),
            ]
            .into(),
            ..PolicyGuard::default()
        }
    }

    fn codes_of(declared: &[&str], changes: &[(&str, Aspect)]) -> Vec<Option<&'static str>> {
        let operations = Operations::new(&policy()).unwrap();
        let declared: Vec<String> = declared.iter().map(|name| (*name).to_owned()).collect();
        let directory = Path::new("/nowhere");
        let all = Globs::default();
        let allowance = Allowance::new(("s", &declared, &all), &operations, directory);
        let judge = |(path, aspect): &(&str, Aspect)| {
            let finding = allowance.judge(&Changed {
                path: (*path).to_owned(),
                below: None,
                aspects: vec![*aspect],
            });
            finding.map(|finding| finding.code.id)
        };
        changes.iter().map(judge).collect()
    }

    #[test]
    fn a_stage_changes_what_its_operations_are_about_and_nothing_that_is_blocked() {
        const UNDECLARED: Option<&str> = Some("run.operation_undeclared");
        const BLOCKED: Option<&str> = Some("run.operation_blocked");
        use Aspect::{Content, Extra, Missing};
        for (declared, changes, expected) in [
            (
                &["pack"][..],
                &[
                    ("output/a", Content),
                    ("output/b/c", Extra),
                    ("output/d", Missing),
                ][..],
                vec![None, None, None],
            ),
            (&["pack"], &[("other/a", Content)], vec![UNDECLARED]),
            (
                &["add", "look"],
                &[
                    ("output/a.new", Extra),
                    ("output/a.new", Content),
                    ("assets/a", Extra),
                ],
                vec![None, UNDECLARED, UNDECLARED],
            ),
            // What is blocked is so for everybody.
            (&["anything"], &[("config/a", Content)], vec![BLOCKED]),
            (
                &[],
                &[("config/a", Extra), ("other/a", Content)],
                vec![BLOCKED, None],
            ),
            (&["unknown"], &[("other/a", Content)], vec![None]),
            (&["pack"], &[("/nowhere/output/a", Content)], vec![None]),
        ] {
            assert_eq!(codes_of(declared, changes), expected, "{declared:?}");
        }
    }

    #[test]
    fn a_stage_leaves_alone_what_it_may_not_change() {
        let operations = Operations::new(&PolicyGuard::default()).unwrap();
        let changeable = Globs::compile(&["maps/**".to_owned()]).unwrap();
        let allowance = Allowance::new(("s", &[], &changeable), &operations, Path::new("/"));
        for (below, expected) in [("maps/a", None), ("a", Some("run.data_corruption"))] {
            let finding = allowance.judge(&Changed {
                path: format!("output/{below}"),
                below: RelPath::parse(below.as_bytes()).ok(),
                aspects: vec![Aspect::Content],
            });
            assert_eq!(finding.map(|finding| finding.code.id), expected);
        }
    }

    #[test]
    fn places_to_write_in_are_the_directories_of_patterns() {
        let folder = tempfile::tempdir().unwrap();
        let top = folder.path().canonicalize().unwrap();
        for name in ["config", "output"] {
            std::fs::create_dir(top.join(name)).unwrap();
        }
        let operations = Operations::new(&policy()).unwrap();
        let writable = |declared: &[&str]| {
            let declared: Vec<String> = declared.iter().map(|name| (*name).to_owned()).collect();
            Allowance::new(("s", &declared, &Globs::default()), &operations, &top).writable()
        };
        assert_eq!(
            writable(&["pack", "add"]),
            Some(vec![top.join("output"); 2])
        );
        assert_eq!(writable(&["look"]), Some(vec![]));
        for everywhere in [&["anything"][..], &[], &["unknown"], &["pack", "unknown"]] {
            assert_eq!(writable(everywhere), None);
        }
        assert_eq!(protected(&operations, &top), [PathBuf::from("config")]);
        for (pattern, expected) in [
            ("output/a/*.txt", Some("output/a")),
            ("output/report.json", Some("output")),
            ("output", Some("output")),
            ("report.json", None),
            ("**/x", None),
        ] {
            assert_eq!(
                base(&top, pattern),
                expected.map(PathBuf::from),
                "{pattern}"
            );
        }
    }
}
