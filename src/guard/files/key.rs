//! Which contents make a file a store of credentials, and which make it none: private keys, public
//! certificates, settings without a value.

use std::sync::LazyLock;

use memchr::memmem::{self, Finder};

/// What a content says of whether it holds a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holds {
    /// A private key.
    PrivateKey,
    /// Nothing that anybody might not know: certificates, public keys, signatures, or nothing.
    Nothing,
    /// One cannot tell.
    Unknown,
}

/// What a content holds. A private key counts where its block begins, wherever that is.
pub(super) fn of(content: &[u8]) -> Holds {
    static PRIVATE: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new("PRIVATE KEY"));
    if PRIVATE
        .find(content)
        .is_some_and(|at| is_in_boundary(content, at))
        || content.starts_with(b"PuTTY-User-Key-File-")
        || content.starts_with(b"openssh-key-v1\0")
    {
        return Holds::PrivateKey;
    }
    static BEGIN: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new("BEGIN "));
    let begins = BEGIN.find_iter(content).any(|at| {
        let (before, after) = content.split_at(at);
        before.ends_with(b"-----")
            || (before.ends_with(b"---- ") && after.starts_with(b"BEGIN SSH2 PUBLIC KEY"))
    });
    match begins || is_public_line(content) || is_blank(content) {
        true => Holds::Nothing,
        false => Holds::Unknown,
    }
}

/// Whether these words stand in a line that begins a block (RFC 7468).
fn is_in_boundary(content: &[u8], at: usize) -> bool {
    let before = &content[at.saturating_sub(40)..at];
    memmem::rfind(before, b"-----BEGIN ").is_some_and(|at| !before[at..].contains(&b'\n'))
}

/// Whether this begins as a line of OpenSSH's public keys does.
fn is_public_line(content: &[u8]) -> bool {
    let kinds: [&[u8]; 5] = [
        b"ssh-",
        b"ecdsa-sha2-",
        b"sk-ssh-",
        b"sk-ecdsa-",
        b"cert-authority",
    ];
    kinds.iter().any(|kind| content.starts_with(kind))
}

/// Whether a text says nothing: no line but blank ones, comments, and names without a value.
fn is_blank(content: &[u8]) -> bool {
    content.split(|byte| *byte == b'\n').all(|line| {
        let line = line.trim_ascii();
        let is_comment =
            line.starts_with(b"#") || line.starts_with(b";") || line.starts_with(b"//");
        let value = line
            .split(|byte| *byte == b'=')
            .nth(1)
            .map(|value| value.trim_ascii());
        line.is_empty() || is_comment || matches!(value, Some(b"" | b"\"\"" | b"''"))
    })
}

/// Words in the names of variables that hold credentials.
const CREDENTIAL_WORDS: [&str; 12] = [
    "SECRET",
    "TOKEN",
    "KEY",
    "PASS",
    "PWD",
    "CRED",
    "AUTH",
    "PRIVATE",
    "DSN",
    "DATABASE_URL",
    "SALT",
    "CONNECTION_STRING",
];

/// Whether a file of variables gives one a value whose name is a credential's.
pub(super) fn names_a_credential(content: &[u8]) -> bool {
    content.split(|byte| *byte == b'\n').any(|line| {
        let line = String::from_utf8_lossy(line);
        let Some((name, value)) = line.split_once('=') else {
            return false;
        };
        let name = name.trim().trim_start_matches("export ").to_uppercase();
        let value = value.trim().trim_matches(['"', '\'']);
        !name.starts_with('#')
            && CREDENTIAL_WORDS.iter().any(|word| name.contains(word))
            && !value.is_empty()
            && !super::super::filter::is_placeholder(value.as_bytes())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_says_whether_it_is_a_credential() {
        let block = |label: &str| format!("-----BEGIN {label}-----\nMIIB\n-----END {label}-----\n");
        let key = block(&format!("RSA {} KEY", "PRIVATE"));
        for (content, holds) in [
            (key.clone(), Holds::PrivateKey),
            (block("CERTIFICATE") + &key, Holds::PrivateKey),
            (block("CERTIFICATE"), Holds::Nothing),
            (block("PGP PUBLIC KEY BLOCK"), Holds::Nothing),
            ("ssh-ed25519 AAAAC3 me@host\n".into(), Holds::Nothing),
            (String::new(), Holds::Nothing),
            ("# nothing here\nA=\nB=\"\"\n\n".into(), Holds::Nothing),
            ("A=1\n".into(), Holds::Unknown),
            ("how to write a PRIVATE KEY\n".into(), Holds::Unknown),
            ("\u{1}\u{2}".into(), Holds::Unknown),
        ] {
            assert_eq!(of(content.as_bytes()), holds, "{content}");
        }
    }

    #[test]
    fn variables_name_a_credential_only_with_a_value() {
        for (content, names) in [
            ("PORT=3000\nNODE_ENV=development\n", false),
            ("export DB_PASSWORD='kr4ft'\n", true),
            ("API_KEY=\n# SECRET=abc\n", false),
            ("API_KEY=changeme\n", false),
            ("stripe_secret = sk9vQ2xTz7\r\n", true),
        ] {
            assert_eq!(names_a_credential(content.as_bytes()), names, "{content}");
        }
    }
}
