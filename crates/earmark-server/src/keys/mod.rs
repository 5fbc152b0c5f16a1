//! API keys: made here, kept as digests, found without comparing secrets byte by byte.
//!
//! ```text
//! em_tenant_ + 52 characters of base 32 = 256 random bits
//! ```
//!
//! Always holds: a key exists in clear only in the reply that makes it. Its digest needs no
//! slow hash, since 256 random bits cannot be guessed.

mod index;

use std::sync::Arc;

use earmark_core::{TenantId, TimestampMs};
use earmark_engine::records::{ApiKeyKind, ApiKeyRecord};
use sha2::{Digest, Sha256};
use tokio::sync::watch;

pub(crate) use index::{KeyIndex, Principal};

use crate::bounds::KEYS_EVERY;
use crate::state::App;

/// Crockford's alphabet in lower case.
const BASE32: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// What a new key is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyOf {
    /// Everything.
    Admin,
    /// Holds, charges and usage of any tenant, and the gateway on their behalf.
    Service,
    /// The gateway and its own usage.
    Tenant {
        /// Of which tenant.
        tenant: TenantId,
        /// Bound to one of its users.
        user: Option<String>,
    },
}

/// Makes a key that is good until it is revoked: the record to store, and the key itself, which nobody sees again.
///
/// # Errors
/// When the system gives no randomness.
pub fn new_key(
    of: KeyOf,
    name: Option<String>,
    now: TimestampMs,
) -> std::io::Result<(ApiKeyRecord, String)> {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).map_err(std::io::Error::other)?;
    let (kind, tenant, user) = match of {
        KeyOf::Admin => (ApiKeyKind::Admin, None, None),
        KeyOf::Service => (ApiKeyKind::Service, None, None),
        KeyOf::Tenant { tenant, user } => (ApiKeyKind::Tenant, Some(tenant), user),
    };
    let key = format!("em_{}_{}", kind.as_str(), base32(&secret));
    let id = new_id("key");
    let digest = digest_of(&key);
    let record = ApiKeyRecord { id, kind, tenant, user, name, digest, created: now, revoked: None };
    Ok((record, key))
}

/// A public id, in order of making.
pub(crate) fn new_id(of: &str) -> String {
    format!("{of}_{}", base32(uuid::Uuid::now_v7().as_bytes()))
}

/// SHA-256 of a key.
pub(crate) fn digest_of(key: &str) -> [u8; 32] {
    Sha256::digest(key.as_bytes()).into()
}

fn base32(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 8 / 5 + 1);
    let (mut bits, mut count) = (0u32, 0);
    for byte in bytes {
        bits = (bits << 8) | u32::from(*byte);
        count += 8;
        while count >= 5 {
            count -= 5;
            text.push(char::from(BASE32[(bits >> count) as usize & 31]));
        }
    }
    if count > 0 {
        text.push(char::from(BASE32[(bits << (5 - count)) as usize & 31]));
    }
    text
}

/// Reads the keys anew until `stopped`: what another node made or revoked, and keys whose
/// time is over, hold here within a second. When the store does not answer, the known keys stay.
pub(crate) async fn refresh(app: Arc<App>, mut stopped: watch::Receiver<()>) {
    loop {
        tokio::select! {
            _ = stopped.changed() => return,
            () = tokio::time::sleep(KEYS_EVERY) => {}
        }
        let _ = app.refresh_keys().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_256_bits_and_is_kept_as_its_digest() {
        let (record, key) = new_key(KeyOf::Service, None, TimestampMs(0)).unwrap();
        let random = key.strip_prefix("em_service_").unwrap();
        assert_eq!(random.len(), 52);
        assert_eq!(record.digest, digest_of(&key));
        let (_, other) = new_key(KeyOf::Service, None, TimestampMs(0)).unwrap();
        assert_ne!(key, other);
    }

    #[test]
    fn base_32_keeps_every_bit() {
        assert_eq!(base32(&[0xff; 5]), "zzzzzzzz");
        assert_eq!(base32(&[0x00, 0x01]), "000g");
        assert_eq!(base32(&[]), "");
    }
}
