//! A path below a root, of any bytes that a Unix name may hold, and its one spelling in JSON.
//!
//! Whatever path comes out of a file is parsed into a [`RelPath`] before anything is opened.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// A relative path: one or more components, none of them empty, `.` or `..`, no NUL byte,
/// at most 4,095 bytes. Ordered by bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelPath(Box<[u8]>);

/// Why a text is not a path below a root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RelPathError {
    /// No component at all.
    #[error("path is empty")]
    Empty,
    /// It starts at the root of the file system.
    #[error("path is absolute")]
    Absolute,
    /// `a//b`, or a slash at the end.
    #[error("path has an empty component")]
    EmptyComponent,
    /// `.` or `..` as a component.
    #[error("path has a `.` or `..` component")]
    DotComponent,
    /// A NUL byte, which no file name can hold.
    #[error("path has a NUL byte")]
    Nul,
    /// Longer than the kernel opens (`PATH_MAX`, 4,096 with its NUL).
    #[error("path is longer than 4095 bytes")]
    TooLong,
    /// An escape that this program would not have written.
    #[error("path is escaped in another way than `\\\\` and `\\xhh` where they are needed")]
    Escape,
}

/// The most bytes a path may have (`PATH_MAX` of Linux without its NUL).
pub const BYTES_MAX: usize = 4095;

impl RelPath {
    /// Checks raw bytes.
    ///
    /// # Errors
    /// One of [`RelPathError`], before anything is opened.
    pub fn parse(bytes: &[u8]) -> Result<Self, RelPathError> {
        if bytes.is_empty() {
            return Err(RelPathError::Empty);
        }
        if bytes.len() > BYTES_MAX {
            return Err(RelPathError::TooLong);
        }
        if bytes[0] == b'/' {
            return Err(RelPathError::Absolute);
        }
        if bytes.contains(&0) {
            return Err(RelPathError::Nul);
        }
        for component in bytes.split(|byte| *byte == b'/') {
            match component {
                b"" => return Err(RelPathError::EmptyComponent),
                b"." | b".." => return Err(RelPathError::DotComponent),
                _ => {}
            }
        }
        Ok(Self(bytes.into()))
    }

    /// The path's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The path as the standard library wants it.
    pub fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.0))
    }

    /// Everything before the last slash; `None` directly below the root.
    pub fn parent(&self) -> Option<Self> {
        let slash = self.0.iter().rposition(|byte| *byte == b'/')?;
        Some(Self(self.0[..slash].into()))
    }

    /// Whether this is `ancestor` itself or lies below it.
    pub fn is_within(&self, ancestor: &Self) -> bool {
        self.0
            .strip_prefix(&*ancestor.0)
            .is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
    }

    /// The path's spelling in JSON and whether it is escaped (see [`escape`]).
    pub fn to_json_name(&self) -> (Cow<'_, str>, bool) {
        escape(&self.0)
    }

    /// Reads a path from its spelling in JSON.
    ///
    /// # Errors
    /// A spelling that [`RelPath::to_json_name`] would not have written, and every path that is
    /// not below a root.
    pub fn from_json_name(name: &str, escaped: bool) -> Result<Self, RelPathError> {
        let (bytes, needed) = unescape(name, escaped)?;
        match needed == escaped {
            true => Self::parse(&bytes),
            false => Err(RelPathError::Escape),
        }
    }
}

/// Spells any bytes as JSON text, and says whether it had to escape.
///
/// Bytes that are UTF-8 without a backslash stand as they are. Otherwise each backslash is `\\`
/// and each byte outside UTF-8 is `\xhh` in lower case, so that different bytes never share a
/// spelling.
pub fn escape(bytes: &[u8]) -> (Cow<'_, str>, bool) {
    if let Ok(text) = std::str::from_utf8(bytes)
        && !text.contains('\\')
    {
        return (Cow::Borrowed(text), false);
    }
    let mut spelling = String::with_capacity(bytes.len() + 8);
    for chunk in bytes.utf8_chunks() {
        for (index, plain) in chunk.valid().split('\\').enumerate() {
            if index > 0 {
                spelling.push_str("\\\\");
            }
            spelling.push_str(plain);
        }
        for byte in chunk.invalid() {
            spelling.push_str(&format!("\\x{byte:02x}"));
        }
    }
    (Cow::Owned(spelling), true)
}

