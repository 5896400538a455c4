//! Rust source as tokens and as the paths that they name, as far as the house's rules need it.
//!
//! Comments are gone, strings and characters are empty. Knows nothing of the rules.

use std::collections::BTreeMap;

/// A word, `::`, or any other single character; what a literal says is left out.
#[derive(Clone, Debug)]
pub struct Token {
    pub text: String,
    /// From 1.
    pub line: usize,
}

/// A path as the compiler would see it: `crate::…`, or a crate's name and what is in it.
#[derive(Clone, Debug, PartialEq)]
pub struct Named {
    pub segments: Vec<String>,
    pub line: usize,
}

/// The tokens of a source.
pub fn tokens(source: &str) -> Vec<Token> {
    let mut lexer = Lexer {
        rest: source,
        line: 1,
        tokens: Vec::new(),
    };
    while !lexer.rest.is_empty() {
        lexer.step();
    }
    lexer.tokens
}

struct Lexer<'s> {
    rest: &'s str,
    line: usize,
    tokens: Vec<Token>,
}

impl Lexer<'_> {
    fn step(&mut self) {
        let rest = self.rest;
        let first = rest.chars().next().unwrap();
        let word = rest.find(|c: char| !is_word(c)).unwrap_or(rest.len());
        if first.is_whitespace() {
            self.skip(first.len_utf8());
        } else if rest.starts_with("//") {
            self.skip(rest.find('\n').unwrap_or(rest.len()));
        } else if rest.starts_with("/*") {
            self.skip(block_comment(rest));
        } else if let Some(length) = string(rest) {
            self.push("\"\"", length);
        } else if first == '\'' {
            self.skip(character(rest));
        } else if rest.starts_with("r#") && rest[2..].starts_with(is_word) {
            self.skip(2);
        } else if word > 0 {
            self.push(&rest[..word], word);
        } else {
            let length = if rest.starts_with("::") {
                2
            } else {
                first.len_utf8()
            };
            self.push(&rest[..length], length);
        }
    }

    fn push(&mut self, text: &str, length: usize) {
        self.tokens.push(Token {
            text: text.to_owned(),
            line: self.line,
        });
        self.skip(length);
    }

    fn skip(&mut self, length: usize) {
        let (skipped, rest) = self.rest.split_at(length);
        self.line += skipped.matches('\n').count();
        self.rest = rest;
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The length of a comment that may hold others.
fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        let step = match &text[at..] {
            rest if rest.starts_with("/*") => (2, 1),
            rest if rest.starts_with("*/") => (2, -1),
            rest => (rest.chars().next().unwrap().len_utf8(), 0),
        };
        at += step.0;
        depth += step.1;
        if depth == 0 {
            break;
        }
    }
    at
}

/// The length of a string of any kind that begins here.
fn string(text: &str) -> Option<usize> {
    let prefix = ["br", "cr", "b", "c", "r", ""].into_iter().find(|prefix| {
        text.strip_prefix(prefix).is_some_and(|rest| {
            let hashes = if prefix.ends_with('r') {
                rest.trim_start_matches('#')
            } else {
                rest
            };
            hashes.starts_with('"')
        })
    })?;
    let rest = &text[prefix.len()..];
    if prefix.ends_with('r') {
        let hashes = rest.find('"')?;
        let end = format!("\"{}", &rest[..hashes]);
        let body = &rest[hashes + 1..];
        let length = body.find(&end).map_or(body.len(), |at| at + end.len());
        return Some(prefix.len() + hashes + 1 + length);
    }
    let mut escaped = false;
    let end = rest[1..].find(|c| {
        let ends = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        ends
    });
    Some(end.map_or(text.len(), |at| prefix.len() + at + 2))
}

/// The length of a character, or of a lifetime's apostrophe and name.
fn character(text: &str) -> usize {
    let inner = &text[1..];
    let first = inner.chars().next().map_or(0, char::len_utf8);
    if inner.starts_with('\\') {
        // The escaped character may itself be an apostrophe.
        return inner[2..].find('\'').map_or(text.len(), |at| at + 4);
    }
    if inner[first..].starts_with('\'') {
        return first + 2;
    }
    1 + inner.find(|c| !is_word(c)).unwrap_or(inner.len())
}

/// The tokens without the items that are compiled for tests only.
pub fn without_tests(tokens: &[Token]) -> Vec<Token> {
    let marker = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if has(tokens, (at, &marker)) {
            at = end_of_item(tokens, at + marker.len());
        } else {
            kept.push(tokens[at].clone());
            at += 1;
        }
    }
    kept
}

/// Whether these words follow each other here.
pub fn has(tokens: &[Token], (at, words): (usize, &[&str])) -> bool {
    tokens.len() >= at + words.len()
        && tokens[at..]
            .iter()
            .zip(words)
            .all(|(token, word)| token.text == *word)
}

