//! Signatures by the Standard Webhooks scheme (<https://www.standardwebhooks.com>).
//!
//! ```text
//! signed:            <webhook-id>.<webhook-timestamp>.<body>
//! webhook-signature: v1,<base64 of HMAC-SHA256>, once for each secret, separated by spaces
//! secret as shown:   whsec_<base64>
//! ```

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use earmark_engine::outbox::WebhookSecret;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Bytes of a secret: what HMAC-SHA256 can use; the scheme asks for 24 to 64.
const SECRET_BYTES: usize = 32;

/// Makes a secret.
///
/// # Errors
/// When the system gives no randomness.
pub(crate) fn new_secret() -> std::io::Result<WebhookSecret> {
    let mut bytes = [0; SECRET_BYTES];
    getrandom::fill(&mut bytes).map_err(std::io::Error::other)?;
    Ok(WebhookSecret::new(bytes))
}

/// A secret as its receiver is given it.
pub(crate) fn shown(secret: &WebhookSecret) -> String {
    format!("whsec_{}", STANDARD.encode(secret.bytes()))
}

/// The header `webhook-signature`; `None` where a secret cannot sign, which none of ours does.
pub(super) fn signatures<'s>(
    secrets: impl Iterator<Item = &'s WebhookSecret>,
    id: &str,
    timestamp_s: i64,
    body: &[u8],
) -> Option<String> {
    let mut header = String::new();
    for secret in secrets {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.bytes()).ok()?;
        mac.update(format!("{id}.{timestamp_s}.").as_bytes());
        mac.update(body);
        if !header.is_empty() {
            header.push(' ');
        }
        header.push_str("v1,");
        header.push_str(&STANDARD.encode(mac.finalize().into_bytes()));
    }
    Some(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_scheme_is_signed_as_it_is_there() {
        let bytes = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let secret = WebhookSecret::new(bytes);
        assert_eq!(shown(&secret), "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let (id, body) = ("msg_p5jXN8AQM9LWM0D4loKWxJek", br#"{"test": 2432232314}"#);
        let signed = |secrets: &[&WebhookSecret]| {
            signatures(secrets.iter().copied(), id, 1_614_265_330, body).unwrap()
        };
        let expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(signed(&[&secret]), expected);
        let other = new_secret().unwrap();
        assert_ne!(other, new_secret().unwrap());
        let both = signed(&[&other, &secret]);
        let (first, second) = both.split_once(' ').unwrap();
        assert!(second == expected && first != expected && first.len() == expected.len());
    }
}
