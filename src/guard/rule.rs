//! Rules: what a file of them says, and what the scan needs of one. Owns the grammar of rule
//! files, their checks, and the compilation of patterns, which happens at first use.
//!
//! A rule without examples and counter-examples does not load. They run in the tests for the rules
//! that we ship, and at load for those that users bring.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use serde::Deserialize;

use super::filter::{Checksum, Kind};
use super::keywords::KEYWORD_BYTES_MIN;
use super::pattern::Pattern;
use super::{search, template};
use crate::base::relpath::RelPath;
use crate::base::severity::Severity;
use crate::inventory::Globs;
use crate::report::{Category, Confidence};

/// How many bytes before a keyword are looked at.
pub(super) const REACH_BEFORE_BYTES: usize = 128;
/// How many bytes behind a keyword are looked at, where a rule does not say.
const REACH_BYTES: usize = 512;
/// The most that a rule may look at behind a keyword.
const REACH_BYTES_MAX: usize = 1 << 16;

/// Files that write about what scripts do.
const PROSE: [&str; 5] = ["**/*.md", "**/*.rst", "**/*.txt", "**/*.adoc", "**/*.html"];

/// A set of rules with the families that explain them. Ids are unique.
#[derive(Debug, Default)]
pub struct Pack {
    /// Sorted by id.
    pub rules: Vec<Rule>,
    /// By their ids, of which no rule has one.
    pub checks: BTreeMap<String, Check>,
    /// By the first segment of the ids of their rules and checks.
    pub families: BTreeMap<String, Family>,
}

/// What the rules of one provider or subject have in common.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Family {
    /// The first segment of the ids of its rules and checks.
    pub id: String,
    /// Its name for people.
    pub title: String,
    /// Why a finding matters.
    pub why: String,
    /// What to do about it.
    pub fix: String,
}

/// What code finds, where no pattern could: described beside the rules, so that it is listed,
/// explained and disabled like one of them.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// `family.kind`.
    pub id: String,
    /// What it finds, for people.
    pub title: String,
    /// What kind of violation that is.
    pub category: Category,
    /// How bad it is; where the code tells degrees apart, the worst.
    pub severity: Severity,
    /// How sure the check is; where the code tells degrees apart, the surest.
    #[serde(default = "certain")]
    pub confidence: Confidence,
}

/// One rule.
#[derive(Debug)]
pub struct Rule {
    /// `family.kind`.
    pub id: String,
    /// What it finds, for people.
    pub title: String,
    /// What kind of violation that is.
    pub category: Category,
    /// How bad it is.
    pub severity: Severity,
    /// How sure the rule is.
    pub confidence: Confidence,
    /// Lower case; empty for a rule that looks at paths only.
    pub keywords: Vec<String>,
    /// Bytes looked at behind a keyword.
    pub reach_bytes: usize,
    /// `None` for a rule that looks at paths only.
    pub pattern: Option<Arc<Pattern>>,
    /// The checksum inside what it finds.
    pub checksum: Option<Checksum>,
    /// Least Shannon entropy of what it finds, bits per character.
    pub entropy_min: Option<f64>,
    /// Whether what it finds has to look drawn at random.
    pub random: bool,
    /// The name that has to stand before, where the pattern is about what is assigned to one.
    pub lead: Option<Lead>,
    /// What kind of assignment it finds, judged as a whole: name, operator, quotes and value.
    pub setting: Option<Kind>,
    /// Which paths it looks at, matched in lower case; `None` is every path.
    pub path: Option<Globs>,
    /// What it lets pass.
    pub unless: Unless,
    /// Rules of which one has to match nearby.
    pub near: Vec<Near>,
    /// Whether it exists for the `near` of others only.
    pub companion: bool,
    /// The operation that it is evidence of.
    pub operation: Option<String>,
    /// Whether it never takes the place of another rule's finding: nobody vouches for it.
    pub yields: bool,
    /// Texts that it finds.
    pub examples: Vec<String>,
    /// Texts that it does not.
    pub negatives: Vec<String>,
}

/// What a rule lets pass.
#[derive(Debug, Default)]
pub struct Unless {
    /// Patterns that the whole value matches.
    pub value: Vec<Pattern>,
    /// Patterns that the whole line matches.
    pub line: Vec<Pattern>,
    /// Paths, in lower case.
    pub path: Option<Globs>,
}

