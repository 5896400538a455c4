//! The event as JSON to an address of the receiver's own, signed twice: as GitHub signs
//! (`X-Hub-Signature-256`), and by Standard Webhooks, which also covers the identifier and the time.

use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::super::message::Message;
use super::{Surroundings, Trouble, http, json};
use crate::base::clock::Timestamp;
use crate::seal::keyed_hash;

/// What a secret of Standard Webhooks begins with; base64 follows.
const PREFIX: &str = "whsec_";

/// A receiver of events.
pub(super) struct Webhook {
    address: http::Address,
    keys: Option<Keys>,
}

/// The two forms of one secret.
struct Keys {
    /// The text itself.
    text: Zeroizing<Vec<u8>>,
    /// What stands behind the prefix, decoded; without the prefix the text itself.
    decoded: Zeroizing<Vec<u8>>,
}

impl Webhook {
    /// A receiver; without a secret nothing is signed.
    ///
    /// # Errors
    /// A secret that says that it is base64 and is not.
    pub(super) fn new(
        address: http::Address,
        secret: Option<&Zeroizing<String>>,
    ) -> Result<Self, &'static str> {
        let keys = |secret: &Zeroizing<String>| -> Result<Keys, &'static str> {
            let text = secret.trim();
            let decoded = match text.strip_prefix(PREFIX) {
                Some(rest) => STANDARD.decode(rest).ok().filter(|key| !key.is_empty()),
                None => Some(text.as_bytes().to_vec()),
            };
            let decoded = decoded.ok_or("does not hold base64 behind `whsec_`")?;
            Ok(Keys {
                text: Zeroizing::new(text.as_bytes().to_vec()),
                decoded: Zeroizing::new(decoded),
            })
        };
        Ok(Self {
            address,
            keys: secret.map(keys).transpose()?,
        })
    }

    pub(super) fn send(
        &self,
        message: &Message,
        (surroundings, until): (&Surroundings, Instant),
    ) -> Result<(), Trouble> {
        let body = json(message);
        let post = http::Post {
            address: &self.address,
            body: &body,
            headers: &|now| self.headers(&message.id, (now, &body)),
            until,
        };
        http::post(&post, surroundings)
    }

    fn headers(&self, id: &str, (now, body): (Timestamp, &[u8])) -> Vec<(&'static str, String)> {
        let seconds = now.unix_seconds().to_string();
        let mut headers = vec![
            ("webhook-id", id.to_owned()),
            ("webhook-timestamp", seconds.clone()),
        ];
        if let Some(keys) = &self.keys {
            let hub = keyed_hash(&keys.text, &[body]);
            let parts = [id.as_bytes(), b".", seconds.as_bytes(), b".", body];
            let standard = keyed_hash(&keys.decoded, &parts);
            headers.push(("x-hub-signature-256", format!("sha256={hub}")));
            headers.push((
                "webhook-signature",
                format!("v1,{}", STANDARD.encode(standard.0)),
            ));
        }
        headers
    }
}
