//! TOML: whether it is any, and what the outermost table holds.

use toml::de::{DeTable, DeValue};

use super::Shape;
use super::json::{Problem, ProblemKind};
use crate::guard::notes::Spot;

/// Reads a text.
pub(super) fn read(text: &str, wanted: &[String]) -> (Option<Problem>, Shape) {
    let mut shape = Shape::wanting(wanted);
    shape.is_object = true;
    match DeTable::parse(text) {
        Ok(table) => {
            for (key, value) in table.get_ref() {
                shape.see(1, key.get_ref());
                if let DeValue::Table(inner) = value.get_ref() {
                    inner.keys().for_each(|key| shape.see(2, key.get_ref()));
                }
            }
            (None, shape)
        }
        Err(error) => {
            let offset = error.span().map_or(0, |span| span.start);
            let message = error
                .message()
                .lines()
                .next()
                .unwrap_or_default()
                .to_owned();
            let kind = match message.contains("recurs") {
                true => ProblemKind::Nesting,
                false => ProblemKind::Syntax,
            };
            let problem = Problem {
                spot: spot_of(text, offset),
                message,
                kind,
            };
            (Some(problem), shape)
        }
    }
}

fn spot_of(text: &str, offset: usize) -> Spot {
    let before = &text[..text.floor_char_boundary(offset)];
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    Spot {
        line: before.bytes().filter(|byte| *byte == b'\n').count() as u64 + 1,
        column: before[line_start..].chars().count() as u64 + 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_where_and_why_a_text_is_no_toml() {
        for (text, expected) in [
            ("a = 1\n[b]\nc = 'd'\n", ""),
            ("", ""),
            ("a = 1\na = 2\n", "2:1"),
            ("a = [1,\n", "1:8"),
            ("é = 1\n", "1:1"),
            ("x = \n", "1:5"),
        ] {
            let problem = read(text, &[]).0;
            let place = problem.map_or_else(String::new, |problem| {
                format!("{}:{}", problem.spot.line, problem.spot.column)
            });
            assert_eq!(place, expected, "{text}");
        }
        let wanted = ["id", "license"].map(String::from);
        let (_, shape) = read("id = 1\n[metadata]\nlicense = 2\n", &wanted);
        assert!(shape.missing.is_empty());
    }

    #[test]
    fn two_hundred_thousand_brackets_are_too_deep_and_nothing_else() {
        for text in [
            format!("a = {}", "[".repeat(200_000)),
            format!("a = {}", "{a=".repeat(200_000)),
        ] {
            let problem = read(&text, &[]).0;
            let kind = problem.map(|problem| problem.kind);
            assert_eq!(kind, Some(ProblemKind::Nesting), "{}", &text[..9]);
        }
    }
}
