//! Runs of bytes of one kind, found without a look at every byte: where one of so many bytes would
//! have to stand and does not, none begins before. And a text with those runs that most keys are in.

use std::ops::Range;

/// The shortest run of digits that is known of a text.
pub(super) const DIGITS_MIN: usize = 20;

/// A text, and the long runs of digits of base 64, either alphabet, in it: keys are such runs, and what
/// is encoded.
#[derive(Debug)]
pub(super) struct Text<'t> {
    pub(super) bytes: &'t [u8],
    /// Whole runs of at least [`DIGITS_MIN`], sorted by place.
    pub(super) digits: Vec<Range<usize>>,
}

impl<'t> Text<'t> {
    pub(super) fn new(bytes: &'t [u8]) -> Self {
        let mut digits: Vec<Range<usize>> = Vec::new();
        let mut at = 0;
        while let Some(run) = find(bytes, at, DIGITS_MIN, |byte| ByteSet::DIGITS.has(byte)) {
            at = run.end;
            digits.push(run);
        }
        Self { bytes, digits }
    }

    /// Whether so many digits, at least [`DIGITS_MIN`], stand in a row within a range.
    pub(super) fn has_digits(&self, range: &Range<usize>, least: usize) -> bool {
        let first = self
            .digits
            .partition_point(|run| run.end < range.start + least);
        let mut within = self.digits[first..]
            .iter()
            .take_while(|run| run.start + least <= range.end);
        within.any(|run| run.end.min(range.end) - run.start.max(range.start) >= least)
    }
}

/// A set of bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ByteSet([bool; 256]);

impl ByteSet {
    /// No byte at all.
    pub(super) const EMPTY: Self = Self([false; 256]);

    /// What words of programs are written with: letters, digits and `_`, all ASCII.
    pub(super) const WORDS: Self = {
        let mut words = Self::EMPTY;
        let mut byte = 0;
        while byte < 256 {
            words.0[byte] = (byte as u8).is_ascii_alphanumeric() || byte as u8 == b'_';
            byte += 1;
        }
        words
    };

    /// Digits of base 64, of either alphabet (RFC 4648).
    pub(super) const DIGITS: &'static Self = &Self::WORDS.with(b"+/-");

    /// The same with more bytes.
    pub(super) const fn with(mut self, bytes: &[u8]) -> Self {
        let mut at = 0;
        while at < bytes.len() {
            self.0[bytes[at] as usize] = true;
            at += 1;
        }
        self
    }

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

    /// Whether another set has all bytes of this one.
    pub(super) fn is_within(&self, other: &Self) -> bool {
        self.0.iter().zip(other.0).all(|(has, other)| !has || other)
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

        #[test]
        fn digits_within_a_range_are_known(
            runs in proptest::collection::vec("[a-z0-9+/_-]{1,30}[ .]{1,3}", 0..8),
            (start, length, least) in (0..200_usize, 0..80_usize, DIGITS_MIN..40),
        ) {
            let bytes = runs.concat().into_bytes();
            let range = start.min(bytes.len())..(start + length).min(bytes.len());
            let digits = |byte: u8| ByteSet::DIGITS.has(byte);
            let expected = find(&bytes[range.clone()], 0, least, digits).is_some();
            prop_assert_eq!(Text::new(&bytes).has_digits(&range, least), expected);
        }
    }
}
