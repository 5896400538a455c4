//! Which operations a policy allows, and what shows one in a script. Owns the lists, the catalogue
//! and the patterns made from it; must never know how a request for an operation arrived.
//!
//! | the name is | asked for, logged or declared | shown by a script |
//! |---|---|---|
//! | matched by `blocked_operations` | refused, critical | critical |
//! | matched by `allowed_operations` | allowed | no finding |
//! | matched by neither, and something is allowed | refused, high | high |
//! | matched by neither, and nothing is allowed | allowed | medium at most: worth a decision |
//!
//! Names are compared without regard to case, so that none slips past a list by its spelling. A
//! resource counts too: an operation on a path that a catalogued operation of the same access is
//! about is that operation as well.

use std::collections::BTreeMap;

use globset::{GlobBuilder, GlobMatcher};

use super::found::{Found, Place};
use super::rule::{Pack, Rule};
use crate::base::relpath::RelPath;
use crate::base::severity::Severity;
use crate::base::units::printable;
use crate::inventory::{GlobError, Globs};
use crate::policy::{Access, PolicyGuard};

/// The check of what is on the list of blocked operations.
const BLOCKED: &str = "operation.blocked";
/// The check of what is on no list while there is one.
const UNAUTHORIZED: &str = "operation.unauthorized";
/// The check of stages that declare nothing.
const UNDECLARED: &str = "operation.undeclared";
/// The check of commands that touch the paths of a catalogued operation.
const TOUCHED_PATH: &str = "operation.touched_path";
/// The check of what the catalogue's own patterns match.
const SHOWN_PATTERN: &str = "operation.shown_pattern";
/// Every check about operations.
#[cfg(test)]
pub(super) const CHECKS: [&str; 5] = [
    BLOCKED,
    UNAUTHORIZED,
    UNDECLARED,
    TOUCHED_PATH,
    SHOWN_PATTERN,
];
/// The operations that agp knows by itself: what they do to what.
const KNOWN: [(&str, Access); 2] = [
    (MODIFY_CORE_CONFIG, Access::Modify),
    ("delete_production_data", Access::Delete),
];
/// The operation whose paths are the policy's `core_config_paths`.
const MODIFY_CORE_CONFIG: &str = "modify_core_config";
/// The longest name or resource that is repeated in a message, characters.
const QUOTED_CHARS_MAX: usize = 120;
/// The shortest literal part of a glob that is worth looking for by itself.
const LITERAL_BYTES_MIN: usize = 3;

/// What the policy says of operations.
#[derive(Debug)]
pub struct Operations {
    blocked: Vec<Listed>,
    allowed: Vec<Listed>,
    catalogue: BTreeMap<String, Known>,
}

/// An entry of a list.
#[derive(Debug)]
struct Listed {
    text: String,
    matcher: GlobMatcher,
}

/// A catalogued operation.
#[derive(Debug)]
struct Known {
    access: Access,
    paths: Globs,
    patterns: Vec<String>,
}

/// An operation, and what it is to be done to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Its name, not empty.
    pub name: String,
    /// What it touches, where that is said.
    pub resource: Option<String>,
}

/// How an operation stands to the lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// An entry of the list of blocked operations matches.
    Blocked(String),
    /// An entry of the list of allowed operations matches.
    Allowed(String),
    /// Something is allowed, and this is not.
    Unauthorized,
    /// Neither list says anything.
    Unnamed,
}

impl Standing {
    /// Whether the operation is refused.
    pub fn is_refused(&self) -> bool {
        matches!(self, Self::Blocked(_) | Self::Unauthorized)
    }
}

/// Why the policy's operations cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OperationsError {
    /// A list holds what is no pattern.
    #[error("`policy_guard.{list}` holds `{pattern}`, which is no pattern")]
    List {
        /// The key.
        list: &'static str,
        /// What it holds.
        pattern: String,
        /// What is wrong with it.
        #[source]
        source: globset::Error,
    },
    /// A path of an operation.
    #[error("the paths of the operation `{operation}` cannot be used")]
    Paths {
        /// Its name.
        operation: String,
        /// What is wrong with them.
        #[source]
        source: GlobError,
    },
    /// A pattern of an operation.
    #[error("a pattern of the operation `{operation}` cannot be used: {problem}")]
    Pattern {
        /// Its name.
        operation: String,
        /// What is wrong with it.
        problem: String,
    },
}