/// A name that something is assigned to.
#[derive(Debug)]
pub struct Lead {
    /// What the name has to contain.
    pub names: Pattern,
    /// What the rule's pattern then describes.
    pub behind: Behind,
}

/// What a pattern describes that has a [`Lead`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behind {
    /// The value: how it is assigned is common to all such rules.
    Assignment,
    /// Everything behind the name.
    Setting,
}

/// Another rule that has to match nearby.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Near {
    /// Its id.
    pub rule: String,
    /// At most so many lines away.
    pub lines: u64,
}

/// Why a file of rules cannot be used: every problem, each with the rule it is about.
#[derive(Debug, thiserror::Error)]
#[error("{}", problems.join("; "))]
pub struct LoadError {
    /// Lower-case fragments; not empty.
    pub problems: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    #[serde(default)]
    family: Vec<Family>,
    #[serde(default)]
    check: Vec<Check>,
    #[serde(default)]
    rule: Vec<RawRule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRule {
    id: String,
    title: String,
    category: Category,
    severity: Severity,
    #[serde(default = "certain")]
    confidence: Confidence,
    #[serde(default)]
    keywords: Vec<String>,
    regex: Option<String>,
    reach: Option<usize>,
    checksum: Option<Checksum>,
    entropy: Option<f64>,
    #[serde(default)]
    random: bool,
    setting: Option<Kind>,
    #[serde(default)]
    path: Vec<String>,
    #[serde(default)]
    unless: RawUnless,
    #[serde(default)]
    near: Vec<Near>,
    #[serde(default)]
    companion: bool,
    operation: Option<String>,
    #[serde(default)]
    examples: Vec<String>,
    #[serde(default)]
    negatives: Vec<String>,
}

fn certain() -> Confidence {
    Confidence::High
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawUnless {
    value: Vec<String>,
    line: Vec<String>,
    path: Vec<String>,
}

impl Pack {
    /// Adds the rules of a file, checking their shape; patterns are compiled later.
    ///
    /// # Errors
    /// Every problem of the file.
    pub fn add(&mut self, text: &str) -> Result<(), LoadError> {
        let raw: RawFile = toml::from_str(text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start));
            let line = before.unwrap_or_default().matches('\n').count() + 1;
            LoadError {
                problems: vec![format!("line {line}: {}", error.message().trim_end())],
            }
        })?;
        let bare = raw.rule.iter();
        let bare = bare.filter(|rule| rule.examples.is_empty() || rule.negatives.is_empty());
        let told =
            |rule: &RawRule| format!("rule `{}` has no `examples` or no `negatives`", rule.id);
        let problems = bare.map(told).collect();
        self.add_file(raw, problems)
    }

    /// Adds our own rules, which the build has read before.
    pub(super) fn add_shipped(&mut self, text: &str) -> Result<(), LoadError> {
        let raw = serde_json::from_str(text).map_err(|error| LoadError {
            problems: vec![error.to_string()],
        })?;
        self.add_file(raw, Vec::new())
    }

    /// Gives rules the examples that the build has put aside.
    pub(super) fn add_texts(&mut self, text: &str) -> Result<(), LoadError> {
        type Texts = (String, Vec<String>, Vec<String>);
        let all: Vec<Texts> = serde_json::from_str(text).map_err(|error| LoadError {
            problems: vec![error.to_string()],
        })?;
        for (id, examples, negatives) in all {
            if let Ok(at) = self.rules.binary_search_by(|rule| rule.id.cmp(&id)) {
                let rule = &mut self.rules[at];
                (rule.examples, rule.negatives) = (examples, negatives);
            }
        }
        Ok(())
    }

    fn add_file(&mut self, raw: RawFile, mut problems: Vec<String>) -> Result<(), LoadError> {
        for family in raw.family {
            if let Some(twice) = self.families.insert(family.id.clone(), family) {
                problems.push(format!("family `{}` is described twice", twice.id));
            }
        }
        for check in raw.check {
            if !is_id(&check.id) {
                problems.push(format!("check `{}` {NO_ID}", check.id));
            }
            if let Some(twice) = self.checks.insert(check.id.clone(), check) {
                problems.push(format!("check `{}` is described twice", twice.id));
            }
        }
        for rule in raw.rule {
            let id = rule.id.clone();
            match Rule::new(rule) {
                Ok(rule) => self.rules.push(rule),
                Err(problem) => problems.push(format!("rule `{id}` {problem}")),
            }
        }
        self.rules.sort_by(|a, b| a.id.cmp(&b.id));
        for pair in self.rules.windows(2) {
            if pair[0].id == pair[1].id {
                problems.push(format!("rule `{}` is there twice", pair[0].id));
            }
        }
        for rule in &self.rules {
            if self.checks.contains_key(&rule.id) {
                problems.push(format!("`{}` is a rule and a check", rule.id));
            }
        }
        let known: BTreeSet<&str> = self.rules.iter().map(|rule| rule.id.as_str()).collect();
        for rule in &self.rules {
            for near in rule.near.iter().filter(|near| !known.contains(&*near.rule)) {
                let (id, other) = (&rule.id, &near.rule);
                problems.push(format!(
                    "rule `{id}` wants `{other}` near, which is unknown"
                ));
            }
        }
        match problems.is_empty() {
            true => Ok(()),
            false => Err(LoadError { problems }),
        }
    }

    /// Compiles the patterns of all rules: for rules that nobody has tested yet.
    ///
    /// # Errors
    /// Every pattern that does not compile, or compiles to too much.
    pub fn check_patterns(&self) -> Result<(), LoadError> {
        let problems: Vec<String> = self.rules.iter().flat_map(Rule::pattern_problems).collect();
        match problems.is_empty() {
            true => Ok(()),
            false => Err(LoadError { problems }),
        }
    }

    /// Runs every rule on its examples and counter-examples, and says what came out wrong.
    pub fn trials(&self) -> Vec<String> {
        self.rules.iter().flat_map(Rule::trials).collect()
    }

    /// The rule of an id.
    pub fn find(&self, id: &str) -> Option<&Rule> {
        let at = self
            .rules
            .binary_search_by(|rule| (*rule.id).cmp(id))
            .ok()?;
        self.rules.get(at)
    }
}

