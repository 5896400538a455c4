//! TEMP
use super::error::RollbackError;
use super::store::Store;
use crate::base::clock::Timestamp;
use std::collections::HashSet;
pub(super) fn needed(
    _store: &Store<'_>,
    _now: Timestamp,
) -> Result<HashSet<String>, RollbackError> {
    Ok(HashSet::new())
}