/// Behind the `;` or the block that ends an item.
fn end_of_item(tokens: &[Token], from: usize) -> usize {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate().skip(from) {
        match token.text.as_str() {
            "{" | "(" | "[" => depth += 1,
            "}" | ")" | "]" => depth -= 1,
            _ => {}
        }
        if depth == 0 && ["}", ";"].contains(&token.text.as_str()) {
            return at + 1;
        }
    }
    tokens.len()
}

/// The functions with a body: name, first line, number of lines.
pub fn functions(tokens: &[Token]) -> Vec<(String, usize, usize)> {
    let mut found = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let name = tokens.get(at + 1).map_or("(", |token| token.text.as_str());
        if token.text != "fn" || !name.starts_with(is_word) {
            continue;
        }
        let last = &tokens[end_of_item(tokens, at) - 1];
        if last.text == "}" {
            found.push((name.to_owned(), token.line, last.line + 1 - token.line));
        }
    }
    found
}

/// Every path in a file of a module (`crate::cli::render`), resolved through the file's imports.
pub fn paths(tokens: &[Token], module: &str) -> Vec<Named> {
    let mut reader = Reader {
        tokens,
        at: 0,
        module: module.split("::").map(str::to_owned).collect(),
        imports: BTreeMap::new(),
        found: Vec::new(),
    };
    // Imports may stand below their use: once for them, once for the rest.
    reader.read();
    (reader.at, reader.found) = (0, Vec::new());
    reader.read();
    reader.found
}

struct Reader<'t> {
    tokens: &'t [Token],
    at: usize,
    module: Vec<String>,
    imports: BTreeMap<String, Vec<String>>,
    found: Vec<Named>,
}

impl Reader<'_> {
    fn text(&self, offset: usize) -> &str {
        let token = self.tokens.get(self.at + offset);
        token.map_or("", |token| token.text.as_str())
    }

    fn read(&mut self) {
        let mut depth = 0;
        let mut inner = Vec::new();
        while self.at < self.tokens.len() {
            match self.text(0) {
                "mod" if self.text(2) == "{" => {
                    self.module.push(self.text(1).to_owned());
                    inner.push(depth);
                    self.at += 2;
                    continue;
                }
                "{" => depth += 1,
                "}" => {
                    depth -= 1;
                    if inner.last() == Some(&depth) {
                        inner.pop();
                        self.module.pop();
                    }
                }
                // `use<'a>` in a type imports nothing.
                "use" if self.text(1) != "<" => {
                    self.at += 1;
                    self.tree(Vec::new());
                    continue;
                }
                "." => self.at += 1,
                text if text.starts_with(is_word) => {
                    self.path();
                    continue;
                }
                _ => {}
            }
            self.at += 1;
        }
    }

    /// A path in an expression or a type.
    fn path(&mut self) {
        let line = self.tokens[self.at].line;
        let mut segments = vec![self.text(0).to_owned()];
        self.at += 1;
        while self.text(0) == "::" && self.text(1).starts_with(is_word) {
            segments.push(self.text(1).to_owned());
            self.at += 2;
        }
        if self.text(0) == "!" && ["(", "[", "{"].contains(&self.text(1)) {
            segments.push("!".into());
        }
        let segments = self.resolve(segments);
        self.found.push(Named { segments, line });
    }

    /// One branch of what `use` imports, and the branches beside it.
    fn tree(&mut self, prefix: Vec<String>) {
        let mut segments = prefix.clone();
        while self.at < self.tokens.len() {
            let text = self.text(0).to_owned();
            self.at += 1;
            match text.as_str() {
                "::" => {}
                "{" => {
                    self.tree(segments.clone());
                    segments.clone_from(&prefix);
                }
                "}" | ";" | "," => {
                    if segments.len() > prefix.len() {
                        self.import(&segments, None);
                    }
                    segments.clone_from(&prefix);
                    if text != "," {
                        return;
                    }
                }
                "as" => {
                    let alias = self.text(0).to_owned();
                    self.at += 1;
                    self.import(&segments, Some(alias));
                    segments.clone_from(&prefix);
                }
                _ => segments.push(text),
            }
        }
    }

    fn import(&mut self, segments: &[String], alias: Option<String>) {
        let mut segments = segments.to_vec();
        if segments.len() > 1 && segments.last().is_some_and(|last| last == "self") {
            segments.pop();
        }
        let name = alias
            .or_else(|| segments.last().cloned())
            .unwrap_or_default();
        let segments = self.resolve(segments);
        let line = self.tokens[self.at - 1].line;
        self.found.push(Named {
            segments: segments.clone(),
            line,
        });
        self.imports.insert(name, segments);
    }

    fn resolve(&self, segments: Vec<String>) -> Vec<String> {
        let mut base = match segments[0].as_str() {
            "crate" | "agp" => return [vec!["crate".to_owned()], segments[1..].to_vec()].concat(),
            "self" | "super" => self.module.clone(),
            name => match self.imports.get(name) {
                Some(base) => return [base, &segments[1..]].concat(),
                None => return segments,
            },
        };
        for segment in segments {
            match segment.as_str() {
                "self" => {}
                "super" => drop(base.pop()),
                _ => base.push(segment),
            }
        }
        base
    }
}