/// Reads a spelling under a flag that says whether it is escaped; also says whether these bytes
/// need the flag, since one flag may stand for several texts of which one needs it.
///
/// # Errors
/// [`RelPathError::Escape`] for a backslash without the flag, and under the flag for every
/// spelling but the one that [`escape`] writes.
pub fn unescape(name: &str, escaped: bool) -> Result<(Cow<'_, [u8]>, bool), RelPathError> {
    if !name.contains('\\') {
        return Ok((Cow::Borrowed(name.as_bytes()), false));
    }
    if !escaped {
        return Err(RelPathError::Escape);
    }
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let Some(at) = rest.iter().position(|byte| *byte == b'\\') {
        bytes.extend_from_slice(&rest[..at]);
        rest = match &rest[at + 1..] {
            [b'\\', tail @ ..] => {
                bytes.push(b'\\');
                tail
            }
            [b'x', high, low, tail @ ..] => {
                let mut byte = [0];
                hex::decode_to_slice([*high, *low], &mut byte).map_err(|_| RelPathError::Escape)?;
                bytes.push(byte[0]);
                tail
            }
            _ => return Err(RelPathError::Escape),
        };
    }
    bytes.extend_from_slice(rest);
    // One spelling each: this refuses upper-case hex and escapes of plain bytes.
    match escape(&bytes) {
        (spelling, true) if spelling == name => Ok((Cow::Owned(bytes), true)),
        _ => Err(RelPathError::Escape),
    }
}

/// For people: UTF-8 where it is, replacement characters elsewhere. Terminals need
/// [`crate::base::units::printable`] besides.
impl fmt::Display for RelPath {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.to_json_name().0)
    }
}

impl fmt::Debug for RelPath {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.to_json_name().0, out)
    }
}

impl serde::Serialize for RelPath {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_json_name().0)
    }
}

/// From the spelling that [`fmt::Display`] gives: a backslash in it always begins an escape.
impl<'de> serde::Deserialize<'de> for RelPath {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::from_json_name(&name, name.contains('\\')).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn refuses_every_path_that_is_not_below_a_root() {
        use RelPathError::*;
        for (text, refusal) in [
            (&b""[..], Empty),
            (b"/etc/passwd", Absolute),
            (b"../x", DotComponent),
            (b"./x", DotComponent),
            (b"a/../b", DotComponent),
            (b"a/.", DotComponent),
            (b"a//b", EmptyComponent),
            (b"a/", EmptyComponent),
            (b"a\0b", Nul),
            (&[b'a'; 4096][..], TooLong),
        ] {
            assert_eq!(RelPath::parse(text).unwrap_err(), refusal, "{text:?}");
        }
    }

    #[test]
    fn spells_strange_names_in_one_way() {
        for (bytes, spelling, escaped) in [
            (&b"plain/name"[..], "plain/name", false),
            ("ümlaut\n\u{202e}".as_bytes(), "ümlaut\n\u{202e}", false),
            (b"back\\slash", "back\\\\slash", true),
            (b"caf\xe9", "caf\\xe9", true),
            (b"\xff\\x41", "\\xff\\\\x41", true),
        ] {
            let path = RelPath::parse(bytes).unwrap();
            assert_eq!(path.to_json_name(), (spelling.into(), escaped));
            assert_eq!(RelPath::from_json_name(spelling, escaped).unwrap(), path);
            assert!(RelPath::from_json_name(spelling, !escaped).is_err());
        }
        for name in ["\\x41", "\\xE9", "\\xe", "\\y", "\\", "\\xc3\\xa9", "plain"] {
            assert!(RelPath::from_json_name(name, true).is_err(), "{name}");
        }
    }

    proptest! {
        #[test]
        fn every_byte_string_survives_its_spelling(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let (spelling, escaped) = escape(&bytes);
            let (read, needed) = unescape(&spelling, escaped).unwrap();
            prop_assert_eq!((&*read, needed), (&bytes[..], escaped));
        }
    }
}