impl Rule {
    fn new(raw: RawRule) -> Result<Self, String> {
        if !is_id(&raw.id) {
            return Err(NO_ID.into());
        }
        if raw.regex.is_some() && raw.keywords.is_empty() {
            return Err("has a `regex` and no `keywords`".into());
        }
        if raw.regex.is_none() && raw.path.is_empty() {
            return Err("has neither a `regex` nor a `path`".into());
        }
        let short = |keyword: &&String| keyword.len() < KEYWORD_BYTES_MIN;
        if let Some(keyword) = raw.keywords.iter().find(short) {
            return Err(format!(
                "has the keyword `{keyword}`, shorter than {KEYWORD_BYTES_MIN} bytes"
            ));
        }
        let reach_bytes = raw.reach.unwrap_or(REACH_BYTES);
        if reach_bytes > REACH_BYTES_MAX {
            return Err(format!(
                "has a `reach` of more than {REACH_BYTES_MAX} bytes"
            ));
        }
        let keywords = raw
            .keywords
            .iter()
            .map(|keyword| keyword.to_ascii_lowercase());
        let keywords: Vec<String> = keywords.collect();
        let read = |text| lead(text, &keywords);
        let (lead, pattern) = match raw.regex.as_deref().map(read).transpose()? {
            Some((lead, pattern)) => (lead, Some(pattern)),
            None => (None, None),
        };
        let anchored = |texts: Vec<String>| {
            let anchored = texts.into_iter().map(|text| format!("^(?:{text})$"));
            anchored.map(Pattern::brief).collect()
        };
        Ok(Self {
            unless: Unless {
                value: anchored(raw.unless.value),
                line: anchored(raw.unless.line),
                path: globs(&raw.unless.path)?,
            },
            path: globs(&raw.path)?,
            keywords,
            id: raw.id,
            title: raw.title,
            category: raw.category,
            severity: raw.severity,
            confidence: raw.confidence,
            reach_bytes,
            pattern,
            checksum: raw.checksum,
            entropy_min: raw.entropy,
            random: raw.random,
            lead,
            setting: raw.setting,
            near: raw.near,
            companion: raw.companion,
            operation: raw.operation,
            yields: false,
            examples: raw.examples,
            negatives: raw.negatives,
        })
    }

    /// The first segment of the id.
    pub fn family(&self) -> &str {
        self.id.split('.').next().unwrap_or_default()
    }