/// `NAME` or `NAME=RESOURCE`.
impl std::str::FromStr for Operation {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, resource) = match text.split_once('=') {
            Some((name, resource)) => (name, Some(resource)),
            None => (text, None),
        };
        let name = name.trim();
        if name.is_empty() || name.contains(char::is_whitespace) || name.contains(char::is_control)
        {
            return Err("expected NAME or NAME=RESOURCE, the name without white space");
        }
        let resource = resource.map(str::to_owned).filter(|text| !text.is_empty());
        let name = name.to_owned();
        Ok(Self { name, resource })
    }
}

/// As one would type it, short and safe to print.
impl std::fmt::Display for Operation {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let short = |text: &str| text.chars().take(QUOTED_CHARS_MAX).collect::<String>();
        out.write_str(&printable(&short(&self.name)))?;
        match &self.resource {
            Some(resource) => write!(out, "={}", printable(&short(resource))),
            None => Ok(()),
        }
    }
}

impl Operations {
    /// What a policy says.
    ///
    /// # Errors
    /// A pattern or path that cannot be used.
    pub fn new(policy: &PolicyGuard) -> Result<Self, OperationsError> {
        let mut catalogue = BTreeMap::new();
        for (name, access) in KNOWN {
            let paths = match name {
                MODIFY_CORE_CONFIG => policy.core_config_paths.clone(),
                _ => Vec::new(),
            };
            catalogue.insert(name.to_owned(), (access, paths, Vec::new()));
        }
        for (name, operation) in &policy.operation_catalog {
            let fresh = (operation.access, Vec::new(), Vec::new());
            let known = catalogue.entry(name.to_lowercase()).or_insert(fresh);
            known.1.extend(operation.paths.iter().cloned());
            known.2.extend(operation.patterns.iter().cloned());
        }
        let compiled = catalogue
            .into_iter()
            .map(|(name, (access, paths, patterns))| {
                let operation = name.clone();
                let paths = Globs::compile(&paths)
                    .map_err(|source| OperationsError::Paths { operation, source })?;
                let known = Known {
                    access,
                    paths,
                    patterns,
                };
                Ok((name, known))
            });
        Ok(Self {
            blocked: listed("blocked_operations", &policy.blocked_operations)?,
            allowed: listed("allowed_operations", &policy.allowed_operations)?,
            catalogue: compiled.collect::<Result<_, _>>()?,
        })
    }

    /// How a name stands to the lists; blocked wins.
    pub fn standing(&self, name: &str) -> Standing {
        let name = name.trim();
        let entry = |list: &[Listed]| {
            let entry = list.iter().find(|entry| entry.matcher.is_match(name));
            entry.map(|entry| entry.text.clone())
        };
        match (entry(&self.blocked), entry(&self.allowed)) {
            (Some(by), _) => Standing::Blocked(by),
            (None, Some(by)) => Standing::Allowed(by),
            (None, None) if self.allowed.is_empty() => Standing::Unnamed,
            (None, None) => Standing::Unauthorized,
        }
    }

    /// How an operation stands to the lists, by its own name or by that of a blocked operation of
    /// the same access that is about its resource.
    pub fn judge(&self, operation: &Operation) -> Standing {
        let own = self.standing(&operation.name);
        let access = self.catalogue.get(&operation.name.to_lowercase());
        let (Some(resource), Some(access)) =
            (&operation.resource, access.map(|known| known.access))
        else {
            return own;
        };
        let about = self.catalogue.iter().filter(|(_, known)| {
            let alike = known.access == access
                || (known.access == Access::Modify && access != Access::Read);
            alike && is_about(&known.paths, resource)
        });
        let mut standings = about.map(|(name, _)| self.standing(name));
        match standings.find(|standing| matches!(standing, Standing::Blocked(_))) {
            Some(blocked) => blocked,
            None => own,
        }
    }

    /// What a catalogued operation does to which paths, seen from the working directory; `None` for one
    /// that no catalogue tells anything of.
    pub fn catalogued(&self, name: &str) -> Option<(Access, &Globs)> {
        let known = self.catalogue.get(&name.trim().to_lowercase())?;
        let tells = !known.paths.patterns().is_empty() || known.access == Access::Read;
        tells.then_some((known.access, &known.paths))
    }

    /// Catalogued operations that are blocked and change something, by name.
    pub fn blocked(&self) -> impl Iterator<Item = (&str, Access, &Globs)> {
        let all = self.catalogue.iter();
        let blocked = all.filter(|(name, known)| {
            let changes = known.access != Access::Read && !known.paths.patterns().is_empty();
            changes && matches!(self.standing(name), Standing::Blocked(_))
        });
        blocked.map(|(name, known)| (name.as_str(), known.access, &known.paths))
    }

