//! What tells a secret from a text that merely has its shape: checksums, entropy, rarity of letter
//! pairs, the grammar of placeholders, and how an assignment is written. Pure functions over bytes;
//! knows no rule and no file.

mod checksum;
mod letters;
mod name;
mod place;
mod placeholder;
mod published;
mod random;
mod setting;
mod value;
mod words;

pub use checksum::{Checksum, crc62};
pub use letters::rarity;
pub use name::Kind;
pub use place::{is_for_tests, lies_among_tests};
pub use placeholder::{is_filler, is_placeholder, is_typed};
pub use published::is_published;
pub use random::{entropy, is_random};
pub use setting::{Setting, Weight};
