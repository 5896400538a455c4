//! What a content is by its first bytes, and what it should be by its file's extension: two
//! tables.

use super::super::notes::Item;

/// What a format is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// A processor or a virtual machine runs it.
    Program,
    /// An interpreter runs it.
    Script,
    /// Holds other files, or one that is compressed.
    Archive,
    /// Pages, with whatever else such formats can carry.
    Document,
    /// Pictures, sound, video, fonts: what assets are made of.
    Media,
    /// The memory of a process, or a data base.
    Dump,
}

/// A format that its first bytes tell.
#[derive(Debug)]
pub(super) struct Format {
    /// Its name, as in a sentence: `an ELF program`.
    pub(super) name: &'static str,
    pub(super) class: Class,
    /// Where the bytes stand, and what they are.
    offset: usize,
    magic: &'static [u8],
    /// What else has to hold, where the bytes alone prove little.
    holds: fn(&[u8]) -> bool,
}

macro_rules! formats {
    ($($name:literal $class:ident $offset:literal $magic:literal $($holds:ident)?;)*) => {
        &[$(Format {
            name: $name, class: Class::$class, offset: $offset, magic: $magic,
            holds: formats!(@ $($holds)?),
        }),*]
    };
    (@) => { always };
    (@ $holds:ident) => { $holds };
}

/// The first that fits counts.
const FORMATS: &[Format] = formats! {
    "an ELF core dump" Dump 0 b"\x7fELF" is_elf_core;
    "an ELF program" Program 0 b"\x7fELF";
    "a Windows program" Program 0 b"MZ" is_windows_program;
    "a Mach-O program" Program 0 b"\xfe\xed\xfa\xce";
    "a Mach-O program" Program 0 b"\xfe\xed\xfa\xcf";
    "a Mach-O program" Program 0 b"\xce\xfa\xed\xfe";
    "a Mach-O program" Program 0 b"\xcf\xfa\xed\xfe";
    "a Java class" Program 0 b"\xca\xfe\xba\xbe" is_java_class;
    "a Mach-O program for several processors" Program 0 b"\xca\xfe\xba\xbe";
    "an Android program" Program 0 b"dex\n03";
    "a WebAssembly module" Program 0 b"\0asm";
    "Lua byte code" Program 0 b"\x1bLua";
    "a script" Script 0 b"#!" is_shebang;
    "a PHP script" Script 0 b"<?php";
    "a zip archive" Archive 0 b"PK\x03\x04";
    "an empty zip archive" Archive 0 b"PK\x05\x06";
    "gzip data" Archive 0 b"\x1f\x8b\x08";
    "bzip2 data" Archive 0 b"BZh" is_bzip2;
    "xz data" Archive 0 b"\xfd7zXZ\0";
    "zstd data" Archive 0 b"\x28\xb5\x2f\xfd";
    "lz4 data" Archive 0 b"\x04\x22\x4d\x18";
    "a 7z archive" Archive 0 b"7z\xbc\xaf\x27\x1c";
    "a RAR archive" Archive 0 b"Rar!\x1a\x07";
    "a cabinet archive" Archive 0 b"MSCF\0\0\0\0";
    "an ar archive" Archive 0 b"!<arch>\n";
    "an RPM package" Archive 0 b"\xed\xab\xee\xdb";
    "a tar archive" Archive 257 b"ustar";
    "a PDF document" Document 0 b"%PDF-";
    "an OLE document" Document 0 b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1";
    "an RTF document" Document 0 b"{\\rtf1";
    "a PostScript document" Document 0 b"%!PS-";
    "a Windows shortcut" Script 0 b"\x4c\0\0\0\x01\x14\x02\0";
    "a Windows help file" Script 0 b"ITSF\x03\0\0\0";
    "a Windows memory dump" Dump 0 b"MDMP\x93\xa7";
    "a Windows memory dump" Dump 0 b"PAGEDU64";
    "a Windows memory dump" Dump 0 b"PAGEDUMP";
    "a Java heap dump" Dump 0 b"JAVA PROFILE 1.0";
    "a kernel dump" Dump 0 b"KDUMP   ";
    "a memory image" Dump 0 b"EMiL\x01\0\0\0";
    "a PostgreSQL dump" Dump 0 b"PGDMP";
    "PNG" Media 0 b"\x89PNG\r\n\x1a\n";
    "JPEG" Media 0 b"\xff\xd8\xff";
    "GIF" Media 0 b"GIF87a";
    "GIF" Media 0 b"GIF89a";
    "WebP" Media 8 b"WEBP" is_riff;
    "WAVE" Media 8 b"WAVE" is_riff;
    "AVI" Media 8 b"AVI " is_riff;
    "a RIFF sound font" Media 8 b"sfbk" is_riff;
    "Ogg" Media 0 b"OggS\0";
    "FLAC" Media 0 b"fLaC";
    "MP3" Media 0 b"ID3" is_id3;
    "MIDI" Media 0 b"MThd\0\0\0\x06";
    "AIFF" Media 8 b"AIF" is_iff;
    "an ISO media file" Media 4 b"ftyp";
    "Matroska" Media 0 b"\x1a\x45\xdf\xa3";
    "BMP" Media 0 b"BM" is_bmp;
    "TIFF" Media 0 b"II*\0";
    "TIFF" Media 0 b"MM\0*";
    "TIFF" Media 0 b"II+\0";
    "TIFF" Media 0 b"MM\0+";
    "an icon" Media 0 b"\0\0\x01\0" is_icon;
    "Photoshop" Media 0 b"8BPS\0\x01";
    "Photoshop" Media 0 b"8BPS\0\x02";
    "DDS" Media 0 b"DDS \x7c\0\0\0";
    "KTX" Media 0 b"\xabKTX ";
    "OpenEXR" Media 0 b"\x76\x2f\x31\x01";
    "TrueType" Media 0 b"\0\x01\0\0\0" is_table_of_fonts;
    "TrueType" Media 0 b"true\0";
    "OpenType" Media 0 b"OTTO\0";
    "a TrueType collection" Media 0 b"ttcf\0";
    "WOFF" Media 0 b"wOFF";
    "WOFF2" Media 0 b"wOF2";
    "glTF" Media 0 b"glTF\x02\0\0\0";
};