    /// What is wrong with an operation that was asked for, logged or declared there; `None` for
    /// one that may be.
    pub fn refuse(&self, operation: &Operation, place: &Place<'_>, pack: &Pack) -> Option<Found> {
        let (id, why) = match self.judge(operation) {
            Standing::Blocked(by) => (BLOCKED, format!("is blocked by `{}`", printable(&by))),
            Standing::Unauthorized => {
                let why = "is not among `policy_guard.allowed_operations`";
                (UNAUTHORIZED, why.to_owned())
            }
            Standing::Allowed(_) | Standing::Unnamed => return None,
        };
        let check = pack.checks.get(id)?;
        let message = format!("the operation `{operation}` {why}");
        Some(Found::by_check(check, place, message))
    }

    /// What is wrong with a stage that declares no operation, while the policy speaks of any.
    pub fn undeclared(&self, stage: &str, place: &Place<'_>, pack: &Pack) -> Option<Found> {
        let check = pack.checks.get(UNDECLARED)?;
        let message = format!("the stage `{}` declares no operation", printable(stage));
        Some(Found::by_check(check, place, message))
    }

    /// What a policy says; the rules for what shows its operations join the pack.
    ///
    /// # Errors
    /// A pattern or path that cannot be used.
    pub fn join(policy: &PolicyGuard, pack: &mut Pack) -> Result<Self, OperationsError> {
        let operations = Self::new(policy)?;
        pack.extend(operations.rules(pack)?);
        Ok(operations)
    }

    /// Rules for what shows a catalogued operation in a script: its own patterns, and commands that
    /// touch its paths.
    ///
    /// # Errors
    /// A pattern that does not compile, or compiles to too much.
    pub fn rules(&self, pack: &Pack) -> Result<Vec<Rule>, OperationsError> {
        let mut rules = Vec::new();
        for (name, known) in &self.catalogue {
            if let Some(check) = pack.checks.get(SHOWN_PATTERN) {
                // A script is a text of lines, so `^` and `$` are the ends of one.
                let patterns = known
                    .patterns
                    .iter()
                    .map(|pattern| format!("(?m:{pattern})"));
                rules.extend(
                    patterns.map(|text| Rule::of_operation(name, check, (Vec::new(), text))),
                );
            }
            if let Some(check) = pack.checks.get(TOUCHED_PATH)
                && let Some(pattern) = touching(known.access)
            {
                let mut literals: Vec<String> = known
                    .paths
                    .patterns()
                    .iter()
                    .map(|glob| literal(glob))
                    .collect();
                literals.sort();
                literals.dedup();
                if literals
                    .iter()
                    .any(|literal| literal.len() < LITERAL_BYTES_MIN)
                {
                    literals.clear();
                }
                if !known.paths.patterns().is_empty() {
                    rules.push(Rule::of_operation(name, check, (literals, pattern)));
                }
            }
        }
        for rule in &rules {
            if let Some(problem) = rule.pattern_problems().into_iter().next() {
                let operation = rule.operation.clone().unwrap_or_default();
                return Err(OperationsError::Pattern { operation, problem });
            }
        }
        Ok(rules)
    }

    /// Judges what shows operations in scripts: what the policy allows goes, what it blocks is
    /// critical, what it says nothing about is worth a decision and fails no build.
    pub fn judge_evidence(&self, found: &mut Vec<Found>) {
        found.retain_mut(|one| {
            let Some(name) = one.operation.clone() else {
                return true;
            };
            let detail = one.finding.detail.as_ref();
            let is_path = detail.is_some_and(|detail| detail.rule_id == TOUCHED_PATH);
            if is_path && !self.touches(&name, &one.value) {
                return false;
            }
            let why = match self.standing(&name) {
                Standing::Allowed(_) => return false,
                Standing::Blocked(by) => {
                    one.finding.severity = Severity::Critical;
                    format!("which `{}` blocks", printable(&by))
                }
                Standing::Unauthorized => "which is not among the allowed operations".to_owned(),
                Standing::Unnamed => {
                    one.finding.severity = one.finding.severity.min(Severity::Medium);
                    "of which the policy says nothing".to_owned()
                }
            };
            let (title, name) = (&one.finding.message, printable(&name));
            one.finding.message = format!("{title}: shows `{name}`, {why}");
            true
        });
    }

    fn touches(&self, name: &str, path: &[u8]) -> bool {
        let known = self.catalogue.get(name);
        let path = String::from_utf8_lossy(path);
        known.is_some_and(|known| is_about(&known.paths, &path))
    }
}

