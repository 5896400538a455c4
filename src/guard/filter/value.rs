//! What a value says by itself, wherever it stands: a word of code, a password that a person chose,
//! an expression, markup, the place of something else.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use super::letters::evidence_bits;
use super::words::{COMMON, KEYWORDS};

/// Evidence from which a value is random beyond doubt.
pub(super) const STRONG_BITS: f64 = 24.0;
/// Evidence from which a value in quotes is random.
pub(super) const RANDOM_BITS: f64 = 7.0;

/// What a value says in base64, where that is text.
pub(super) fn decoded_text(value: &[u8]) -> Option<Vec<u8>> {
    let padded = value.len() - value.iter().rev().take_while(|byte| **byte == b'=').count();
    let decoded = STANDARD_NO_PAD.decode(&value[..padded]).ok()?;
    let is_text = decoded.iter().all(|byte| *byte >= b' ' && *byte != 0x7F);
    (is_text && std::str::from_utf8(&decoded).is_ok()).then_some(decoded)
}

/// Whether a value is what code says where a value could stand: `None`, `string`, `true`.
pub(super) fn is_word_of_code(value: &[u8]) -> bool {
    let word = value.trim_ascii();
    KEYWORDS
        .iter()
        .any(|keyword| keyword.as_bytes().eq_ignore_ascii_case(word))
}

/// Whether a password is one that everybody tries: a common one with a few digits or signs.
pub(super) fn is_common(value: &[u8]) -> bool {
    let lower = value.to_ascii_lowercase();
    COMMON.iter().any(|common| {
        lower.strip_prefix(common.as_bytes()).is_some_and(|rest| {
            !rest.is_empty()
                && rest.len() <= 5
                && rest
                    .iter()
                    .all(|byte| !byte.is_ascii_alphabetic() && !b"-_.:/".contains(byte))
        })
    })
}

/// Whether a value looks chosen by a person as a password: letters with digits or signs between or
/// behind them, and not the name of something.
pub(super) fn is_chosen(value: &[u8]) -> bool {
    let count = |test: fn(&u8) -> bool| value.iter().filter(|byte| test(byte)).count();
    let letters = count(u8::is_ascii_alphabetic);
    let digits = count(u8::is_ascii_digit);
    let separators = count(|byte| b"_-.:/".contains(byte));
    let signs = count(u8::is_ascii_punctuation) - separators;
    let is_technical = [
        "sha", "md", "base", "oauth", "pbkdf", "argon", "utf", "int", "uint", "x", "pkcs", "ed",
        "http", "aes", "rs", "hs", "es", "v", "ipv", "float", "i", "u", "f", "tls", "rc", "arg",
        "param",
    ]
    .iter()
    .any(|stem| {
        let lower = value.to_ascii_lowercase();
        lower
            .strip_prefix(stem.as_bytes())
            .is_some_and(|rest| rest.iter().all(u8::is_ascii_digit))
    });
    letters >= 3
        && !is_technical
        && value.len() >= 6
        && match (digits, signs) {
            (0, 0) => false,
            (0, _) => {
                signs * 6 >= value.len()
                    && !value.ends_with(b":")
                    && (signs >= 3 || value.iter().any(u8::is_ascii_uppercase))
            }
            (_, 0) => separators == 0 && value.iter().any(u8::is_ascii_digit),
            _ => true,
        }
}

/// Whether a value has a sign that names and paths do not have.
pub(super) fn has_sign(value: &[u8]) -> bool {
    value.iter().any(|byte| b"!@#$%^&*?".contains(byte))
}

/// Whether an unquoted value reads as an expression of source code.
pub(super) fn is_expression(value: &[u8]) -> bool {
    let value = value
        .strip_prefix(b"&")
        .or(value.strip_prefix(b"*"))
        .or(value.strip_prefix(b"!"))
        .unwrap_or(value);
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$';
    let begins = value
        .first()
        .is_some_and(|byte| byte.is_ascii_alphabetic() || b"_$@([{".contains(byte));
    let length = value
        .iter()
        .take_while(|byte| is_name(**byte) || **byte == b'.' || **byte == b':')
        .count();
    let rest = &value[length..];
    begins
        && (rest.is_empty()
            || b"([{<-?|&+".contains(&rest[0]) && (rest.len() > 1 || rest[0] == b'('))
}

/// Whether an unquoted value is an expression with brackets: a call, an index, a type.
pub(super) fn is_call(value: &[u8]) -> bool {
    is_expression(value) && value.iter().any(|byte| b"([<".contains(byte)) && !is_gibberish(value)
}

/// The evidence of the most random part between signs, which are operators and brackets of code
/// rather than parts of a secret where nothing is quoted.
pub(super) fn bare_bits(value: &[u8]) -> f64 {
    let parts = value.split(|byte| is_operator(*byte));
    parts.map(evidence_bits).fold(f64::MIN, f64::max)
}

fn is_operator(byte: u8) -> bool {
    b"()[]{}<>!?&|;,*^\"'`".contains(&byte)
}

