//! Which snapshots have had their time. Pure: takes `now` as an argument, knows no disk.

use crate::base::clock::Timestamp;

/// How far a snapshot's time may lie in the future before the clock is doubted, in seconds.
const SKEW_SECONDS: i64 = 300;
const DAY_SECONDS: i64 = 86_400;

/// A snapshot as retention sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Candidate {
    /// Its name.
    pub id: String,
    /// When it was taken.
    pub created_at: Timestamp,
    /// Somebody wants to keep it.
    pub pinned: bool,
    /// All its checks passed.
    pub good: bool,
    /// An open run or a playbook that has not expired needs it.
    pub needed: bool,
}

/// The clock cannot be right, so that nothing is removed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ClockError {
    /// It stands before the time of a snapshot.
    #[error("the clock says {now}, and snapshot `{id}` was taken at {taken}: nothing is removed")]
    Behind {
        /// The present, as the clock has it.
        now: String,
        /// A snapshot of the future.
        id: String,
        /// Its time.
        taken: String,
    },
    /// Even the newest snapshot would have expired: the clock jumped, or nobody was here for long.
    #[error(
        "by the clock ({now}) even the newest snapshot `{id}` is older than the retention: nothing is removed"
    )]
    Ahead {
        /// The present, as the clock has it.
        now: String,
        /// The newest snapshot.
        id: String,
    },
}

/// What is older than this is not kept.
pub(super) fn limit(now: Timestamp, retention_days: u64) -> Timestamp {
    let days = i64::try_from(retention_days).unwrap_or(i64::MAX);
    now.plus_seconds(days.saturating_mul(DAY_SECONDS).saturating_neg())
}

/// The snapshots to remove, as places in `all`, in that order. Never the newest, the newest good
/// one, a pinned one, or one that is needed.
///
/// # Errors
/// A clock that cannot be right.
pub(super) fn expired(
    all: &[Candidate],
    now: Timestamp,
    retention_days: u64,
) -> Result<Vec<usize>, ClockError> {
    // Equal times are ordered by name, as everywhere.
    let age = |candidate: &&Candidate| (candidate.created_at, candidate.id.clone());
    let Some(newest) = all.iter().max_by_key(age) else {
        return Ok(Vec::new());
    };
    if newest.created_at > now.plus_seconds(SKEW_SECONDS) {
        return Err(ClockError::Behind {
            now: now.to_seconds_string(),
            id: newest.id.clone(),
            taken: newest.created_at.to_seconds_string(),
        });
    }
    let limit = limit(now, retention_days);
    let last_good = all
        .iter()
        .filter(|candidate| candidate.good)
        .max_by_key(age);
    let is_protected = |candidate: &Candidate| {
        candidate.pinned || candidate.needed || candidate == newest || Some(candidate) == last_good
    };
    let is_expired = |candidate: &Candidate| candidate.created_at < limit;
    let expired: Vec<usize> = (0..all.len())
        .filter(|at| is_expired(&all[*at]) && !is_protected(&all[*at]))
        .collect();
    if !expired.is_empty() && is_expired(newest) {
        return Err(ClockError::Ahead {
            now: now.to_seconds_string(),
            id: newest.id.clone(),
        });
    }
    Ok(expired)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn candidate() -> impl Strategy<Value = Candidate> {
        let flags = (any::<bool>(), any::<bool>(), prop::bool::weighted(0.2));
        ("[a-d]{3}", 0_i64..100, flags).prop_map(|(id, day, (pinned, good, needed))| Candidate {
            id,
            created_at: Timestamp::from_unix_seconds(day * DAY_SECONDS),
            pinned,
            good,
            needed,
        })
    }

    fn candidates() -> impl Strategy<Value = Vec<Candidate>> {
        prop::collection::vec(candidate(), 0..12).prop_map(|mut all| {
            all.sort_by(|a, b| a.id.cmp(&b.id));
            all.dedup_by(|a, b| a.id == b.id);
            all
        })
    }

    proptest! {
        #[test]
        fn nothing_protected_and_nothing_young_is_ever_removed(
            all in candidates(), day in 0_i64..150, retention in 0_u64..60,
        ) {
            let now = Timestamp::from_unix_seconds(day * DAY_SECONDS);
            let Ok(removed) = expired(&all, now, retention) else { return Ok(()) };
            let kept: Vec<&Candidate> = (0..all.len()).filter(|at| !removed.contains(at)).map(|at| &all[at]).collect();
            let newest = all.iter().map(|one| (one.created_at, &one.id)).max();
            let last_good = all.iter().filter(|one| one.good).map(|one| (one.created_at, &one.id)).max();
            for must in [newest, last_good].into_iter().flatten() {
                prop_assert!(kept.iter().any(|one| (one.created_at, &one.id) == must));
            }
            for at in &removed {
                let one = &all[*at];
                prop_assert!(!one.pinned && !one.needed);
                prop_assert!(now.unix_seconds() - one.created_at.unix_seconds() > i64::try_from(retention).unwrap() * DAY_SECONDS);
            }
            // And what is neither protected nor young goes, so that the rule is not vacuous.
            for one in kept {
                let old = now.unix_seconds() - one.created_at.unix_seconds() > i64::try_from(retention).unwrap() * DAY_SECONDS;
                let is = |place: Option<(Timestamp, &String)>| place == Some((one.created_at, &one.id));
                prop_assert!(!old || one.pinned || one.needed || is(newest) || is(last_good));
            }
        }

        #[test]
        fn a_clock_that_jumped_removes_nothing(all in candidates(), retention in 0_u64..60) {
            prop_assume!(!all.is_empty());
            let newest = all.iter().map(|one| one.created_at.unix_seconds()).max().unwrap();
            let before = Timestamp::from_unix_seconds(newest - SKEW_SECONDS - 1);
            let behind = matches!(expired(&all, before, retention), Err(ClockError::Behind { .. }));
            prop_assert!(behind);
            let far = Timestamp::from_unix_seconds(newest + 1000 * DAY_SECONDS);
            let ahead = expired(&all, far, retention);
            prop_assert!(ahead.is_err() || ahead == Ok(vec![]));
        }
    }
}
