//! All that is keyed: the secret, its identifier, the encoding under the MAC, and the keyring.
//!
//! Knows nothing of manifests, records or policy files, and never where a secret's bytes came
//! from: the shell fetches them.

mod keyed;
mod keyring;
mod secret;

pub use keyed::keyed_hash;
pub use keyring::{Key, KeyError, Keyring, Status};
pub use secret::{KeyId, KeyIdError, Mac, Secret, SecretError, Weakness};