    /// A rule that a policy makes: what shows an operation, wherever it is not merely written about.
    /// Its pattern may do without keywords.
    pub(super) fn of_operation(
        operation: &str,
        check: &Check,
        (keywords, pattern): (Vec<String>, String),
    ) -> Self {
        Self {
            id: check.id.clone(),
            title: check.title.clone(),
            category: Category::Operation,
            severity: check.severity,
            confidence: check.confidence,
            pattern: Some(Arc::new(Pattern::around(pattern, &keywords))),
            keywords,
            reach_bytes: REACH_BYTES,
            checksum: None,
            entropy_min: None,
            random: false,
            setting: None,
            lead: None,
            path: None,
            unless: Unless {
                path: globs(&PROSE.map(str::to_owned)).unwrap_or_default(),
                ..Unless::default()
            },
            near: Vec::new(),
            companion: false,
            operation: Some(operation.to_owned()),
            yields: false,
            examples: Vec::new(),
            negatives: Vec::new(),
        }
    }

    /// Compiles the patterns, and says which cannot be used.
    pub fn pattern_problems(&self) -> Vec<String> {
        let unless = self.unless.value.iter().chain(&self.unless.line);
        let lead = self.lead.iter().map(|lead| &lead.names);
        let own = self.pattern.as_deref();
        let all = own.into_iter().chain(lead).chain(unless);
        let problems = all.filter_map(|pattern| Some((pattern, pattern.check().err()?)));
        let told = problems.map(|(pattern, problem)| {
            format!("rule `{}`: `{}` {problem}", self.id, pattern.text())
        });
        let globs = self.path.iter().chain(&self.unless.path);
        let globs = globs.filter_map(|globs| Globs::compile(globs.patterns()).err());
        told.chain(globs.map(|problem| format!("rule `{}`: {problem}", self.id)))
            .collect()
    }

    /// Runs the rule by itself on its examples and counter-examples, and says what came out wrong.
    pub fn trials(&self) -> Vec<String> {
        let finds = |text: &str| match &self.pattern {
            Some(_) => search::first_value(self, text.as_bytes()).is_some(),
            None => RelPath::parse(text.to_ascii_lowercase().as_bytes()).is_ok_and(|path| {
                let matches =
                    |globs: &Option<Globs>| globs.as_ref().map(|globs| globs.excludes(&path));
                matches(&self.path) == Some(true) && matches(&self.unless.path) != Some(true)
            }),
        };
        let id = &self.id;
        let missed = self
            .expanded(&self.examples)
            .into_iter()
            .filter(|text| !finds(text));
        let missed = missed.map(|text| format!("rule `{id}` does not find its example `{text}`"));
        let negatives = self
            .expanded(&self.negatives)
            .into_iter()
            .filter(|text| finds(text));
        let wrong = negatives.map(|text| format!("rule `{id}` finds its counter-example `{text}`"));
        missed.chain(wrong).collect()
    }

    /// The texts of a list of templates, each expanded in the same way every time.
    pub fn expanded(&self, templates: &[String]) -> Vec<String> {
        let seeded = templates.iter().enumerate();
        seeded
            .map(|(at, text)| template::expand(text, &format!("{}/{at}", self.id)))
            .collect()
    }
}

const NO_ID: &str = "has an id that is not `family.kind` of `a-z`, `0-9` and `_`";

/// Whether a text is two or more segments of `a-z`, `0-9` and `_`, with dots between.
fn is_id(text: &str) -> bool {
    let is_inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    let is_segment = |segment: &str| !segment.is_empty() && segment.bytes().all(is_inner);
    text.contains('.') && text.split('.').all(is_segment)
}

impl Check {
    /// The first segment of the id.
    pub fn family(&self) -> &str {
        self.id.split('.').next().unwrap_or_default()
    }
}

fn globs(patterns: &[String]) -> Result<Option<Globs>, String> {
    if patterns.is_empty() {
        return Ok(None);
    }
    let globs = Globs::read(patterns).map_err(|error| format!("has a path whose {error}"))?;
    Ok(Some(globs))
}