/// What the file's extension promises.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Promise {
    /// One of these formats, every file of which begins in a known way.
    Formats(&'static [&'static str]),
    /// One of these formats, some of whose files begin in no known way.
    Loosely(&'static [&'static str]),
    /// Text.
    Text,
}

/// The extensions of assets. What is not here promises nothing.
const EXTENSIONS: &[(&[&str], Promise)] = {
    use Promise::{Formats, Loosely, Text};
    &[
        (&["png", "apng"], Formats(&["PNG"])),
        (&["jpg", "jpeg", "jpe", "jfif"], Formats(&["JPEG"])),
        (&["gif"], Formats(&["GIF"])),
        (&["webp"], Formats(&["WebP"])),
        (&["bmp"], Formats(&["BMP"])),
        (&["tif", "tiff"], Formats(&["TIFF"])),
        (&["ico"], Formats(&["an icon", "PNG", "BMP"])),
        (&["psd"], Formats(&["Photoshop"])),
        (&["dds"], Formats(&["DDS"])),
        (&["ktx", "ktx2"], Formats(&["KTX"])),
        (&["exr"], Formats(&["OpenEXR"])),
        (&["avif", "heic", "heif"], Formats(&["an ISO media file"])),
        (&["wav", "wave"], Loosely(&["WAVE"])),
        (&["avi"], Formats(&["AVI"])),
        (&["ogg", "oga", "ogv", "opus"], Formats(&["Ogg"])),
        (&["flac"], Formats(&["FLAC", "MP3"])),
        (&["mp3"], Loosely(&["MP3", "WAVE"])),
        (&["mid", "midi"], Loosely(&["MIDI"])),
        (&["aif", "aiff"], Formats(&["AIFF"])),
        (
            &["mp4", "m4a", "m4v", "mov"],
            Loosely(&["an ISO media file"]),
        ),
        (&["mkv", "webm"], Formats(&["Matroska"])),
        (
            &["ttf"],
            Formats(&["TrueType", "OpenType", "a TrueType collection"]),
        ),
        (&["otf"], Formats(&["OpenType", "TrueType"])),
        (&["woff"], Formats(&["WOFF"])),
        (&["woff2"], Formats(&["WOFF2"])),
        (&["glb"], Formats(&["glTF"])),
        (
            &["tga", "hdr", "obj", "mtl", "fbx", "stl", "ply", "dae"],
            Loosely(&[]),
        ),
        (
            &[
                "csv",
                "tsv",
                "txt",
                "md",
                "markdown",
                "rst",
                "json",
                "jsonl",
                "ndjson",
                "geojson",
                "json5",
                "jsonc",
                "yaml",
                "yml",
                "toml",
                "ini",
                "xml",
                "svg",
                "html",
                "htm",
                "css",
                "gltf",
                "srt",
                "vtt",
                "po",
                "properties",
            ],
            Text,
        ),
    ]
};

/// What an extension promises.
pub(super) fn promised(item: &Item<'_>) -> Option<&'static Promise> {
    let extension = item.extension();
    let row = EXTENSIONS
        .iter()
        .find(|(extensions, _)| extensions.contains(&&*extension));
    row.map(|(_, promise)| promise)
}

/// What a content is by its first bytes.
pub(super) fn of(content: &[u8]) -> Option<&'static Format> {
    FORMATS.iter().find(|format| {
        let rest = content.get(format.offset..);
        rest.is_some_and(|rest| rest.starts_with(format.magic)) && (format.holds)(content)
    })
}

/// Whether a content is text as far as it goes: no NUL, or UTF-16 or UTF-32 with its mark.
pub(super) fn is_text(content: &[u8]) -> bool {
    let is_marked = content.starts_with(b"\xff\xfe")
        || content.starts_with(b"\xfe\xff")
        || content.starts_with(b"\0\0\xfe\xff");
    is_marked || memchr::memchr(0, content).is_none()
}

