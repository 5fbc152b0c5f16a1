//! The keys in memory: from a digest to who sent it.

use std::collections::HashMap;
use std::sync::Arc;

use earmark_core::{TenantId, TimestampMs};
use earmark_engine::records::{ApiKeyKind, ApiKeyRecord};
use subtle::ConstantTimeEq;

use super::digest_of;
use crate::options::AdminKey;

/// Who sent a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Principal {
    /// The key's public id; `admin` for the operator's own.
    pub(crate) id: Arc<str>,
    pub(crate) kind: ApiKeyKind,
    pub(crate) tenant: Option<TenantId>,
    pub(crate) user: Option<String>,
}

/// All keys that are not revoked at some time.
#[derive(Default)]
pub(crate) struct KeyIndex {
    /// By the first bytes of the digest, which say nothing about the key; what is found is
    /// compared whole and in constant time.
    places: HashMap<[u8; 8], Vec<(Digest, Arc<Principal>)>>,
}

type Digest = [u8; 32];

impl KeyIndex {
    pub(crate) fn new(
        records: Vec<ApiKeyRecord>,
        admin_keys: &[AdminKey],
        now: TimestampMs,
    ) -> Self {
        let mut index = Self::default();
        let operator =
            Principal { id: "admin".into(), kind: ApiKeyKind::Admin, tenant: None, user: None };
        let operator = Arc::new(operator);
        for key in admin_keys {
            index.add(key.digest, Arc::clone(&operator));
        }
        let is_good = |record: &ApiKeyRecord| record.revoked.is_none_or(|at| now < at);
        for record in records.into_iter().filter(is_good) {
            let ApiKeyRecord { id, kind, tenant, user, digest, .. } = record;
            index.add(digest, Arc::new(Principal { id: id.into(), kind, tenant, user }));
        }
        index
    }

    fn add(&mut self, digest: Digest, principal: Arc<Principal>) {
        self.places.entry(place(&digest)).or_default().push((digest, principal));
    }

    /// Who sent a key; `None` for an unknown or revoked one.
    pub(crate) fn find(&self, key: &str) -> Option<Arc<Principal>> {
        let digest = digest_of(key);
        let candidates = self.places.get(&place(&digest))?;
        let found = candidates.iter().find(|(known, _)| known.ct_eq(&digest).into());
        found.map(|(_, principal)| Arc::clone(principal))
    }
}

fn place(digest: &Digest) -> [u8; 8] {
    let mut place = [0; 8];
    place.copy_from_slice(&digest[..8]);
    place
}
