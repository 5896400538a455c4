//! Compressed bytes: which way they are compressed, and how to read them. Knows no file.

use std::io::{self, Read};

/// The most memory that a decoder may ask for, KiB: what the strongest ordinary settings need.
const DECODER_KIB_MAX: u32 = 80 << 10;
/// The same for Zstandard, as the power of two of its window.
const WINDOW_LOG_MAX: u32 = 27;

/// A way of compressing one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    Gzip,
    Zstandard,
    Bzip2,
    Xz,
}

impl Compression {
    /// What the first bytes show.
    pub(super) fn of(head: &[u8]) -> Option<Self> {
        match head {
            [0x1f, 0x8b, 8, ..] => Some(Self::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Self::Zstandard),
            [
                b'B',
                b'Z',
                b'h',
                b'1'..=b'9',
                0x31,
                0x41,
                0x59,
                0x26,
                0x53,
                0x59,
                ..,
            ] => Some(Self::Bzip2),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some(Self::Xz),
            _ => None,
        }
    }

    /// The word in reports.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstandard => "zstd",
            Self::Bzip2 => "bzip2",
            Self::Xz => "xz",
        }
    }

    /// Reads what was compressed, all streams of it in a row.
    ///
    /// # Errors
    /// A decoder that cannot be made; bad bytes show when they are read.
    pub(super) fn expand<'r>(self, content: impl Read + 'r) -> io::Result<Box<dyn Read + 'r>> {
        Ok(match self {
            Self::Gzip => Box::new(flate2::read::MultiGzDecoder::new(content)),
            Self::Bzip2 => Box::new(bzip2::read::MultiBzDecoder::new(content)),
            Self::Xz => Box::new(lzma_rust2::XzReader::new_mem_limit(
                content,
                true,
                DECODER_KIB_MAX,
            )),
            Self::Zstandard => {
                let mut decoder = zstd::stream::read::Decoder::new(content)?;
                decoder.window_log_max(WINDOW_LOG_MAX)?;
                Box::new(decoder)
            }
        })
    }
}
