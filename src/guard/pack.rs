//! The rules that we ship, embedded: the files under `rules/`, as `rules/build.rs` joins them.

use super::rule::{LoadError, Pack};

/// All of them, as JSON.
pub(super) const TEXT: &str = include_str!(concat!(env!("OUT_DIR"), "/rules.json"));
/// Their examples and counter-examples: `[id, examples, negatives]` for each.
const EXAMPLES: &str = include_str!(concat!(env!("OUT_DIR"), "/examples.json"));

/// The shipped rules with their examples.
///
/// # Errors
/// None that a test has not seen: the rules are checked when they are changed.
pub fn shipped() -> Result<Pack, LoadError> {
    let mut pack = bare()?;
    pack.add_examples()?;
    Ok(pack)
}

/// The shipped rules without their examples, which a scan does not need.
pub(super) fn bare() -> Result<Pack, LoadError> {
    let mut pack = Pack::default();
    pack.add_shipped(TEXT)?;
    Ok(pack)
}

impl Pack {
    /// Gives the shipped rules that it has their examples.
    ///
    /// # Errors
    /// None that a test has not seen.
    pub fn add_examples(&mut self) -> Result<(), LoadError> {
        self.add_texts(EXAMPLES)
    }
}