/// What ends a value.
const END: &str = r#"(?:[\s"'`;,)\]}<>&|\\#]|$)"#;
/// What follows the name of a setting, value included: the rest of the name, then the syntaxes of
/// assignments. Each has a group around its value; what it means is judged by the filter, and where
/// it has to end by the rule's reach: counted repetitions of hundreds would be compiled to as many
/// states.
const SETTING: &str = concat!(
    r#"[\w.\-]{0,40}(?:\[[^\]\s]{0,20}\])?\\{0,3}["'`]?\]?(?:"#,
    // The value of an entry beside the one that has the name.
    r#",?\s{1,12}["']?(?:value|content|default)["']?[ ]?[=:][ ]?["']([^"'<>\r\n]+)["']|"#,
    // In quotes behind an operator, a type, a call or a prefix; or behind a blank.
    r#"(?:[ \t]{0,20}(?:[ ]?:[ ]?(?:&'\w{1,10} )?[\w&<>\[\]?.]{1,30}[ ]{0,8}=|[\w.\[\]*]{1,20}[ ]?=|[:?+|.&!]{0,3}={1,3}>?|:{1,3}|=>|->|<-|,|\(|\|\||\?\?|:-)\s{0,24}"#,
    r#"(?:[@bBuUrRfLN$&]{1,2}|(?:(?:new )?[A-Z]\w{1,30}|new [\w.]{1,40}|str|bytes|std::string|\w{1,20}::(?:from|new))\(\s?[@bBuUrRfLN$]?)?|[ \t]{1,4}(?:(?i:by|as|is|to|default)[ ])?)"#,
    r#"(?:"((?:[^"\\\r\n]|\\[^\r\n"]|\\"[^\s,:;)}\]])+)"|'((?:[^'\\\r\n]|\\[^\r\n])+)'|`([^`\r\n]+)`"#,
    r#"|\\{1,3}"([^"\\\r\n]+)\\{1,3}"|\\{1,3}'([^'\\\r\n]+)\\{1,3}'|&quot;([^&<\r\n]+)&quot;)"#,
    // Without quotes.
    r#"|[ \t]{0,20}(?:[:?+|.]{0,3}={1,3}>?|:{1,2}|=>)[ \t]{0,8}([^\s"'`<>,;][^\s"'`]{3,})"#,
    // The text of an element, an entry of a property list.
    r#"|(?:\s[^<>\r\n]{0,60})?>\s{0,40}(?:<(?i:value|string)>\s{0,10})?([^<>\s][^<>\r\n]*?)\s{0,40}</"#,
    r#"|</key>\s{0,40}<string>([^<>\r\n]+)</string>"#,
    r#")"#,
);

/// A setting of any value.
static ANY_SETTING: LazyLock<Arc<Pattern>> =
    LazyLock::new(|| Arc::new(Pattern::around(SETTING.to_owned(), &[])));

/// Splits the macro that a pattern begins with from the rest: `{{assign "names"}}` or
/// `{{setting "names"}}`.
fn lead(text: &str, keywords: &[String]) -> Result<(Option<Lead>, Arc<Pattern>), String> {
    let split = text
        .strip_prefix("{{")
        .and_then(|text| text.split_once("}}"));
    let found = split.and_then(|(name, rest)| {
        let (word, names) = name.split_once(' ')?;
        let behind = match word {
            "assign" => Behind::Assignment,
            "setting" => Behind::Setting,
            _ => return None,
        };
        Some((behind, names.trim().trim_matches('"'), rest))
    });
    let Some((behind, names, rest)) = found else {
        let pattern = Pattern::around(expand(text)?, keywords);
        return Ok((None, Arc::new(pattern)));
    };
    let names = Pattern::brief(format!("(?i:{names})"));
    let rest = expand(rest)?;
    let pattern = match behind {
        Behind::Assignment => Arc::new(Pattern::brief(rest)),
        // What is learned while one rule looks serves the others.
        Behind::Setting if rest.is_empty() => Arc::clone(&ANY_SETTING),
        Behind::Setting => Arc::new(Pattern::around(format!("{SETTING}{rest}"), &[])),
    };
    Ok((Some(Lead { names, behind }), pattern))
}

/// Expands `{{end}}`.
fn expand(text: &str) -> Result<String, String> {
    let expanded = text.replace("{{end}}", END);
    match expanded.contains("{{") {
        true => {
            Err("has a macro that is unknown, or stands elsewhere than at the beginning".into())
        }
        false => Ok(expanded),
    }
}
