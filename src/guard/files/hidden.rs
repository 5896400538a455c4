//! Archives behind pictures and sounds: programs that unpack look for a zip archive's end, and do
//! not mind what the file begins with.

/// What may stand behind the record of an archive's end, and the record, bytes.
const TAIL_BYTES_MAX: usize = (1 << 16) + RECORD_BYTES;
/// The record of an archive's end without its comment.
const RECORD_BYTES: usize = 22;

/// The last bytes of a content that comes piece by piece.
#[derive(Default)]
pub(super) struct Tail {
    bytes: Vec<u8>,
    total: u64,
}

impl Tail {
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.total += bytes.len() as u64;
        let kept = &bytes[bytes.len().saturating_sub(TAIL_BYTES_MAX)..];
        let surplus = (self.bytes.len() + kept.len()).saturating_sub(TAIL_BYTES_MAX);
        self.bytes.drain(..surplus);
        self.bytes.extend_from_slice(kept);
    }

    /// Whether the content ends as a zip archive with members does, and did not begin as one
    /// (APPNOTE.TXT, 4.3.16): with a record whose comment ends where the content does, before
    /// which there is room for the directory, of which what is still at hand begins as one.
    pub(super) fn ends_as_zip(&self) -> bool {
        let ends = memchr::memmem::find_iter(&self.bytes, b"PK\x05\x06");
        ends.into_iter().any(|at| {
            let record = &self.bytes[at..];
            let Some(fields) = record.get(10..RECORD_BYTES) else {
                return false;
            };
            let short =
                |from: usize| u64::from(u16::from_le_bytes([fields[from], fields[from + 1]]));
            let long = |from: usize| short(from) | short(from + 2) << 16;
            let (members, size, comment) = (short(0), long(2), short(10));
            let before = self.total - record.len() as u64;
            let ends_here = comment == (record.len() - RECORD_BYTES) as u64;
            let has_room = members > 0 && size >= members * 46 && size < before;
            let directory = usize::try_from(size)
                .ok()
                .and_then(|size| at.checked_sub(size));
            let begins = directory.is_none_or(|from| self.bytes[from..].starts_with(b"PK\x01\x02"));
            ends_here && has_room && begins
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends_as_zip(pieces: &[&[u8]]) -> bool {
        let mut tail = Tail::default();
        pieces.iter().for_each(|piece| tail.feed(piece));
        tail.ends_as_zip()
    }

    #[test]
    fn the_end_of_a_zip_archive_is_one_only_with_its_directory() {
        let directory = |size: usize| {
            let mut directory = b"PK\x01\x02".to_vec();
            directory.resize(size, b'd');
            directory
        };
        let record = |size: usize, comment: u16| {
            let mut record = b"PK\x05\x06\0\0\0\0\x01\0\x01\0".to_vec();
            record.extend((size as u32).to_le_bytes());
            record.extend([0; 4]);
            record.extend(comment.to_le_bytes());
            record
        };
        let small = directory(60);
        assert!(ends_as_zip(&[b"picture", &small, &record(60, 0)]));
        assert!(ends_as_zip(&[b"picture", &small, &record(60, 2), b"hi"]));
        assert!(!ends_as_zip(&[b"picture", &small, &record(60, 3), b"hi"]));
        assert!(!ends_as_zip(&[b"picture", &small[1..], &record(60, 0)]));
        assert!(!ends_as_zip(&[b"picture", &record(60, 0)]));
        assert!(!ends_as_zip(&[b"PK\x05\x06"]));
        assert!(!ends_as_zip(&[b""]));
        let large = directory(100_000);
        let pieces: Vec<&[u8]> = large.chunks(999).collect();
        let end = record(100_000, 0);
        let all = [&[&b"picture"[..]], &pieces[..], &[&end]].concat();
        assert!(ends_as_zip(&all));
    }
}
