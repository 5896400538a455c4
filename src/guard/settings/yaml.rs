//! YAML as a stream of events: whether it is any, which keys come twice, and what stands at which
//! place. Aliases are not followed, so that nothing grows beyond the text.

use std::collections::HashSet;

use saphyr_parser::{Event, Parser, Span, StrInput};

use super::super::notes::Spot;
use super::json::{Problem, ProblemKind};
use super::{Leaf, NESTING_MAX, Shape};

/// The most places that are handed on; who has more writes no settings.
const LEAVES_MAX: usize = 20_000;
/// What the parser refuses, as YAML 1.2 asks, and those who read YAML 1.1 do not: closing brackets
/// that are not indented, texts in quotes likewise, documents that a directive ends.
const LENIENT: [&str; 4] = [
    "missing explicit document end marker before directive",
    "invalid indentation",
    "invalid indentation in flow construct",
    "invalid indentation in quoted scalar",
];
/// The most duplicates that are told.
const TWICE_MAX: usize = 20;

/// What a text turned out to hold.
#[derive(Debug, Default)]
pub(super) struct Read {
    pub(super) problem: Option<Problem>,
    /// Keys that come again in one mapping.
    pub(super) twice: Vec<(Spot, String)>,
    /// Of each document.
    pub(super) shapes: Vec<Shape>,
    /// Every scalar that is no key, in the order of the text.
    pub(super) leaves: Vec<Leaf>,
}

/// What is open, and whether it is itself a key.
struct Open {
    kind: Kind,
    is_key: bool,
}

enum Kind {
    /// Its keys, and the one whose value comes next.
    Mapping(HashSet<String>, Option<String>),
    /// How many items there have been.
    Sequence(usize),
}

/// Reads a text of one document or several.
///
/// `wanted` are the fields to look for; places are handed on where `wants_leaves` asks for them.
pub(super) fn read(text: &str, wanted: &[String], wants_leaves: bool) -> Read {
    let mut walk = Walk {
        open: Vec::new(),
        read: Read::default(),
        wanted,
        wants_leaves,
    };
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut parser: Parser<'_, StrInput<'_>> = Parser::new_from_str(text);
    while let Some(next) = parser.next_event() {
        match next {
            Ok((event, span)) => walk.event(event, span),
            Err(error) => {
                let marker = error.marker();
                walk.fail(spot(marker.line(), marker.col()), error.info().to_owned());
            }
        }
        if walk.read.problem.is_some() {
            break;
        }
    }
    walk.read
}

fn spot(line: usize, column: usize) -> Spot {
    Spot {
        line: line as u64,
        column: column as u64 + 1,
    }
}

struct Walk<'w> {
    open: Vec<Open>,
    read: Read,
    wanted: &'w [String],
    wants_leaves: bool,
}

