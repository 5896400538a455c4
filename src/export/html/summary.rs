//! What every verb's `summary` holds, as it is: words and numbers, with their units. What is none of
//! something, or nothing that a person reads, is left out.

use serde_json::{Map, Value};

use super::markup::Markup;
use crate::base::units;

/// The most facts; a summary with more is no summary.
const FACTS_MAX: usize = 24;
/// The longest text that is one; identifiers are longer.
const TEXT_CHARACTERS_MAX: usize = 31;

/// Shows the summary of a report that has no sections of its own.
pub(super) fn section(page: &mut Markup, body: &Map<String, Value>) {
    let summary = body.get("summary").and_then(Value::as_object);
    let facts: Vec<(String, String)> = summary.into_iter().flatten().flat_map(facts).collect();
    if facts.is_empty() {
        return;
    }
    page.raw("<h2>Summary</h2>\n<ul class=\"facts\">");
    for (name, value) in facts.iter().take(FACTS_MAX) {
        page.within("<li><small>", name, "</small>")
            .text(value)
            .raw("</li>");
    }
    page.raw("</ul>\n");
}

/// A member of the summary, or those of an object in it under their own names.
fn facts((name, value): (&String, &Value)) -> Vec<(String, String)> {
    match value {
        Value::Object(members) => {
            let member =
                |(name, value): (&String, &Value)| Some((words(name), shown(name, value)?));
            members.iter().filter_map(member).collect()
        }
        value => shown(name, value)
            .map(|value| (words(name), value))
            .into_iter()
            .collect(),
    }
}

fn words(name: &str) -> String {
    let name = name
        .strip_suffix("_seconds")
        .or(name.strip_suffix("_bytes"))
        .unwrap_or(name);
    name.replace('_', " ")
}

/// A value with the unit that its name says; `None` where nothing is known.
fn shown(name: &str, value: &Value) -> Option<String> {
    match value {
        Value::String(text) => {
            let is_short = text.chars().count() <= TEXT_CHARACTERS_MAX;
            is_short.then(|| text.clone())
        }
        Value::Number(number) if number.as_f64() == Some(0.0) => None,
        Value::Bool(is_so) => Some(if *is_so { "yes" } else { "no" }.to_owned()),
        Value::Number(number) if name.ends_with("bytes") => number.as_u64().map(units::bytes),
        Value::Number(number) if name.ends_with("seconds") => {
            Some(format!("{:.2} s", number.as_f64()?))
        }
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_summary_is_words_and_numbers_with_their_units() {
        let body = json!({"summary": {
            "status": "<saved>", "id": "0123456789abcdef0123456789abcdef", "unknown": 0, "size_bytes": 1536, "wall_seconds": 1.234, "binds": true, "none": null, "list": [1],
            "counters": {"mode_changed": 2, "deep": {"x": 1}},
        }});
        let mut page = Markup::default();
        section(&mut page, body.as_object().unwrap_or(&Map::new()));
        let html = page.into_string();
        for part in [
            "<small>status</small>&lt;saved&gt;<",
            "<small>size</small>1.5 KiB<",
            "<small>wall</small>1.23 s<",
            "<small>binds</small>yes<",
            "<small>mode changed</small>2<",
        ] {
            assert!(html.contains(part), "{part}: {html}");
        }
        assert_eq!(html.matches("<li>").count(), 5);
        let mut empty = Markup::default();
        section(&mut empty, &Map::new());
        assert_eq!(empty.into_string(), "");
    }
}