fn listed(list: &'static str, patterns: &[String]) -> Result<Vec<Listed>, OperationsError> {
    let compile = |pattern: &String| {
        let glob = GlobBuilder::new(pattern.trim())
            .case_insensitive(true)
            .build();
        match glob {
            Ok(glob) => Ok(Listed {
                text: pattern.clone(),
                matcher: glob.compile_matcher(),
            }),
            Err(source) => {
                let pattern = printable(pattern).into_owned();
                Err(OperationsError::List {
                    list,
                    pattern,
                    source,
                })
            }
        }
    };
    patterns.iter().map(compile).collect()
}

/// Whether a path as a script or a person writes it is one of those, seen from the working
/// directory: quotes, variables and `./`, `../` before it do not matter.
fn is_about(paths: &Globs, written: &str) -> bool {
    let mut path = written.trim().trim_matches(['"', '\'', '`']);
    loop {
        let variable = path.strip_prefix('$').and_then(|rest| {
            let (name, rest) = rest.split_once('/')?;
            let is_name = |c: char| c.is_ascii_alphanumeric() || "_{}".contains(c);
            name.chars().all(is_name).then_some(rest)
        });
        let shorter = variable
            .or_else(|| path.strip_prefix("./"))
            .or_else(|| path.strip_prefix("../"));
        match shorter {
            Some(shorter) => path = shorter,
            None => break,
        }
    }
    let tidy: Vec<&str> = path
        .split('/')
        .filter(|part| !["", "."].contains(part))
        .collect();
    !path.starts_with('/')
        && RelPath::parse(tidy.join("/").as_bytes()).is_ok_and(|path| paths.excludes(&path))
}

/// The longest part of a glob that stands for itself, lower case.
fn literal(glob: &str) -> String {
    let parts = glob.split(['*', '?']);
    let longest = parts.max_by_key(|part| part.len()).unwrap_or_default();
    longest.to_ascii_lowercase()
}

/// A path as an argument.
const PATH: &str = r#"["'`]?([\w$.{}~@%+\-/]+)"#;
/// Arguments before it.
const ARGUMENTS: &str = r"[^\n|;&]{0,120}?";

/// What commands and calls of common languages that touch a path with that access look like; the
/// path is the one group that takes part. Reading leaves nothing telling.
fn touching(access: Access) -> Option<String> {
    let removal = [
        format!(r"\b(?:rm|unlink|shred|git\s+rm|Remove-Item|rimraf)\s+(?:{ARGUMENTS}[\s=])?{PATH}"),
        format!(
            r"\b(?:os\.(?:remove|unlink)|shutil\.rmtree|fs\.(?:unlink|rm)(?:Sync)?|FileUtils\.rm\w*|File\.delete|std::fs::remove_\w+)\(\s*{PATH}"
        ),
        format!(r#"\bPath\(\s*{PATH}["']\s*\)\.(?:unlink|rmdir)"#),
    ];
    let writing = [
        format!(r"(?:^|[^\-=<>])>{{1,2}}[ \t]*{PATH}"),
        format!(
            r"\b(?:tee|sed\s+(?:-\w+\s+)*(?:-\w*i|--in-place)\S*|yq\s+(?:\w+\s+)?-\w*i|perl\s+-\w*i\S*|chmod|chown|truncate|touch|patch|Set-Content|Add-Content|Out-File)\s+(?:{ARGUMENTS}[\s=])?{PATH}"
        ),
        format!(
            r#"\b(?:cp|mv|install|ln|rsync|Copy-Item|Move-Item)\s+{ARGUMENTS}\s{PATH}["']?[ \t]*(?:[;&|#\r\n]|$)"#
        ),
        format!(r#"\bopen\(\s*{PATH}["']\s*,\s*(?:mode\s*=\s*)?["'][rb]*[wax+]"#),
        format!(
            r"\b(?:fs\.(?:writeFile|appendFile)(?:Sync)?|File\.write|IO\.write|file_put_contents|WriteAllText|os\.WriteFile|std::fs::write|fs::write)\(\s*{PATH}"
        ),
        format!(r#"\bPath\(\s*{PATH}["']\s*\)\.write_(?:text|bytes)"#),
    ];
    let all: Vec<String> = match access {
        Access::Read => return None,
        Access::Create => writing.into(),
        Access::Delete => removal.into(),
        Access::Modify => removal.into_iter().chain(writing).collect(),
    };
    Some(format!("(?m:{})", all.join("|")))
}

#[cfg(test)]
mod tests;
