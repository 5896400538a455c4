//! The grammar against tables, and against another parser.
#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use super::*;
use proptest::prelude::*;
use serde::de::IgnoredAny;

fn read(dialect: Dialect, text: &[u8]) -> (Option<Problem>, Vec<(Spot, String)>, Shape) {
    let wanted = ["id", "name", "license", "y"].map(String::from);
    let [whole, pieces] = [text.len().max(1), 1].map(|size| {
        let mut reader = Reader::new(dialect, Shape::wanting(&wanted));
        text.chunks(size).for_each(|piece| reader.feed(piece));
        reader.finish()
    });
    assert_eq!(whole, pieces);
    whole
}

/// `line:column message`, empty for what is well-formed.
fn problem(dialect: Dialect, text: &str) -> String {
    let (problem, _, _) = read(dialect, text.as_bytes());
    problem.map_or_else(String::new, |problem| {
        let Spot { line, column } = problem.spot;
        format!("{line}:{column} {}", problem.message)
    })
}

#[test]
fn says_where_and_why_a_text_is_no_json() {
    use Dialect::{Comments, Json5, Lines, Strict};
    for (dialect, text, expected) in [
        (
            Strict,
            "{\"a\": [1, -2.5e+3, true, null, \"\\u00e9\\n\"]}\n",
            "",
        ),
        (Strict, "\u{feff}{}", ""),
        (Strict, "12", ""),
        (Strict, "", "1:1 the file holds no value"),
        (Strict, " \n", "2:1 the file holds no value"),
        (Strict, "{\"a\": 1", "1:8 the text ends in the middle"),
        (
            Strict,
            "{\"é\": 1,\n}",
            "2:1 expected a key in double quotes, found `}`",
        ),
        (Strict, "[1,]", "1:4 expected a value, found `]`"),
        (Strict, "[1 2]", "1:4 expected `,` or `]`, found `2`"),
        (Strict, "{\"a\" 1}", "1:6 expected `:`, found `1`"),
        (Strict, "{\"a\": 1]", "1:8 expected `,` or `}`, found `]`"),
        (Strict, "[01]", "1:2 expected a value, found a word"),
        (Strict, "[NaN]", "1:2 expected a value, found a word"),
        (
            Strict,
            "{a: 1}",
            "1:2 expected a key in double quotes, found `a`",
        ),
        (
            Strict,
            "\"a\nb\"",
            "1:3 expected the end of the text, found the end of the line",
        ),
        (Strict, "\"\\x\"", "1:3 expected an escape, found `x`"),
        (
            Strict,
            "\"\\u12g4\"",
            "1:6 expected four hexadecimal digits, found `g`",
        ),
        (Strict, "{} // x", "1:4 something follows the value"),
        (Strict, "{}\n{}", "2:1 something follows the value"),
        (Strict, "{}\u{feff}", "1:3 something follows the value"),
        (Comments, "{\"a\": 1, /* x **/ // y\n}", ""),
        (
            Comments,
            "{\"a\": 1 /* x",
            "1:13 the text ends in the middle",
        ),
        (Comments, "[1,] // end", ""),
        (
            Comments,
            "{a: 1}",
            "1:2 expected a key in double quotes, found `a`",
        ),
        (
            Json5,
            "{a: 'it\\'s', $b: +.5, c: 0xFF, d: [Infinity, -NaN, 5.,],}",
            "",
        ),
        (Json5, "{a b}", "1:4 expected `:`, found `b`"),
        (Json5, "[1x]", "1:2 expected a value, found a word"),
        (Lines, "{\"a\": 1}\r\n\n[2]\n", ""),
        (Lines, "", ""),
        (
            Lines,
            "{}\n{} {}\n",
            "2:4 expected the end of the line, found `{`",
        ),
        (
            Lines,
            "{\"a\":\n1}\n",
            "1:6 expected the rest of the value, found the end of the line",
        ),
        (Lines, "{}\nx\n", "2:1 expected a value, found a word"),
    ] {
        assert_eq!(problem(dialect, text), expected, "{dialect:?} {text}");
    }
}

#[test]
fn keys_that_come_twice_in_one_object_are_told_where_they_come_again() {
    let text = "{\"a\": 1, \"b\": {\"a\": 2, \"a\": 3},\n \"\\u0061\": [{\"a\": 1}, {\"a\": 2}]}";
    let (problem, twice, shape) = read(Dialect::Strict, text.as_bytes());
    assert_eq!(problem, None);
    let spot = |line, column| Spot { line, column };
    assert_eq!(twice, [(spot(1, 24), "a".into()), (spot(2, 2), "a".into())]);
    assert!(shape.is_object);
}

#[test]
fn fields_are_those_of_the_outermost_object_and_of_its_metadata() {
    let text =
        br#"{"id": {"no": 1}, "metadata": {"author": {"name": 1}, "license": 2}, "x": [{"y": 1}]}"#;
    let missing = read(Dialect::Strict, text).2.missing;
    assert_eq!(Vec::from_iter(missing), ["name", "y"]);
}

#[test]
fn two_hundred_thousand_brackets_are_too_deep_and_nothing_else() {
    for (open, text) in [("[", "["), ("{\"a\":", "{")] {
        let (problem, _, _) = read(Dialect::Strict, open.repeat(200_000).as_bytes());
        let problem = problem.unwrap();
        assert_eq!(problem.kind, ProblemKind::Nesting, "{text}: {problem:?}");
    }
    let deep = "[".repeat(NESTING_MAX) + &"]".repeat(NESTING_MAX);
    assert_eq!(problem(Dialect::Strict, &deep), "");
}

/// Texts that are nearly JSON.
fn nearly() -> impl Strategy<Value = String> {
    let token = prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "\"a\"",
        "\"\\u00e9\"",
        "\"",
        "1",
        "-0.5e1",
        "01",
        "true",
        "null",
        " ",
        "\n",
        "é",
        "\\",
        "/",
        "-",
        ".",
        "e5",
    ]);
    proptest::collection::vec(token, 0..12).prop_map(|tokens| tokens.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]
    #[test]
    fn agrees_with_another_parser(text in nearly()) {
        let other = serde_json::from_str::<IgnoredAny>(&text);
        prop_assert_eq!(problem(Dialect::Strict, &text).is_empty(), other.is_ok(), "{}", text);
    }

}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]
    #[test]
    fn agrees_with_another_parser_on_documents(value in document()) {
        let text = value.to_string();
        prop_assert_eq!(problem(Dialect::Strict, &text), "");
    }
}

fn document() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        ".*".prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            proptest::collection::btree_map(".*", inner, 0..4)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}
