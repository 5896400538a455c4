//! Runs of bytes of one kind, found without a look at every byte: where one of so many bytes would
//! have to stand and does not, none begins before.

use std::ops::Range;

/// A set of bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ByteSet([bool; 256]);

impl ByteSet {
    /// No byte at all.
    pub(super) const EMPTY: Self = Self([false; 256]);

    /// Whether a byte is in it.
    #[inline]
    pub(super) fn has(&self, byte: u8) -> bool {
        self.0[usize::from(byte)]
    }

    /// Puts a byte in.
    pub(super) fn insert(&mut self, byte: u8) {
        self.0[usize::from(byte)] = true;
    }

    /// Puts all bytes of another set in.
    pub(super) fn extend(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine |= theirs;
        }
    }

    /// How many bytes are in it.
    pub(super) fn len(&self) -> usize {
        self.0.iter().filter(|has| **has).count()
    }
}

/// The first run at or behind `from` of at least `least` bytes that fit; it ends where no more do.
#[inline]
pub(super) fn find(
    text: &[u8],
    from: usize,
    least: usize,
    fits: impl Fn(u8) -> bool,
) -> Option<Range<usize>> {
    let mut start = from;
    loop {
        let candidate = text.get(start..start + least)?;
        match candidate.iter().rposition(|byte| !fits(*byte)) {
            Some(other) => start += other + 1,
            None => {
                let rest = &text[start + least..];
                let more = rest.iter().position(|byte| !fits(*byte));
                return Some(start..start + least + more.unwrap_or(rest.len()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn naive(text: &[u8], from: usize, least: usize) -> Option<Range<usize>> {
        let starts = from..text.len();
        let run = |start: usize| {
            let length = text[start..].iter().take_while(|byte| **byte == b'a');
            start..start + length.count()
        };
        starts.map(run).find(|run| run.len() >= least)
    }

    proptest! {
        #[test]
        fn the_first_long_enough_run_is_found_whole(
            text in proptest::collection::vec(proptest::sample::select(b"aaab".to_vec()), 0..60),
            from in 0..10_usize,
            least in 1..8_usize,
        ) {
            let found = find(&text, from, least, |byte| byte == b'a');
            prop_assert_eq!(found, naive(&text, from.min(text.len()), least));
        }
    }
}
