//! Rules in words: the page of a family, and what a rule is about. Owns the text that `agp guard
//! rules explain` and `docs/rules/` share; prints nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::filter::Checksum;
use super::redact::hidden;
use super::rule::{Check, Family, Pack, Rule};
use super::{search, template};
use crate::base::severity::Severity;
use crate::report::{Category, Confidence, Explanation, Finding};

/// How many keywords and examples of a rule are shown.
const KEYWORDS_SHOWN: usize = 12;
const EXAMPLES_SHOWN: usize = 3;
/// The longest example, characters.
const EXAMPLE_CHARS_MAX: usize = 160;

/// A rule or check as a line of a list.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Listed {
    /// `family.kind`.
    pub id: String,
    /// What it finds.
    pub title: String,
    /// The kind of violation.
    pub category: Category,
    /// How bad it is.
    pub severity: Severity,
    /// How sure it is.
    pub confidence: Confidence,
    /// `rule` for a pattern, `check` for what is code.
    pub kind: &'static str,
}

/// Every rule that reports and every check, sorted by identifier.
pub fn list(pack: &Pack) -> Vec<Listed> {
    let rules = pack.rules.iter().filter(|rule| !rule.companion);
    let rules = rules.map(|rule| Listed {
        id: rule.id.clone(),
        title: rule.title.clone(),
        category: rule.category,
        severity: rule.severity,
        confidence: rule.confidence,
        kind: "rule",
    });
    let checks = pack.checks.values().map(|check| Listed {
        id: check.id.clone(),
        title: check.title.clone(),
        category: check.category,
        severity: check.severity,
        confidence: check.confidence,
        kind: "check",
    });
    let mut all: Vec<Listed> = rules.chain(checks).collect();
    all.sort_by(|a, b| a.id.cmp(&b.id));
    all
}

/// What stands behind the rules and checks of findings, by their identifiers.
pub fn behind(pack: &Pack, findings: &[Finding]) -> BTreeMap<String, Explanation> {
    let details = findings
        .iter()
        .filter_map(|finding| finding.detail.as_deref());
    let ids: BTreeSet<&str> = details.map(|detail| detail.rule_id.as_str()).collect();
    let explanation = |id: &str| {
        let rule = pack.find(id).map(|rule| (&rule.title, rule.severity));
        let check = || {
            pack.checks
                .get(id)
                .map(|check| (&check.title, check.severity))
        };
        let (title, severity) = rule.or_else(check)?;
        let family = pack.families.get(id.split('.').next().unwrap_or_default());
        let text = |text: Option<&String>| text.cloned().unwrap_or_default();
        Some(Explanation {
            title: title.clone(),
            why: text(family.map(|family| &family.why)),
            fix: text(family.map(|family| &family.fix)),
            severity,
        })
    };
    ids.into_iter()
        .filter_map(|id| Some((id.to_owned(), explanation(id)?)))
        .collect()
}

/// The page of a family, a rule or a check, in Markdown; `None` for a name that nothing has.
pub fn explain(pack: &Pack, name: &str) -> Option<String> {
    let family = name.split('.').next().unwrap_or_default();
    let described = pack.families.get(family);
    let is_meant = |id: &str| id == name || name == family;
    let mut sections = String::new();
    for listed in list(pack)
        .into_iter()
        .filter(|listed| listed.id.split('.').next() == Some(family) && is_meant(&listed.id))
    {
        match (pack.find(&listed.id), pack.checks.get(&listed.id)) {
            (Some(rule), _) => rule_section(rule, &mut sections),
            (None, Some(check)) => check_section(check, &mut sections),
            (None, None) => {}
        }
    }
    if sections.is_empty() {
        return None;
    }
    let mut page = match described {
        Some(family) => head(family),
        None => format!("# {family}\n"),
    };
    page.push_str(&sections);
    page.push_str(&suppression(if name == family { None } else { Some(name) }));
    Some(page)
}

/// The page that lists the families.
pub fn index(pack: &Pack) -> String {
    let all = list(pack);
    let mut page = format!(
        "# The rules of `agp guard`\n\n{} in {} families; a test keeps these pages in step with the rules.\n\
         `agp guard rules explain ID` prints the part about one rule, `agp guard rules list` all of them.\n\n\
         | family | rules | about |\n|---|--:|---|\n",
        crate::base::units::count(all.len() as u64, "rule"),
        pack.families.len()
    );
    for (id, family) in &pack.families {
        let own = |listed: &&Listed| listed.id.split('.').next() == Some(id);
        let count = all.iter().filter(own).count();
        // Writing to a text cannot fail.
        let _ = writeln!(page, "| [`{id}`]({id}.md) | {count} | {} |", family.title);
    }
    page
}

fn head(family: &Family) -> String {
    let Family {
        title, why, fix, ..
    } = family;
    format!("# {title}\n\n**Why it matters.** {why}\n\n**How to fix it.** {fix}\n")
}

