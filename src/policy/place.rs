//! JSON text as a tree whose every node knows where it stands, so that a problem can name its line.
//!
//! Knows JSON (RFC 8259) and nothing of policies. Duplicate keys stay in the tree, side by side.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::value::RawValue;

/// The deepest nesting that is read; a policy needs six levels.
const DEPTH_MAX: usize = 128;

/// A position in a text: line and column, from 1; the column counts characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Place {
    /// The line.
    pub line: u64,
    /// The column, in characters.
    pub column: u64,
}

impl Place {
    /// The position of a byte in a text.
    pub(super) fn of(offset: usize, text: &str) -> Self {
        let before = &text[..text.floor_char_boundary(offset)];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let newlines = before.bytes().filter(|byte| *byte == b'\n').count();
        Self {
            line: newlines as u64 + 1,
            column: before[line_start..].chars().count() as u64 + 1,
        }
    }
}

/// Something about a policy file that its owner should know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// What it is about (RFC 6901); empty for the whole file. For an unknown, missing or
    /// duplicate key: the object that holds it.
    pub pointer: String,
    /// The line in the file, from 1.
    pub line: u64,
    /// The column in that line, in characters, from 1.
    pub column: u64,
    /// What was expected and what was found, as a lower-case fragment. Safe to print.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// A value and the byte at which it starts.
pub(super) struct Node<'t> {
    pub(super) start: usize,
    pub(super) kind: Kind<'t>,
}

