//! The rules that we ship, embedded.

use super::rule::{LoadError, Pack};

/// Every file of rules, by name.
const FILES: [(&str, &str); 2] = [
    ("archive", include_str!("rules/archive.toml")),
    ("generic", include_str!("rules/generic.toml")),
];

/// The shipped rules.
///
/// # Errors
/// None that a test has not seen: the rules are checked when they are changed.
pub fn shipped() -> Result<Pack, LoadError> {
    let mut pack = Pack::default();
    for (_, text) in FILES {
        pack.add(text)?;
    }
    Ok(pack)
}
