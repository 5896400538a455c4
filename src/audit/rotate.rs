//! When a segment is closed and the next one begun: by size and by age.
//!
//! Pure: the present is an argument. What becomes of closed segments is `log`'s business.

use crate::base::clock::Timestamp;

/// A segment whose first record is older than this is closed by the next record, so that a quiet
/// log too has ends that can be archived, and a month's records stand in a month's file.
pub(super) const SEGMENT_SECONDS_MAX: i64 = 30 * 86_400;

/// The segment that is appended to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Current {
    /// Its size in bytes; 0 for one that was just begun, or of which a crash left only the name.
    pub(super) size_bytes: u64,
    /// The time of its first record; `None` without one, and where the first line is no record.
    pub(super) begun_at: Option<Timestamp>,
}

impl Current {
    /// Whether a line of so many bytes, written `now`, belongs into the next segment. An empty
    /// segment takes any line. A first record from the future never counts as old.
    pub(super) fn is_closed(self, line_bytes: u64, now: Timestamp, size_bytes_max: u64) -> bool {
        let grown_bytes = self.size_bytes.saturating_add(line_bytes);
        let is_old = |begun_at: Timestamp| begun_at.plus_seconds(SEGMENT_SECONDS_MAX) < now;
        self.size_bytes > 0 && (grown_bytes > size_bytes_max || self.begun_at.is_some_and(is_old))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_is_closed_by_size_or_age_and_never_while_it_is_empty() {
        const DAYS_30: i64 = 2_592_000;
        let at = Timestamp::from_unix_seconds;
        for (size_bytes, begun_at, now, closed) in [
            (0, None, 0, false),
            (0, Some(0), DAYS_30 + 1, false),
            (1, None, DAYS_30 + 1, false),
            (1, Some(0), DAYS_30, false),
            (1, Some(0), DAYS_30 + 1, true),
            (1, Some(DAYS_30), 0, false),
            (90, Some(0), 0, false),
            (91, Some(0), 0, true),
            (91, None, 0, true),
            (u64::MAX, None, 0, true),
        ] {
            let begun_at = begun_at.map(at);
            let current = Current {
                size_bytes,
                begun_at,
            };
            assert_eq!(
                current.is_closed(10, at(now), 100),
                closed,
                "{current:?} {now}"
            );
        }
    }
}
