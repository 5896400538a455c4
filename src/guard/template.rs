//! Examples that no scanner takes for secrets: templates, whose random parts are made when they are
//! needed, the same every time.
//!
//! `«class N»` is N random characters of a class; the classes stand in [`alphabet`]. `«»` is
//! nothing, and splits what should not be found as a whole in our sources.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use super::filter::crc62;
use crate::base::digest::Digest;

/// Expands a template; `seed` decides the random parts. What is no template stands as it is.
pub(super) fn expand(template: &str, seed: &str) -> String {
    let mut out = String::with_capacity(template.len() + 64);
    let mut rest = template;
    let mut number = 0;
    while let Some((before, after)) = rest.split_once('«') {
        let Some((part, tail)) = after.split_once('»') else {
            break;
        };
        out.push_str(before);
        out.push_str(&random(part, &format!("{seed}/{number}")));
        number += 1;
        rest = tail;
    }
    out.push_str(rest);
    out
}

fn random(part: &str, seed: &str) -> String {
    let (class, count) = match part.rsplit_once(' ') {
        Some((class, count)) => match count.parse::<usize>() {
            Ok(count) => (class, count),
            Err(_) => (part, 0),
        },
        None => (part, 0),
    };
    match class {
        "" => String::new(),
        "uuid" => {
            let hex = draw(b"0123456789abcdef", 31, seed);
            let (a, b, c, d, e) = (
                &hex[..8],
                &hex[8..12],
                &hex[12..15],
                &hex[15..18],
                &hex[18..30],
            );
            format!("{a}-{b}-4{c}-a{d}-{e}")
        }
        "crc62" => {
            let body = draw(&alphabet("alnum"), count, seed);
            let sum = crc62(body.as_bytes());
            body + &sum
        }
        "jwt" => {
            let claims = format!(
                r#"{{"sub":"{}","iat":17{}}}"#,
                draw(&alphabet("digit"), 10, seed),
                draw(&alphabet("digit"), 8, seed)
            );
            let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#);
            let claims = URL_SAFE_NO_PAD.encode(claims);
            let mac = draw(&alphabet("b64url"), 43, seed);
            format!("{header}.{claims}.{mac}")
        }
        _ => match class.strip_prefix("pem ").or(part.strip_prefix("pem ")) {
            Some(label) => pem(label, seed),
            None => draw(&alphabet(class), count, seed),
        },
    }
}

/// A PEM block of 300 bytes that begin as DER, or OpenSSH's format, does.
fn pem(label: &str, seed: &str) -> String {
    let mut bytes = match label.starts_with("OPENSSH") {
        true => b"openssh-key-v1\0".to_vec(),
        false => vec![0x30, 0x82, 0x01, 0x28],
    };
    let mut number = 0;
    while bytes.len() < 300 {
        bytes.extend(Digest::of(format!("{seed}/{number}").as_bytes()).0);
        number += 1;
    }
    bytes.truncate(300);
    let text = STANDARD.encode(bytes);
    let lines: Vec<&str> = text
        .as_bytes()
        .chunks(64)
        .filter_map(|line| std::str::from_utf8(line).ok())
        .collect();
    format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----",
        lines.join("\n")
    )
}

/// The characters of a class: a name, or `[…]` with ranges as in a regular expression.
fn alphabet(class: &str) -> Vec<u8> {
    let set = match class {
        "hex" => "0-9a-f",
        "HEX" => "0-9A-F",
        "alnum" => "A-Za-z0-9",
        "lower" => "a-z",
        "upper" => "A-Z",
        "lownum" => "a-z0-9",
        "upnum" => "A-Z0-9",
        "digit" => "0-9",
        "b64" => "A-Za-z0-9+/",
        "b64url" => "A-Za-z0-9_-",
        "b32" => "A-Z2-7",
        set => set.trim_start_matches('[').trim_end_matches(']'),
    };
    let set = set.as_bytes();
    let mut all = Vec::new();
    let mut at = 0;
    while let Some(first) = set.get(at) {
        match (set.get(at + 1), set.get(at + 2)) {
            (Some(b'-'), Some(last)) => {
                all.extend(*first..=*last);
                at += 3;
            }
            _ => {
                all.push(*first);
                at += 1;
            }
        }
    }
    all
}

/// `count` characters drawn by a hash of the seed; nothing from an empty alphabet.
fn draw(alphabet: &[u8], count: usize, seed: &str) -> String {
    let mut out = String::with_capacity(count);
    let mut number = 0;
    while out.len() < count && !alphabet.is_empty() {
        for byte in Digest::of(format!("{seed}:{number}").as_bytes()).0 {
            // The slight bias of the remainder does not matter to an example.
            let drawn = alphabet[usize::from(byte) % alphabet.len()];
            if out.len() < count && drawn.is_ascii() {
                out.push(char::from(drawn));
            }
        }
        number += 1;
    }
    out
}