impl Walk<'_> {
    fn fail(&mut self, spot: Spot, message: String) {
        let kind = match &*message {
            "recursion limit exceeded" => ProblemKind::Nesting,
            message if LENIENT.contains(&message) => ProblemKind::Strictness,
            _ => ProblemKind::Syntax,
        };
        self.read.problem.get_or_insert(Problem {
            spot,
            message,
            kind,
        });
    }

    fn event(&mut self, event: Event<'_>, span: Span) {
        let spot = spot(span.start.line(), span.start.col());
        match event {
            Event::DocumentStart(_) => self.read.shapes.push(Shape::wanting(self.wanted)),
            Event::Scalar(text, ..) => self.scalar(&text, spot),
            Event::Alias(_) => self.scalar("*", spot),
            Event::MappingStart(..) => {
                let is_outermost = self.open.is_empty();
                if let Some(shape) = self.read.shapes.last_mut().filter(|_| is_outermost) {
                    shape.is_object = true;
                }
                self.begin(Kind::Mapping(HashSet::new(), None), spot);
            }
            Event::SequenceStart(..) => self.begin(Kind::Sequence(0), spot),
            Event::MappingEnd | Event::SequenceEnd => match self.open.pop() {
                Some(Open { is_key: true, .. }) => self.key("?", None),
                _ => self.after_value(),
            },
            _ => {}
        }
    }

    /// Whether what comes next is a key.
    fn wants_key(&self) -> bool {
        let innermost = self.open.last().map(|open| &open.kind);
        matches!(innermost, Some(Kind::Mapping(_, None)))
    }

    fn begin(&mut self, kind: Kind, spot: Spot) {
        if self.open.len() >= NESTING_MAX {
            let message = format!("nested more than {NESTING_MAX} deep");
            self.read.problem.get_or_insert(Problem {
                spot,
                message,
                kind: ProblemKind::Nesting,
            });
            return;
        }
        let is_key = self.wants_key();
        self.open.push(Open { kind, is_key });
    }

    fn scalar(&mut self, text: &str, spot: Spot) {
        if self.wants_key() {
            return self.key(text, Some(spot));
        }
        if self.wants_leaves && self.read.leaves.len() < LEAVES_MAX {
            let steps = self.open.iter().map(|open| match &open.kind {
                Kind::Mapping(_, key) => key.clone().unwrap_or_default(),
                Kind::Sequence(index) => index.to_string(),
            });
            self.read.leaves.push(Leaf {
                document: self.read.shapes.len(),
                steps: steps.collect(),
                value: text.to_owned(),
                spot,
            });
        }
        self.after_value();
    }

    /// A key; one without a place is not compared.
    fn key(&mut self, text: &str, spot: Option<Spot>) {
        let depth = self.open.len();
        let Some(Kind::Mapping(keys, key)) = self.open.last_mut().map(|open| &mut open.kind) else {
            return;
        };
        *key = Some(text.to_owned());
        let Some(spot) = spot else {
            return;
        };
        // Merging may be asked for more than once.
        let is_new = text == "<<" || keys.insert(text.to_owned());
        if !is_new && self.read.twice.len() < TWICE_MAX {
            self.read.twice.push((spot, text.to_owned()));
        }
        if let Some(shape) = self.read.shapes.last_mut() {
            shape.see(depth, text);
        }
    }

    /// What comes next in what is open.
    fn after_value(&mut self) {
        match self.open.last_mut().map(|open| &mut open.kind) {
            Some(Kind::Mapping(_, key)) => *key = None,
            Some(Kind::Sequence(index)) => *index += 1,
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(text: &str) -> String {
        read(text, &[], false)
            .problem
            .map_or_else(String::new, |problem| {
                let Spot { line, column } = problem.spot;
                format!("{line}:{column} {}", problem.message)
            })
    }

    #[test]
    fn says_where_a_text_is_no_yaml() {
        for text in [
            "a: 1\nb: [x, {y: z}]\n",
            "---\na: &x 1\n---\nb: *x\n...\n"
                .replace("*x", "2")
                .as_str(),
            "\u{feff}a: 1\n",
            "",
            "# only a comment\n",
            "a: |\n  text: [\n",
            "? [a, b]\n: c\n",
        ] {
            assert_eq!(problem(text), "", "{text}");
        }
        for (text, place) in [
            ("a: [1, 2\n", "2:1"),
            ("a: \"open\n", "1:4"),
            ("a: b: c\n", "1:5"),
            ("a: 1\n\tb: 2\n", "1:4"),
            ("a: *nowhere\n", "1:4"),
        ] {
            let problem = problem(text);
            assert!(problem.starts_with(place), "{text}: {problem}");
        }
    }

    #[test]
    fn what_usual_parsers_read_is_told_apart() {
        for text in [
            "a:\n  - b:\n      c:\n        d: [\n          'e'\n        ]\n",
            "a:\n  b: \"c\n d\"\n",
            "a: 1\n%YAML 1.1\n---\nb: 2\n",
        ] {
            let kind = read(text, &[], false).problem.map(|problem| problem.kind);
            assert!(
                matches!(kind, Some(ProblemKind::Strictness)),
                "{text} {kind:?}"
            );
        }
    }

    #[test]
    fn says_what_stands_where() {
        let text = "a:\n  - x\n  - b: y\n? {k: v}\n: z\n---\nc: *d\n".replace("*d", "w");
        let leaves = read(&text, &[], true).leaves;
        let told: Vec<String> = leaves
            .iter()
            .map(|leaf| format!("{} {}={}", leaf.document, leaf.steps.join("."), leaf.value))
            .collect();
        assert_eq!(
            told,
            ["1 a.0=x", "1 a.1.b=y", "1 .k=v", "1 ?=z", "2 c=w"].map(String::from)
        );
        assert_eq!(leaves[1].spot, Spot { line: 3, column: 8 });
    }

    #[test]
    fn keys_that_come_twice_in_one_mapping_are_told() {
        let text = "a: 1\nb: {a: 2}\n<<: {}\n<<: {}\na: 3\n---\na: 1\n";
        let spot = Spot { line: 5, column: 1 };
        assert_eq!(read(text, &[], false).twice, [(spot, "a".to_owned())]);
    }

    #[test]
    fn fields_are_looked_for_in_each_document() {
        let wanted = ["id", "license"].map(String::from);
        let text = "id: 1\nmetadata:\n  license: x\n---\nother:\n  id: 2\n---\n- id\n";
        let shapes = read(text, &wanted, false).shapes;
        let missing: Vec<usize> = shapes.iter().map(|shape| shape.missing.len()).collect();
        assert_eq!(missing, [0, 2, 2]);
        assert!(shapes[1].is_object && !shapes[2].is_object);
    }

    #[test]
    fn two_hundred_thousand_brackets_are_too_deep_and_nothing_else() {
        for text in [
            "[".repeat(200_000),
            "{a: ".repeat(200_000),
            "- ".repeat(200_000),
        ] {
            let problem = read(&text, &[], true).problem;
            let kind = problem.map(|problem| problem.kind);
            assert_eq!(kind, Some(ProblemKind::Nesting), "{}", &text[..9]);
        }
    }
}
