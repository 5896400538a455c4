//! What the policy's schema says, for editors (JSON Schema), for people (the reference) and for
//! error messages (expectations). All of it is made from the types in `raw`.

use std::fmt::Write;

use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::found::{self, Standing};
use super::place::{Kind, Node};
use super::raw::Policy;

/// The policy that `agp tool policy init` prints: every key with its default.
pub fn starter() -> String {
    include_str!("../../config/assets_quality_policy.json").into()
}

/// The JSON Schema (draft 2020-12) of a policy file, without references.
pub fn schema() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.inline_subschemas = true;
    });
    let schema = settings.into_generator().into_root_schema_for::<Policy>();
    let mut schema = schema.to_value();
    tidy(&mut schema);
    // The type's name; here a title is what an error message calls the value.
    if let Some(members) = schema.as_object_mut() {
        members.remove("title");
    }
    schema
}

/// Drops the defaults of whole sections, which their keys say already, writes `300.0` as 300 and
/// each description on one line.
fn tidy(value: &mut Value) {
    match value {
        Value::Object(members) => {
            if members.contains_key("properties") {
                members.remove("default");
            }
            members.remove("writeOnly");
            if let Some(Value::String(text)) = members.get_mut("description") {
                *text = text.split_whitespace().collect::<Vec<_>>().join(" ");
            }
            members.values_mut().for_each(tidy);
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        Value::Number(number) => {
            if let Some(float) = number.as_f64()
                && float.fract() == 0.0
                && (0.0..1e15).contains(&float)
            {
                *value = (float as u64).into();
            }
        }
        _ => {}
    }
}

/// The keys that an object of this schema may have, sorted.
pub(super) fn keys(schema: &Value) -> Vec<&str> {
    let properties = schema["properties"].as_object();
    properties
        .into_iter()
        .flatten()
        .map(|(key, _)| &**key)
        .collect()
}

/// The words of a closed list, with what each means; empty where any text goes.
fn explained_words(schema: &Value) -> impl Iterator<Item = (&str, &str)> {
    let choices = schema["oneOf"].as_array().into_iter().flatten();
    choices.filter_map(|choice| {
        let meaning = choice["description"].as_str().unwrap_or_default();
        Some((choice["const"].as_str()?, meaning))
    })
}

/// The words of a closed list; empty where any text goes.
pub(super) fn words(schema: &Value) -> Vec<&str> {
    explained_words(schema).map(|(word, _)| word).collect()
}

/// The JSON types that the schema allows.
pub(super) fn types(schema: &Value) -> impl Iterator<Item = &str> {
    let list = schema["type"].as_array().into_iter().flatten();
    let words = schema["oneOf"].as_array().map(|_| "string");
    list.filter_map(Value::as_str)
        .chain(schema["type"].as_str())
        .chain(words)
}

/// What a value of this schema has to be, in words that follow "expected".
pub(super) fn expectation(schema: &Value) -> String {
    let or_null = types(schema).any(|name| name == "null");
    let mut expected = match (schema["title"].as_str(), words(schema)) {
        (Some(title), _) => title.to_owned(),
        (None, words) if !words.is_empty() => format!("one of `{}`", words.join("`, `")),
        (None, _) => {
            let types = types(schema).filter(|name| *name != "null");
            let named = types.map(|name| match name {
                "boolean" => "`true` or `false`".into(),
                "integer" => format!("a whole number{}", range(schema)),
                "number" => format!("a number{}", range(schema)),
                "string" if schema["minLength"].is_null() => "text".into(),
                "string" => "text that is not empty".into(),
                "array" if schema["minItems"].is_null() => "an array".into(),
                "array" => "an array of at least one item".into(),
                _ => "an object".into(),
            });
            named.collect::<Vec<String>>().join(" or ")
        }
    };
    if or_null {
        expected.push_str(", or null");
    }
    expected
}

/// The bounds of a number; every shape of one has a lower and an upper.
fn range(schema: &Value) -> String {
    let bounds = ["minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum"];
    match bounds.map(|key| &schema[key]) {
        [from, Value::Null, to, _] => format!(" from {from} to {to}"),
        [_, above, Value::Null, below] => format!(" above {above} and below {below}"),
        [_, above, most, _] => format!(" above {above} and at most {most}"),
    }
}

const PREFACE: &str = "\
# The policy file

`agp` reads one policy file, JSON in UTF-8 of at most 1 MiB:

1. the one that `--config FILE` or the variable `AGP_CONFIG` names; it must exist and be valid,
2. otherwise `config/assets_quality_policy.json` below the working directory, if it is there,
3. otherwise the built-in default, which is what this page gives under *Default*.

Every section and key may be left out, and `{}` is the default policy with auditing on. An unknown
key, a duplicate key, a wrong type and a value out of range are errors, exit code 2; all of them are
reported at once, each with its JSON pointer and line. `agp tool policy init` prints a policy with
every key.

A file that was found without `--config` may come from a stranger. It contributes thresholds and
rules only: what its keys may do is said under *Found*. **ignored** is ignored with a warning,
**tighter only** is put back to the default with a warning where it would loosen it, and **yes**
counts as it stands.

Durations are seconds, sizes MiB where the key says `mb`, otherwise bytes. Times are UTC. Secrets
never stand in this file: a key that ends in `_env` names an environment variable.

This page and [its JSON Schema](formats/policy.schema.json) are made from the types in
`src/policy/raw.rs`; a test keeps them in step.
";

/// The reference of every key, in Markdown.
pub fn reference() -> String {
    let schema = schema();
    let mut page = PREFACE.to_owned();
    for section in keys_as_shown("", &schema) {
        let section_schema = &schema["properties"][&section];
        if section_schema["properties"].is_object() {
            describe_object(&mut page, &format!("/{section}"), section_schema);
        }
    }
    page
}

/// The keys of an object, in the order of the shipped policy where that shows them.
fn keys_as_shown(pointer: &str, schema: &Value) -> Vec<String> {
    let starter = starter();
    let shown = Node::read(&starter).ok();
    let place = |key: &str| match &shown.as_ref()?.at(pointer)?.kind {
        Kind::Object(members) => members.iter().position(|member| member.key == key),
        _ => None,
    };
    let mut keys: Vec<_> = keys(schema).into_iter().map(String::from).collect();
    keys.sort_by_key(|key| place(key));
    keys
}

fn describe_object(page: &mut String, pointer: &str, schema: &Value) {
    let depth = pointer.split('/').count();
    let text = schema["description"].as_str().unwrap_or_default();
    let in_section = depth == 2;
    let (found_head, found_rule) = match in_section {
        true => (" Found |", "---|"),
        false => ("", ""),
    };
    // Writing to a `String` cannot fail.
    let _ = write!(
        page,
        "\n{} `{pointer}`\n\n{}\n\n| Key | Value | Default |{found_head} Meaning |\n|---|---|---|{found_rule}---|\n",
        "#".repeat(depth.min(4)),
        text,
    );
    let mut inner = Vec::new();
    for key in keys_as_shown(pointer, schema) {
        let own = &schema["properties"][&key];
        let below = format!("{pointer}/{key}");
        let found = match (in_section, found::standing(&below)) {
            (false, _) => String::new(),
            (true, Standing::Yes) => " yes |".into(),
            (true, Standing::Tighter) => " tighter only |".into(),
            (true, Standing::Ignored) => " ignored |".into(),
        };
        let _ = writeln!(
            page,
            "| `{key}` | {} | {} |{found} {} |",
            value_in_words(own).replace('|', "\\|"),
            default_in_words(&key, schema),
            meaning(own).replace('|', "\\|"),
        );
        for (step, held) in [("0", &own["items"]), ("NAME", &own["additionalProperties"])] {
            if held["properties"].is_object() {
                inner.push((format!("{below}/{step}"), held.clone()));
            }
        }
    }
    for (pointer, schema) in inner {
        describe_object(page, &pointer, &schema);
    }
}

fn value_in_words(schema: &Value) -> String {
    let one = expectation(schema);
    let each = |held: &Value| match held["properties"].is_object() {
        true => "as below".into(),
        false => expectation(held),
    };
    match (&schema["items"], &schema["additionalProperties"]) {
        (held @ Value::Object(_), _) if schema["title"].is_null() => {
            format!("{one}; each item: {}", each(held))
        }
        (_, held @ Value::Object(_)) => {
            let name = match &schema["propertyNames"] {
                Value::Null => String::new(),
                name => format!("; each name: {}", expectation(name)),
            };
            format!("{one}{name}; each member: {}", each(held))
        }
        _ => one,
    }
}

fn default_in_words(key: &str, schema: &Value) -> String {
    let required = schema["required"].as_array().into_iter().flatten();
    if required.into_iter().any(|required| required == key) {
        return "needed".into();
    }
    format!("`{}`", schema["properties"][key]["default"])
}

fn meaning(schema: &Value) -> String {
    let mut text = schema["description"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let words = explained_words(schema).chain(explained_words(&schema["items"]));
    for (word, meaning) in words {
        let _ = write!(text, " `{word}`: {meaning}");
    }
    text
}
