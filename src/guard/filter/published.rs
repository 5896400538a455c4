//! Values that specifications print: whoever copies an example copies them, and they open nothing.
//! Kept as digests, so that no scanner takes this file for a leak.

use crate::base::digest::Digest;

/// The first eight bytes of the SHA-256 of each, in order.
const DIGESTS: &[u64] = &[
    0x00cf_4c78_1dc3_7003, // RFC 6749 §4.1.4, refresh token
    0x53f5_da0a_aa93_d64c, // RFC 6749 §2.3.1, client password
    0x6c96_130f_130a_b0d6, // RFC 6749 §4.1.4, access token
    0x9e30_9ccc_d311_ea64, // OpenID Connect Core 1.0 §3.1.3.3, refresh token
    0xa71b_359a_87af_de13, // OAuth 2.0 draft of MAC tokens, key identifier
    0xad71_fb41_6553_6675, // OpenID Connect Core 1.0 §3.1.3.3, access token
    0xb8e1_4854_5b13_c78b, // RFC 6750 §2.1, bearer token
    0xca74_59e2_b267_76de, // RFC 6749 §4.1.3, basic credentials
    0xcf4d_418e_d3de_92d7, // RFC 7617 §2, basic credentials
    0xe997_4c50_7d2a_8021, // RFC 6749 §2.3.1, client password of the request body
];

/// Whether a value is one that a specification prints.
pub fn is_published(value: &[u8]) -> bool {
    let digest = Digest::of(value).0;
    let first = digest.first_chunk().copied().map_or(0, u64::from_be_bytes);
    DIGESTS.binary_search(&first).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_specifications_print_is_known_and_the_list_is_in_order() {
        assert!(DIGESTS.is_sorted());
        let basic = ["QWxhZGRpbjpv", "cGVuIHNlc2FtZQ=="].concat();
        assert!(is_published(basic.as_bytes()));
        assert!(!is_published(b"QWxhZGRpbjpv"));
    }
}
