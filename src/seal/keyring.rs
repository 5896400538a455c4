//! The keys that a command may use: at most one that signs, any number that verify.

use std::cell::OnceCell;
use std::rc::Rc;

use super::{KeyId, Secret, SecretError};
use crate::base::clock::Timestamp;

/// What a key may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Signs and verifies.
    Active,
    /// Verifies what it signed before a rotation.
    VerifyOnly,
    /// Withdrawn: what it signed is a violation.
    Revoked,
}

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// No flag, no active key in the keyring, nothing in the environment.
    #[error("no signing secret is configured")]
    Missing,
    /// The source did not give the secret's bytes.
    #[error("cannot get the signing secret from {origin}")]
    Fetch {
        /// The source in words, never its content.
        origin: String,
        /// What went wrong there.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The bytes cannot be a secret.
    #[error("the signing secret from {origin} cannot be used")]
    Refused {
        /// The source in words.
        origin: String,
        /// Why.
        #[source]
        source: SecretError,
    },
    /// The key that would sign was withdrawn.
    #[error("key {0} was revoked")]
    Revoked(KeyId),
    /// The source gives another secret than the keyring says.
    #[error("the secret from {origin} has the key identifier {found}, the keyring says {declared}")]
    OtherKey {
        /// The source in words.
        origin: String,
        /// As the keyring has it.
        declared: KeyId,
        /// As the secret has it.
        found: KeyId,
    },
}

/// Gets a secret when it is first needed; a vault is asked at most once.
type Fetch = Box<dyn Fn() -> Result<Secret, KeyError>>;

/// One key: its identifier, what it is good for, and a way to its secret.
pub struct Key {
    /// Which key.
    pub id: KeyId,
    /// What for.
    pub status: Status,
    /// What it signed before this instant is not its work.
    pub not_before: Option<Timestamp>,
    /// What it signed after this instant is not its work.
    pub not_after: Option<Timestamp>,
    /// Where its secret comes from, in words.
    pub origin: String,
    fetch: Fetch,
    secret: OnceCell<Rc<Secret>>,
}

impl Key {
    /// A key whose secret is at hand: from a flag or the environment.
    pub fn at_hand(secret: Secret, origin: String) -> Self {
        let cell = OnceCell::from(Rc::new(secret.clone()));
        let fetch: Fetch = Box::new(|| Err(KeyError::Missing));
        let id = secret.key_id();
        Self {
            id,
            status: Status::Active,
            not_before: None,
            not_after: None,
            origin,
            fetch,
            secret: cell,
        }
    }

    /// A key of the policy's keyring, whose secret is fetched when it is first needed.
    pub fn listed(id: KeyId, status: Status, origin: String, fetch: Fetch) -> Self {
        Self {
            id,
            status,
            not_before: None,
            not_after: None,
            origin,
            fetch,
            secret: OnceCell::new(),
        }
    }

    /// The secret.
    ///
    /// # Errors
    /// What its source said, and a source that gives another key's secret.
    pub fn secret(&self) -> Result<Rc<Secret>, KeyError> {
        if let Some(secret) = self.secret.get() {
            return Ok(Rc::clone(secret));
        }
        let secret = (self.fetch)()?;
        let found = secret.key_id();
        if found != self.id {
            return Err(KeyError::OtherKey {
                origin: self.origin.clone(),
                declared: self.id,
                found,
            });
        }
        Ok(Rc::clone(self.secret.get_or_init(|| Rc::new(secret))))
    }

    /// Whether the key's period covers an instant.
    pub fn covers(&self, instant: Timestamp) -> bool {
        self.not_before.is_none_or(|from| from <= instant)
            && self.not_after.is_none_or(|until| instant <= until)
    }
}

/// All keys of a command; may be empty.
#[derive(Default)]
pub struct Keyring {
    keys: Vec<Key>,
}

impl Keyring {
    /// Keys in the order of preference: an earlier key with the same identifier wins.
    pub fn new(keys: Vec<Key>) -> Self {
        Self { keys }
    }

    /// The key that signs.
    ///
    /// # Errors
    /// [`KeyError::Missing`] where no key is active, [`KeyError::Revoked`] where the active one
    /// was withdrawn: whoever hands a revoked key over, it signs no more.
    pub fn active(&self) -> Result<&Key, KeyError> {
        let is_active = |key: &&Key| key.status == Status::Active;
        let active = self.keys.iter().find(is_active).ok_or(KeyError::Missing)?;
        let revoked = |key: &Key| key.id == active.id && key.status == Status::Revoked;
        match self.keys.iter().any(revoked) {
            true => Err(KeyError::Revoked(active.id)),
            false => Ok(active),
        }
    }

    /// The key of that identifier, whatever its status.
    pub fn find(&self, id: KeyId) -> Option<&Key> {
        self.keys.iter().find(|key| key.id == id)
    }

    /// Every key, in the order of preference.
    pub fn iter(&self) -> impl Iterator<Item = &Key> {
        self.keys.iter()
    }

    /// Whether there is no key at all.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::decode(text.as_bytes(), 1).unwrap()
    }

    #[test]
    fn a_source_that_gives_another_secret_is_refused() {
        let declared = secret("the right one").key_id();
        let key = Key::listed(
            declared,
            Status::Active,
            "`env:K`".into(),
            Box::new(|| Ok(secret("another"))),
        );
        assert!(matches!(key.secret(), Err(KeyError::OtherKey { .. })));
    }

    #[test]
    fn a_secret_is_fetched_once_and_the_active_key_is_found() {
        let calls = Rc::new(std::cell::Cell::new(0));
        let seen = Rc::clone(&calls);
        let fetch = Box::new(move || {
            seen.set(seen.get() + 1);
            Ok(secret("the second key"))
        });
        let id = secret("the second key").key_id();
        let mut old = Key::at_hand(secret("the first key"), "a flag".into());
        old.status = Status::VerifyOnly;
        let ring = Keyring::new(vec![
            old,
            Key::listed(id, Status::Active, "x".into(), fetch),
        ]);
        assert_eq!(ring.active().unwrap().secret().unwrap().key_id(), id);
        ring.find(id).unwrap().secret().unwrap();
        assert_eq!(calls.get(), 1);
        assert!(
            ring.find(KeyId::parse("0123456789abcdef").unwrap())
                .is_none()
        );
    }
}
