//! What tells a secret from a text that merely has its shape: checksums, entropy, rarity of letter
//! pairs, and the grammar of placeholders. Pure functions over bytes; knows no rule and no file.

mod checksum;
mod placeholder;
mod random;

pub use checksum::{Checksum, crc62};
pub use placeholder::is_placeholder;
pub use random::{entropy, is_random};
