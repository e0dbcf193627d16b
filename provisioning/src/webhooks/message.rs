//! A message to a webhook: its id, its body and its signatures, after Standard Webhooks 1.0.
//!
//! The id names the entry of the audit log, so it is the same in each attempt; after a restore another entry has another id. A signature covers the id, the time of
//! the attempt and the body, to the byte.

use serde_json::{json, Value};
use tessera_runtime::secret::Secret;
use tessera_token::encoding::base64;
use tessera_token::key::SecretKey;
use tessera_token::proof::SymmetricKey;

use crate::audit::{Chained, ALERT};
use crate::mac;

/// The signing keys of a webhook. They follow from one key, which is sealed at rest: a receiver that has the one for HMAC does
/// not know the other.
pub(crate) struct Signing {
    symmetric: Secret<[u8; 32]>,
    asymmetric: SecretKey,
}

impl Signing {
    pub(crate) fn of(key: &SymmetricKey) -> Self {
        let seed = mac::of(key.expose_bytes(), &[b"webhook-v1a"]);
        Self {
            symmetric: mac::of(key.expose_bytes(), &[b"webhook-v1"]),
            asymmetric: SecretKey::from_seed(seed.expose()),
        }
    }

    /// The secret as receivers take it.
    pub(crate) fn secret(&self) -> Secret<String> {
        Secret::new(format!("whsec_{}", base64(self.symmetric.expose())))
    }

    /// The public key, for receivers that hold no secret.
    pub(crate) fn public(&self) -> String {
        format!("whpk_{}", base64(self.asymmetric.public().as_bytes()))
    }

    /// Both signatures of a message.
    fn sign(&self, message: &[u8]) -> String {
        let mac = mac::of(self.symmetric.expose(), &[message]);
        let signature = self.asymmetric.sign(message);
        format!("v1,{} v1a,{}", base64(mac.expose()), base64(&signature))
    }
}

/// A message as it is sent.
pub(crate) struct Message {
    pub(crate) id: String,
    pub(crate) body: Vec<u8>,
}

impl Message {
    /// The message about an entry. Columns of rows are not in it: they may tell more than its receiver is to know.
    pub(crate) fn of(number: u64, row: &Chained) -> Self {
        let entry = &row.entry;
        let more = entry.more.as_ref();
        // The one object that is for its receiver: it has no column of a row.
        let alert = more.filter(|_| entry.action == ALERT);
        let alert: Option<Value> = alert.and_then(|more| serde_json::from_str(&more.after).ok());
        let mut body = json!({
            "type": entry.action,
            "data": {
                "seq": number,
                "at": entry.at,
                "tenant": entry.tenant,
                "subject": entry.subject,
                "actor": entry.actor,
                "how": more.map(|more| more.origin.how.as_str()),
                "outcome": more.map(|more| &more.outcome),
                "detail": entry.detail,
            },
        });
        if let (Some(alert), Some(data)) = (alert, body.get_mut("data")) {
            data["alert"] = alert;
        }
        Self { id: format!("evt_{number}_{}", row.mark()), body: body.to_string().into_bytes() }
    }

    /// The headers of an attempt at this second, signed by each key.
    pub(crate) fn headers(&self, now: u64, keys: &[Signing]) -> Vec<(&'static str, String)> {
        let signed =
            [self.id.as_bytes(), b".", now.to_string().as_bytes(), b".", &self.body].concat();
        let signatures: Vec<String> = keys.iter().map(|key| key.sign(&signed)).collect();
        vec![
            ("webhook-id", self.id.clone()),
            ("webhook-timestamp", now.to_string()),
            ("webhook-signature", signatures.join(" ")),
            ("user-agent", format!("tessera/{}", env!("CARGO_PKG_VERSION"))),
        ]
    }
}

#[cfg(test)]
mod tests {
    use tessera_token::encoding::from_base64url;

    use super::*;

    /// The example of Standard Webhooks: whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw.
    #[test]
    fn a_mac_is_that_of_the_example() {
        let key = from_base64url("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signed = b"msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.{\"test\": 2432232314}";
        let told = base64(mac::of(&key, &[signed]).expose());
        assert_eq!(told, "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn keys_follow_from_one_and_do_not_tell_each_other() {
        let key = |byte: u8| Signing::of(&SymmetricKey::from_bytes(&[byte; 32]).unwrap());
        let (one, other) = (key(1), key(2));
        assert!(one.secret().expose().starts_with("whsec_"));
        assert_eq!(one.secret().expose(), key(1).secret().expose());
        assert_ne!(one.secret().expose(), other.secret().expose());
        assert_ne!(one.public(), other.public());
        let message = Message { id: "evt_7".to_owned(), body: b"{}".to_vec() };
        let headers = message.headers(1_800_000_000, &[one, other]);
        let signatures = &headers[2].1;
        assert_eq!(signatures.split(' ').count(), 4);
        assert_eq!(signatures.matches("v1,").count(), 2);
        assert_eq!(signatures.matches("v1a,").count(), 2);
    }
}
