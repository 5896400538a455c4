//! The rules that we ship, embedded: the files under `rules/`, as `rules/build.rs` joins them.

use super::rule::{LoadError, Pack};

/// All of them, as JSON.
pub(super) const TEXT: &str = include_str!(concat!(env!("OUT_DIR"), "/rules.json"));

/// The shipped rules.
///
/// # Errors
/// None that a test has not seen: the rules are checked when they are changed.
pub fn shipped() -> Result<Pack, LoadError> {
    let mut pack = Pack::default();
    pack.add_shipped(TEXT)?;
    Ok(pack)
}