fn title(out: &mut String, id: &str, (title, words): (&str, [&str; 3])) {
    let [category, severity, confidence] = words;
    let _ = write!(
        out,
        "\n## `{id}`\n\n{title}. A finding is {category} of severity **{severity}**, confidence {confidence}.\n"
    );
}

fn check_section(check: &Check, out: &mut String) {
    let words = [
        category_in_words(check.category),
        check.severity.word(),
        check.confidence.word(),
    ];
    title(out, &check.id, (&check.title, words));
    out.push_str("\n**What it looks for.** A check in code; it has no pattern.\n");
}

fn rule_section(rule: &Rule, out: &mut String) {
    let words = [
        category_in_words(rule.category),
        rule.severity.word(),
        rule.confidence.word(),
    ];
    title(out, &rule.id, (&rule.title, words));
    let _ = write!(out, "\n**What it looks for.** {}\n", looks_for(rule));
    let expanded = rule.expanded(&rule.examples);
    let templates = rule.examples.iter().zip(&expanded);
    let mut examples: Vec<String> = templates
        .filter_map(|(template, text)| shape(rule, (template, text)))
        .collect();
    examples.dedup();
    examples.truncate(EXAMPLES_SHOWN);
    if !examples.is_empty() {
        let _ = write!(
            out,
            "\n**What it finds.**\n\n```text\n{}\n```\n",
            examples.join("\n")
        );
    }
}

fn looks_for(rule: &Rule) -> String {
    let listed = |texts: &[String]| {
        let more = texts.len().saturating_sub(KEYWORDS_SHOWN);
        let mut quoted: Vec<String> = texts
            .iter()
            .take(KEYWORDS_SHOWN)
            .map(|text| code(text.trim()))
            .collect();
        if more > 0 {
            quoted.push(format!("{more} more"));
        }
        quoted.join(", ")
    };
    let mut text = match rule.pattern {
        Some(_) => format!("Its pattern near {}", listed(&rule.keywords)),
        None => "Files by their names".to_owned(),
    };
    if let Some(globs) = &rule.path {
        let _ = write!(text, ", in {}", listed(globs.patterns()));
    }
    if !rule.near.is_empty() {
        let near = rule.near.iter().map(|near| {
            let lines = crate::base::units::count(near.lines, "line");
            format!("`{}` within {lines}", near.rule)
        });
        let near: Vec<String> = near.collect();
        let _ = write!(text, ", beside {}", near.join(" or "));
    }
    text.push('.');
    if let Some(checksum) = rule.checksum {
        let checksum = checksum_in_words(checksum);
        let _ = write!(
            text,
            " The value has {checksum}: where that does not hold, the finding is medium at most."
        );
    }
    if rule.random || rule.entropy_min.is_some() {
        text.push_str(" The value has to look drawn at random.");
    }
    if rule.category == Category::Secret {
        text.push_str(" Placeholders are let pass.");
    }
    if let Some(operation) = &rule.operation {
        let _ = write!(
            text,
            " It is evidence of the operation `{operation}`: critical where the policy blocks that, no finding where it allows it, medium where it says nothing."
        );
    }
    text
}

/// A text as code in Markdown, whatever it holds.
fn code(text: &str) -> String {
    match text.contains('`') {
        true => format!("`` {text} ``"),
        false => format!("`{text}`"),
    }
}

fn category_in_words(category: Category) -> &'static str {
    match category {
        Category::Secret => "a secret",
        Category::SuspiciousFile => "a suspicious file",
        Category::Operation => "an operation",
        Category::Configuration => "a configuration violation",
    }
}

fn checksum_in_words(checksum: Checksum) -> &'static str {
    match checksum {
        Checksum::Crc32Base62 => "a CRC-32 at its end",
        Checksum::Luhn => "a check digit",
        Checksum::Jwt => "the structure of a JSON web token",
        Checksum::Pem => "the structure of a PEM block",
    }
}

/// What an example looks like, its random parts by what they are made of, and no value as it is;
/// `None` where that is too long to show.
fn shape(rule: &Rule, (template, text): (&str, &str)) -> Option<String> {
    let mut shown = template::shape(template);
    if rule.category == Category::Secret && rule.pattern.is_some() {
        let value = search::first_value(rule, text.as_bytes())?;
        let value = text.get(value)?;
        shown = shown.replace(value, &hidden(value.as_bytes()));
    }
    let is_short = shown.chars().count() <= EXAMPLE_CHARS_MAX && !shown.contains("```");
    is_short.then_some(shown)
}

fn suppression(name: Option<&str>) -> String {
    let whom = match name {
        Some(name) => format!("`{name}`"),
        None => "the identifier of the rule".to_owned(),
    };
    format!(
        "\n## How to suppress\n\n\
         - One finding: `agp:allow[…] reason=…` on its line, or `agp:allow-next[…] reason=…` on the line before, with \
         {whom} between the brackets.\n\
         - Everything that is there today: `agp guard --baseline FILE --update-baseline`.\n\
         - The rule as a whole: {whom} in `policy_guard.disabled_rules`.\n"
    )
}
