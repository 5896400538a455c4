//! What the name of a setting says about its value: `db_password` holds a password,
//! `password_policy` and `csrf_token` hold none.

use std::ops::Range;

/// What kind of place a rule has found, which decides how its value is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A password: people choose it, so that words, digits and signs make one.
    Password,
    /// A secret, a token, an API key: drawn at random.
    Secret,
    /// A key, an authorization, credentials: many of these are none, so that the value has to be
    /// beyond doubt.
    Key,
    /// A place that holds a password and nothing else, such as the one in a URL: no name to judge.
    Place,
    /// A place that holds a token and nothing else, such as an `Authorization` header.
    Token,
    /// The same, with name and password together in base64.
    Basic,
}

/// The longest name.
const NAME_BYTES_MAX: usize = 80;

/// The name around a word of it.
pub(super) fn around(text: &[u8], word: usize) -> Range<usize> {
    let before = text[..word].iter().rev().take(NAME_BYTES_MAX);
    let start = word - before.take_while(|byte| is_part(**byte)).count();
    let behind = text[word..].iter().take(NAME_BYTES_MAX);
    let mut end = word + behind.take_while(|byte| is_part(**byte)).count();
    // `name->field` and `name--` are not hyphens of the name.
    while end > word && text[end - 1] == b'-' {
        end -= 1;
    }
    start..end
}

fn is_part(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_-.".contains(&byte) || byte >= 0x80
}

/// Whether a name may hold what a rule of a kind looks for; `keyword` is where the rule's word
/// begins in it.
pub(super) fn may_hold(name: &[u8], keyword: usize, kind: Kind) -> bool {
    let words = words(name);
    let at = words.iter().position(|word| word.range.contains(&keyword));
    let Some(at) = at else {
        return false;
    };
    let has = |list: &[&str], word: &Word| list.contains(&word.text.as_str());
    let (before, from) = words.split_at(at);
    let own = &from[0];
    let is_own = match kind {
        Kind::Password => is_password_word(&own.text),
        Kind::Secret => !has(NO_SECRET, own) && !own.text.contains("tokeni"),
        Kind::Key => is_key_word(&own.text),
        Kind::Place | Kind::Token | Kind::Basic => return true,
    };
    let stops = match kind {
        Kind::Password => BEFORE_PASSWORD,
        Kind::Key => BEFORE_KEY,
        _ => BEFORE_TOKEN,
    };
    is_own
        && !before.iter().any(|word| has(stops, word))
        && !from[1..].iter().any(|word| has(BEHIND, word))
        && !BEHIND.iter().any(|stop| {
            // `passwordfield`, `tokenname`: one word without a seam.
            let rest = own
                .text
                .get(keyword - own.range.start..)
                .unwrap_or_default();
            stop.len() >= 4 && rest.len() > stop.len() + 3 && rest.ends_with(stop)
        })
}

/// `pass` is the end of a word for passwords (`dbpass`), and of others (`compass`).
fn is_password_word(word: &str) -> bool {
    let word = word.trim_end_matches(|c: char| c.is_ascii_digit());
    let others = [
        "bypass",
        "compass",
        "encompass",
        "surpass",
        "trespass",
        "overpass",
        "lowpass",
        "highpass",
        "bandpass",
    ];
    let starts = [
        "passw",
        "passphrase",
        "passcode",
        "passkey",
        "pass",
        "passe",
        "pwd",
        "pw",
    ];
    if others.contains(&word) {
        return false;
    }
    match word.find("pass") {
        Some(at) => {
            let rest = &word[at..];
            let is_name = rest == "pass"
                || (rest.starts_with("pass")
                    && starts[..4]
                        .iter()
                        .any(|start| rest.starts_with(start) && *start != "pass"));
            is_name && (rest != "pass" || at <= 8)
        }
        None => true,
    }
}

fn is_key_word(word: &str) -> bool {
    let others = [
        "monkey",
        "turkey",
        "hotkey",
        "donkey",
        "jockey",
        "hockey",
        "author",
        "authors",
        "authority",
        "incredible",
        "whiskey",
        "oauth",
    ];
    !others.contains(&word)
        && !word.starts_with("keyb")
        && !word.starts_with("keyw")
        && !word.starts_with("authori")
}

struct Word {
    range: Range<usize>,
    text: String,
}

