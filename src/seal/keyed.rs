//! A keyed hash for identifiers: HMAC-SHA256 (RFC 2104) under a salt that may be public.
//!
//! Seals nothing: what must not be forged goes through [`super::Secret`] and its encoding.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::base::digest::Digest;

/// HMAC-SHA256 of the parts, one behind the other, under a salt of any length. Parts that could
/// run into each other need a separator among them.
pub fn keyed_hash(salt: &[u8], parts: &[&[u8]]) -> Digest {
    let mut mac = match Hmac::<Sha256>::new_from_slice(salt) {
        Ok(mac) => mac,
        // HMAC takes a key of any length (RFC 2104 §2).
        Err(_) => unreachable!("HMAC takes a key of any length"),
    };
    for part in parts {
        mac.update(part);
    }
    Digest(mac.finalize().into_bytes().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_the_hmac_of_rfc_4231_however_the_data_is_parted() {
        let expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        for parts in [
            &[&b"what do ya want for nothing?"[..]][..],
            &[b"what do ya want", b"", b" for nothing?"],
        ] {
            assert_eq!(keyed_hash(b"Jefe", parts).to_string(), expected);
        }
        assert_ne!(keyed_hash(b"jefe", &[b"x"]), keyed_hash(b"Jefe", &[b"x"]));
    }
}