/// A JSON value; numbers as they are written.
pub(super) enum Kind<'t> {
    Null,
    Bool(bool),
    Number(&'t str),
    Text(Cow<'t, str>),
    Array(Vec<Node<'t>>),
    Object(Vec<Member<'t>>),
}

/// A key, the byte at which it starts, and its value.
pub(super) struct Member<'t> {
    pub(super) start: usize,
    pub(super) key: Cow<'t, str>,
    pub(super) value: Node<'t>,
}

/// Why a text is not JSON, and the byte at which that shows.
#[derive(Debug)]
pub(super) struct SyntaxProblem {
    pub(super) offset: usize,
    pub(super) message: String,
}

impl<'t> Node<'t> {
    /// Reads a text that holds one JSON value.
    pub(super) fn read(text: &'t str) -> Result<Self, SyntaxProblem> {
        // The syntax first, without recursion: what follows may rely on it.
        serde_json::from_str::<&RawValue>(text).map_err(|error| syntax_problem(&error, text, 0))?;
        Reader { text, at: 0 }.node(0)
    }

    /// The member of that name, if this is an object that has one.
    pub(super) fn member(&self, key: &str) -> Option<&Self> {
        match &self.kind {
            Kind::Object(members) => members
                .iter()
                .find(|member| member.key == key)
                .map(|member| &member.value),
            _ => None,
        }
    }

    /// The items, if this is an array; none otherwise.
    pub(super) fn items(&self) -> &[Self] {
        match &self.kind {
            Kind::Array(items) => items,
            _ => &[],
        }
    }

    /// The text, if this is one.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The node that a JSON pointer leads to.
    pub(super) fn at(&self, pointer: &str) -> Option<&Self> {
        pointer.split('/').skip(1).try_fold(self, |node, step| {
            let step = step.replace("~1", "/").replace("~0", "~");
            let item = || node.items().get(step.parse::<usize>().ok()?);
            node.member(&step).or_else(item)
        })
    }
}

/// Turns an error of the JSON reader about the text from byte `from` on into ours.
fn syntax_problem(error: &serde_json::Error, text: &str, from: usize) -> SyntaxProblem {
    let lines = text[from..].split_inclusive('\n').map(str::len);
    let line_start: usize = lines.take(error.line().saturating_sub(1)).sum();
    let offset = from + line_start + error.column().saturating_sub(1);
    let message = error.to_string();
    let message = message
        .rsplit_once(" at line ")
        .map_or(&*message, |split| split.0);
    let offset = offset.min(text.len());
    let before = &text.as_bytes()[..offset];
    let after_comma = before.trim_ascii_end().ends_with(b",");
    let closing = matches!(text.as_bytes().get(offset), Some(b'}' | b']'));
    let message = match message {
        _ if error.is_eof() => "the file ends in the middle of a value",
        _ if after_comma && closing => "trailing comma",
        message => message,
    };
    SyntaxProblem {
        offset,
        message: format!("not JSON: {message}"),
    }
}

/// Walks over text that is known to be JSON.
struct Reader<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Reader<'t> {
    /// The next byte that is no white space; a closing bracket where the text ends.
    fn peek(&mut self) -> u8 {
        let rest = &self.text.as_bytes()[self.at..];
        let blank = rest.iter().take_while(|byte| byte.is_ascii_whitespace());
        self.at += blank.count();
        self.text.as_bytes().get(self.at).map_or(b']', |byte| *byte)
    }

    fn node(&mut self, depth: usize) -> Result<Node<'t>, SyntaxProblem> {
        let first = self.peek();
        let start = self.at;
        if depth > DEPTH_MAX {
            return Err(SyntaxProblem {
                offset: start,
                message: format!("nested deeper than {DEPTH_MAX} levels"),
            });
        }
        let kind = match first {
            b'{' => Kind::Object(self.members(depth)?),
            b'[' => Kind::Array(self.array_items(depth)?),
            b'"' => Kind::Text(self.string()?),
            _ => match self.word() {
                "null" => Kind::Null,
                "true" => Kind::Bool(true),
                "false" => Kind::Bool(false),
                number => Kind::Number(number),
            },
        };
        Ok(Node { start, kind })
    }

    fn members(&mut self, depth: usize) -> Result<Vec<Member<'t>>, SyntaxProblem> {
        let mut members = Vec::new();
        self.at += 1;
        while self.peek() == b'"' {
            let start = self.at;
            let key = self.string()?;
            self.peek();
            self.at += 1; // the colon
            let value = self.node(depth + 1)?;
            members.push(Member { start, key, value });
            self.at += usize::from(self.peek() == b',');
        }
        self.at += 1;
        Ok(members)
    }

    fn array_items(&mut self, depth: usize) -> Result<Vec<Node<'t>>, SyntaxProblem> {
        let mut items = Vec::new();
        self.at += 1;
        while self.peek() != b']' {
            items.push(self.node(depth + 1)?);
            self.at += usize::from(self.peek() == b',');
        }
        self.at += 1;
        Ok(items)
    }

    /// A literal or a number: everything up to what may follow one.
    fn word(&mut self) -> &'t str {
        let rest = &self.text[self.at..];
        let end = rest.find([',', ']', '}', ' ', '\t', '\n', '\r']);
        let word = &rest[..end.unwrap_or(rest.len())];
        self.at += word.len();
        word
    }

    fn string(&mut self) -> Result<Cow<'t, str>, SyntaxProblem> {
        let start = self.at;
        let bytes = self.text.as_bytes();
        let mut end = start + 1;
        while bytes.get(end).is_some_and(|byte| *byte != b'"') {
            end += 1 + usize::from(bytes[end] == b'\\');
        }
        self.at = end + 1;
        let quoted = &self.text[start..self.at];
        match quoted.contains('\\') {
            false => Ok(Cow::Borrowed(&quoted[1..quoted.len() - 1])),
            true => serde_json::from_str(quoted)
                .map(Cow::Owned)
                .map_err(|error| syntax_problem(&error, self.text, start)),
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn finds_the_place_of_every_pointer() {
        let text = "{\n  \"a\": [1, {\"b/c~d\": null}],\n  \"é\": {\"é\": \"x\"}, \"t\":true}\n";
        let root = Node::read(text).unwrap();
        for (pointer, line, column) in [
            ("", 1, 1),
            ("/a", 2, 8),
            ("/a/0", 2, 9),
            ("/a/1/b~1c~0d", 2, 22),
            ("/é/é", 3, 14),
            ("/t", 3, 24),
        ] {
            let place = Place::of(root.at(pointer).unwrap().start, text);
            assert_eq!(place, Place { line, column }, "{pointer}");
        }
        assert!(root.at("/a/2").is_none());
        assert!(root.at("/b").is_none());
        assert!(root.at("/t/x").is_none());
    }

    #[test]
    fn names_what_is_not_json_and_where() {
        for (text, message, offset) in [
            ("", "the file ends in the middle of a value", 0),
            ("{\"a\":\n [1,", "the file ends in the middle of a value", 9),
            ("{} {}", "trailing characters", 3),
            ("{\"a\": 1,}", "trailing comma", 8),
            ("[1,\n]", "trailing comma", 4),
            ("{'a': 1}", "key must be a string", 1),
            ("[1 2]", "expected `,` or `]`", 3),
            ("\u{feff}{}", "expected value", 0),
            ("[\"\\ud800\"]", "unexpected end of hex escape", 8),
        ] {
            let problem = Node::read(text).err().unwrap();
            let expected = (format!("not JSON: {message}"), offset);
            assert_eq!((problem.message, problem.offset), expected, "{text}");
        }
    }

    fn rebuild(node: &Node<'_>) -> serde_json::Value {
        match &node.kind {
            Kind::Null => serde_json::Value::Null,
            Kind::Bool(value) => (*value).into(),
            Kind::Number(text) => serde_json::from_str(text).unwrap(),
            Kind::Text(text) => (&**text).into(),
            Kind::Array(items) => items.iter().map(rebuild).collect(),
            Kind::Object(members) => members
                .iter()
                .map(|member| (member.key.to_string(), rebuild(&member.value)))
                .collect(),
        }
    }

    fn any_value() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            ".{0,8}".prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 40, 5, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..5).prop_map(Into::into),
                proptest::collection::btree_map(".{0,5}", inner, 0..5)
                    .prop_map(|members| members.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn reads_every_value_as_the_json_reader_does(value in any_value()) {
            for text in [value.to_string(), format!(" {value:#}\n")] {
                prop_assert_eq!(&rebuild(&Node::read(&text).unwrap()), &value);
            }
        }

        #[test]
        fn never_panics_on_any_text(text in "[\\[\\]{}\",:\\\\ud80123ea.\\-ntrfl\u{feff}é\\x00\n ]{0,40}") {
            if let Err(problem) = Node::read(&text) {
                prop_assert!(problem.offset <= text.len());
                Place::of(problem.offset, &text);
            }
        }
    }
}