/// The words of a name, lower case: split at signs, at a change from lower to upper case, and
/// before the last capital of several (`APIKey`).
fn words(name: &[u8]) -> Vec<Word> {
    let mut words: Vec<Word> = Vec::new();
    let mut start = 0;
    let push = |range: Range<usize>, words: &mut Vec<Word>| {
        if !range.is_empty() {
            let text = String::from_utf8_lossy(&name[range.clone()]).to_ascii_lowercase();
            words.push(Word { range, text });
        }
    };
    for at in 0..name.len() {
        let byte = name[at];
        let next_is_lower = name.get(at + 1).is_some_and(u8::is_ascii_lowercase);
        let before = at.checked_sub(1).map(|before| name[before]);
        if b"_-.".contains(&byte) {
            push(start..at, &mut words);
            start = at + 1;
        } else if byte.is_ascii_uppercase()
            && before.is_some_and(|before| {
                before.is_ascii_lowercase()
                    || before.is_ascii_digit()
                    || (before.is_ascii_uppercase() && next_is_lower)
            })
        {
            push(start..at, &mut words);
            start = at;
        }
    }
    push(start..name.len(), &mut words);
    words
}

/// Words behind a keyword that make the setting something about the secret.
const BEHIND: &[&str] = &[
    "address",
    "age",
    "alg",
    "algo",
    "algorithm",
    "allowed",
    "alphabet",
    "arn",
    "array",
    "at",
    "attempts",
    "attr",
    "attribute",
    "audience",
    "bits",
    "box",
    "bucket",
    "button",
    "bytes",
    "cache",
    "callback",
    "change",
    "changed",
    "characters",
    "chars",
    "charset",
    "check",
    "checker",
    "checksum",
    "class",
    "classes",
    "col",
    "column",
    "command",
    "cmd",
    "cost",
    "count",
    "counter",
    "created",
    "date",
    "dialog",
    "digest",
    "dir",
    "directory",
    "disabled",
    "enabled",
    "encoder",
    "encoding",
    "endpoint",
    "env",
    "error",
    "errors",
    "exp",
    "expiration",
    "expired",
    "expires",
    "expiry",
    "factory",
    "field",
    "fields",
    "file",
    "filename",
    "files",
    "filter",
    "fingerprint",
    "flag",
    "folder",
    "for",
    "form",
    "format",
    "func",
    "function",
    "generator",
    "group",
    "handler",
    "header",
    "help",
    "hint",
    "host",
    "icon",
    "id",
    "identifier",
    "ids",
    "index",
    "info",
    "input",
    "issuer",
    "iterations",
    "kind",
    "label",
    "labels",
    "len",
    "length",
    "lifetime",
    "limit",
    "link",
    "list",
    "location",
    "manager",
    "map",
    "max",
    "message",
    "method",
    "min",
    "mode",
    "model",
    "module",
    "msg",
    "name",
    "names",
    "num",
    "number",
    "offset",
    "op",
    "option",
    "options",
    "owner",
    "page",
    "pair",
    "param",
    "parameter",
    "params",
    "parser",
    "path",
    "paths",
    "pattern",
    "permission",
    "permissions",
    "placeholder",
    "plugin",
    "policies",
    "policy",
    "pos",
    "position",
    "prefix",
    "prompt",
    "prop",
    "property",
    "provider",
    "pub",
    "public",
    "query",
    "reader",
    "ref",
    "reference",
    "regex",
    "regexp",
    "region",
    "request",
    "required",
    "reset",
    "resolver",
    "resource",
    "response",
    "role",
    "rotation",
    "rule",
    "rules",
    "schema",
    "scope",
    "scopes",
    "screen",
    "separator",
    "service",
    "size",
    "sizes",
    "slot",
    "source",
    "span",
    "state",
    "status",
    "store",
    "strategy",
    "strength",
    "suffix",
    "supported",
    "table",
    "tag",
    "target",
    "template",
    "time",
    "timeout",
    "timestamp",
    "title",
    "toggle",
    "tooltip",
    "transform",
    "ttl",
    "type",
    "types",
    "uri",
    "uris",
    "url",
    "urls",
    "usage",
    "validation",
    "validator",
    "var",
    "variable",
    "vault",
    "vaults",
    "verifier",
    "version",
    "view",
    "visibility",
    "widget",
    "width",
];
/// Words before `password` that make it a sentence.
const BEFORE_PASSWORD: &[&str] = &[
    "bad",
    "enter",
    "empty",
    "forgot",
    "forgotten",
    "has",
    "hide",
    "incorrect",
    "invalid",
    "is",
    "mismatch",
    "missing",
    "no",
    "reset",
    "require",
    "requires",
    "show",
    "weak",
    "without",
    "wrong",
];
/// Words before `token` and `secret` of what is meant to be seen, or of grammars.
const BEFORE_TOKEN: &[&str] = &[
    "action",
    "antiforgery",
    "authenticity",
    "begin",
    "bos",
    "cancel",
    "cancellation",
    "cls",
    "color",
    "comment",
    "completion",
    "continuation",
    "csrf",
    "current",
    "cursor",
    "design",
    "end",
    "eof",
    "eos",
    "first",
    "form",
    "has",
    "hash",
    "identifier",
    "idempotency",
    "image",
    "invalid",
    "is",
    "keyword",
    "last",
    "lex",
    "lexer",
    "mask",
    "max",
    "min",
    "missing",
    "next",
    "no",
    "nonce",
    "num",
    "operator",
    "output",
    "pad",
    "page",
    "pagination",
    "parser",
    "peek",
    "prev",
    "previous",
    "pub",
    "public",
    "publickey",
    "punctuation",
    "resume",
    "sep",
    "special",
    "start",
    "starting",
    "stop",
    "string",
    "symbol",
    "sync",
    "syntax",
    "text",
    "total",
    "unexpected",
    "unk",
    "verification",
    "xsrf",
];
/// One-word names of the same.
const NO_SECRET: &[&str] = &[
    "authenticitytoken",
    "csrftoken",
    "csrfmiddlewaretoken",
    "publickeytoken",
    "requestverificationtoken",
    "secretary",
    "secretariat",
    "secretion",
    "tokenization",
    "tokenize",
    "tokenized",
    "tokenizer",
    "tokenizers",
    "tokenizing",
    "xsrftoken",
];
/// Words before `key` of what is no secret.
const BEFORE_KEY: &[&str] = &[
    "alt",
    "arrow",
    "attribute",
    "aux",
    "bucket",
    "cache",
    "child",
    "class",
    "color",
    "column",
    "composite",
    "config",
    "context",
    "ctrl",
    "data",
    "dict",
    "down",
    "entity",
    "event",
    "extension",
    "facet",
    "feature",
    "field",
    "file",
    "first",
    "foreign",
    "frame",
    "full",
    "function",
    "group",
    "has",
    "hash",
    "header",
    "host",
    "hot",
    "i18n",
    "icon",
    "idempotency",
    "image",
    "index",
    "invalid",
    "is",
    "issuer",
    "item",
    "json",
    "keys",
    "known",
    "label",
    "lang",
    "language",
    "last",
    "layout",
    "locale",
    "lock",
    "lookup",
    "map",
    "menu",
    "message",
    "meta",
    "metric",
    "name",
    "no",
    "node",
    "object",
    "option",
    "parent",
    "partition",
    "path",
    "pref",
    "preference",
    "press",
    "primary",
    "prop",
    "property",
    "pub",
    "public",
    "query",
    "range",
    "react",
    "redis",
    "registry",
    "request",
    "resource",
    "root",
    "route",
    "routing",
    "row",
    "s3",
    "search",
    "setting",
    "shift",
    "shortcut",
    "sort",
    "state",
    "string",
    "style",
    "sub",
    "tag",
    "test",
    "text",
    "theme",
    "title",
    "topic",
    "translation",
    "trusted",
    "type",
    "unique",
    "up",
    "verify",
    "verification",
    "view",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_secrets_are_told_from_names_about_secrets() {
        for (name, word, kind, holds) in [
            ("password", "pass", Kind::Password, true),
            ("DB_PASSWORD", "PASS", Kind::Password, true),
            ("spring.datasource.password", "pass", Kind::Password, true),
            ("dbpass", "pass", Kind::Password, true),
            ("my_password_super_secure", "pass", Kind::Password, true),
            ("password_policy", "pass", Kind::Password, false),
            ("passwordField", "pass", Kind::Password, false),
            ("forgotPassword", "Pass", Kind::Password, false),
            ("compass", "pass", Kind::Password, false),
            ("passenger", "pass", Kind::Password, false),
            ("accessToken1", "Token", Kind::Secret, true),
            ("SECRET_KEY", "SECRET", Kind::Secret, true),
            ("todo_secret_do_not_commit", "secret", Kind::Secret, true),
            ("publicKeyToken", "Token", Kind::Secret, false),
            ("csrf-token", "token", Kind::Secret, false),
            ("tokenizer", "token", Kind::Secret, false),
            ("LLM_SECRET_NAME", "SECRET", Kind::Secret, false),
            ("secretary", "secret", Kind::Secret, false),
            ("hubKey", "Key", Kind::Key, true),
            ("foreignKey", "Key", Kind::Key, false),
            ("keyboard", "key", Kind::Key, false),
        ] {
            let at = name.find(word).unwrap_or_default();
            assert_eq!(may_hold(name.as_bytes(), at, kind), holds, "{name}");
        }
    }

    #[test]
    fn a_name_is_what_stands_around_its_word() {
        let text = b"config.db_password = 1";
        assert_eq!(&text[around(text, 10)], b"config.db_password");
    }
}