/// Whether a content reads as text: is none of the formats, and has next to no control characters.
pub(in crate::guard) fn reads_as_text(head: &[u8]) -> bool {
    // Escapes of terminals count for text. Numbers of 32 bits are counted quickly.
    let is_control = |byte: &u8| u32::from(*byte < 32 && !(9..=13).contains(byte) && *byte != 27);
    let is_other = of(head).is_some_and(|format| format.class != Class::Script);
    !is_other
        && is_text(head)
        && u64::from(head.iter().map(is_control).sum::<u32>()) * 256 <= head.len() as u64
}

fn always(_: &[u8]) -> bool {
    true
}

/// A number of four bytes, little end first; `None` beyond the end.
fn number(content: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*content.get(at..)?.first_chunk()?))
}

fn is_elf_core(content: &[u8]) -> bool {
    // `e_type` 4, in the order of bytes that byte 5 states (ELF, figure 1-3).
    match content.get(5) {
        Some(2) => content.get(16..18) == Some(&[0, 4]),
        _ => content.get(16..18) == Some(&[4, 0]),
    }
}

fn is_windows_program(content: &[u8]) -> bool {
    // The header's place stands at 0x3c; one of DOS alone has none, and is no text at least.
    let header = number(content, 0x3c).and_then(|at| content.get(usize::try_from(at).ok()?..));
    header.is_some_and(|header| header.starts_with(b"PE\0\0") || header.starts_with(b"NE"))
        || (content.len() >= 64 && content[..64].iter().filter(|byte| **byte == 0).count() >= 16)
}

fn is_java_class(content: &[u8]) -> bool {
    // Version 45 and above, where Mach-O counts its processors.
    matches!(content.get(4..8), Some([_, _, high, low]) if *high > 0 || *low >= 45)
}

fn is_shebang(content: &[u8]) -> bool {
    let line = content[2..]
        .split(|byte| *byte == b'\n')
        .next()
        .unwrap_or_default();
    let line = line.trim_ascii_start();
    line.starts_with(b"/") || line.starts_with(b"env ")
}

fn is_bzip2(content: &[u8]) -> bool {
    matches!(
        content.get(3..10),
        Some([b'1'..=b'9', b'1', b'A', b'Y', b'&', b'S', b'Y'])
    )
}

fn is_riff(content: &[u8]) -> bool {
    content.starts_with(b"RIFF") || content.starts_with(b"RIFX") || content.starts_with(b"RF64")
}

fn is_iff(content: &[u8]) -> bool {
    content.starts_with(b"FORM")
}

fn is_id3(content: &[u8]) -> bool {
    matches!(content.get(3..5), Some([2..=4, 0..=9]))
}

fn is_bmp(content: &[u8]) -> bool {
    // Four reserved bytes, and the length of the header that follows.
    content.get(6..10) == Some(&[0; 4]) && matches!(number(content, 14), Some(12..=124))
}

fn is_icon(content: &[u8]) -> bool {
    matches!(content.get(4..6), Some([1..=64, 0]))
}

fn is_table_of_fonts(content: &[u8]) -> bool {
    // The number of tables: two bytes, big end first.
    matches!(content.get(5), Some(1..=64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_bytes_tell_formats_apart() {
        let mut core = b"\x7fELF\x02\x01\x01".to_vec();
        core.resize(16, 0);
        let program = [&core[..], &[2, 0]].concat();
        core.extend([4, 0]);
        let mut windows = b"MZ\x90\0".to_vec();
        windows.resize(0x3c, 1);
        windows.extend([0x40, 0, 0, 0]);
        windows.extend(b"PE\0\0");
        let mut tar = vec![b'a'; 257];
        tar.extend(b"ustar\0");
        for (content, name) in [
            (&core[..], Some("an ELF core dump")),
            (&program, Some("an ELF program")),
            (&windows, Some("a Windows program")),
            (
                b"MZ is how a text may begin, which need not be a program at all",
                None,
            ),
            (b"\xca\xfe\xba\xbe\0\0\0\x34", Some("a Java class")),
            (
                b"\xca\xfe\xba\xbe\0\0\0\x02",
                Some("a Mach-O program for several processors"),
            ),
            (b"#! /bin/sh\n", Some("a script")),
            (b"#!important", None),
            (b"#![allow(x)]", None),
            (&tar, Some("a tar archive")),
            (b"BM too is how a text may begin", None),
            (b"BM\x46\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0", Some("BMP")),
            (b"RIFF\0\0\0\0WAVEfmt ", Some("WAVE")),
            (b"\0\0\0\x18ftypmp42", Some("an ISO media file")),
            (b"", None),
            (b"\x89PN", None),
        ] {
            assert_eq!(of(content).map(|format| format.name), name, "{content:?}");
        }
    }

    #[test]
    fn every_promised_format_is_one_that_is_known() {
        for (extensions, promise) in EXTENSIONS {
            let (Promise::Formats(names) | Promise::Loosely(names)) = promise else {
                continue;
            };
            for name in *names {
                let is_known = FORMATS.iter().any(|format| format.name == *name);
                assert!(is_known, "{extensions:?}: {name}");
            }
        }
    }
}
