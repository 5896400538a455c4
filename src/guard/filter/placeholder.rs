//! Texts that stand where a secret will: examples, templates, variables.

/// Whether a value is a placeholder.
pub fn is_placeholder(value: &[u8]) -> bool {
    let lower = value.to_ascii_lowercase();
    let has = |word: &[u8]| memchr::memmem::find(&lower, word).is_some();
    let repeats = value
        .first()
        .is_some_and(|first| value.iter().all(|byte| byte == first));
    repeats
        || [
            &b"xxxx"[..],
            b"example",
            b"your",
            b"<",
            b"${",
            b"{{",
            b"changeme",
            b"****",
            b"....",
        ]
        .iter()
        .any(|word| has(word))
}