/// Whether a value has brackets as no language has them, and other signs as well.
pub(super) fn is_gibberish(value: &[u8]) -> bool {
    let mut open = Vec::new();
    let nests = value.iter().all(|byte| match byte {
        b'(' | b'[' | b'{' => {
            open.push(*byte);
            true
        }
        b')' => open.pop() == Some(b'('),
        b']' => open.pop() == Some(b'['),
        b'}' => open.pop() == Some(b'{'),
        _ => true,
    });
    let mut signs: Vec<u8> = value
        .iter()
        .copied()
        .filter(u8::is_ascii_punctuation)
        .collect();
    signs.sort_unstable();
    signs.dedup();
    !nests && signs.len() >= 6
}

/// Whether a value is markup, a pattern, a selector or a piece of a sentence.
pub(super) fn is_markup(value: &[u8]) -> bool {
    let holds = |needle: &[u8]| memchr::memmem::find(value, needle).is_some();
    [
        &b"</"[..],
        b"/>",
        b"=>",
        b"();",
        b"\\w",
        b"\\d",
        b"\\s",
        b"[^",
        b".*",
        b".+",
        b"%s",
        b"%d",
        b"&&",
        b"||",
        b"::",
        b"{}",
        b"?:",
        b"\\n",
        b"\\u",
        b"++",
    ]
    .iter()
    .any(|needle| holds(needle))
        || value.starts_with(b"#")
            && value[1..]
                .iter()
                .all(|byte| byte.is_ascii_alphabetic() || b"-_".contains(byte))
        || value.starts_with(b"^")
        || value.starts_with(b"(")
        || value.starts_with(b"--")
}

/// Whether a value says where something is, or what it is called: an address, a path, a file, a
/// kind of media, a date, a version.
pub(super) fn is_reference_to_data(value: &[u8]) -> bool {
    let holds = |needle: &[u8]| memchr::memmem::find(value, needle).is_some();
    let count = |test: fn(&u8) -> bool| value.iter().filter(|byte| test(byte)).count();
    let is_text = evidence_bits(value) < STRONG_BITS;
    holds(b"://")
        || [
            &b"/"[..],
            b"./",
            b"../",
            b"~/",
            b"\\\\",
            b"arn:",
            b"urn:",
            b"data:",
            b"file:",
            b"vault:",
            b"ENC[",
            b"sha256:",
            b"sha1:",
            b"sha512-",
            b"sha256-",
            b"sha384-",
            b"projects/",
            b"secretsmanager:",
            b"op:",
        ]
        .iter()
        .any(|start| value.starts_with(start) && (start.len() > 1 || is_text))
        || is_address(value)
        || is_public_key(value)
        || has_extension(value)
        || count(|byte| *byte == b'/') > 0 && evidence_bits(value) < RANDOM_BITS
        || count(u8::is_ascii_digit) + count(|byte| b".:-/+TZ, ".contains(byte)) == value.len()
            && value.iter().any(|byte| b".:-/".contains(byte))
}

fn is_address(value: &[u8]) -> bool {
    let Some(at) = memchr::memrchr(b'@', value) else {
        return false;
    };
    let (user, host) = (&value[..at], &value[at + 1..]);
    let plain = |text: &[u8]| {
        !text.is_empty()
            && text
                .iter()
                .all(|byte| byte.is_ascii_alphanumeric() || b".-_+".contains(byte))
    };
    let top = host.rsplit(|byte| *byte == b'.').next().unwrap_or_default();
    plain(user)
        && plain(host)
        && host.contains(&b'.')
        && (2..=6).contains(&top.len())
        && top.iter().all(u8::is_ascii_alphabetic)
}

/// Whether a value is a public key or a fingerprint, which everybody may see.
fn is_public_key(value: &[u8]) -> bool {
    const STARTS: [&[u8]; 6] = [
        b"ssh-",
        b"AAAAB3Nza",
        b"AAAAC3Nza",
        b"MFkwEwYH",
        b"MIIBIjAN",
        b"MCowBQYD",
    ];
    let pairs = value.split(|byte| *byte == b':');
    let is_pair = |pair: &[u8]| pair.len() == 2 && pair.iter().all(u8::is_ascii_hexdigit);
    STARTS.iter().any(|start| value.starts_with(start))
        || value.len() > 22 && pairs.into_iter().all(is_pair)
}

fn has_extension(value: &[u8]) -> bool {
    const EXTENSIONS: &str = "\
        c cc cer cfg com conf cpp crt cs css csv der dll exe gif go gz h html ini io jar \
        java jks jpg js json jsp jsx kdbx key keytab local lock log md net org p12 pem pfx \
        php png properties pub py rb rs sh sql svg tar toml ts tsx txt vue xml yaml yml zip";
    let Some(at) = memchr::memrchr(b'.', value) else {
        return false;
    };
    EXTENSIONS
        .split(' ')
        .any(|extension| extension.as_bytes().eq_ignore_ascii_case(&value[at + 1..]))
}

pub(super) fn is_hexadecimal(value: &[u8]) -> bool {
    value.iter().all(u8::is_ascii_hexdigit)
}

/// Whether a value is a UUID, which names things more often than it opens them.
pub(super) fn is_uuid(value: &[u8]) -> bool {
    value.len() == 36
        && value.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}
