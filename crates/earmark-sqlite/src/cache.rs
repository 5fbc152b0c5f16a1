//! Recently used accounts, bounded by their memory.
//!
//! Two generations: what is used moves to the young one; when that is full, the old one is
//! forgotten and the young one becomes old. Cheaper than an exact order of use, and just as
//! bounded. An account that a batch takes is out until it is put back.
//!
//! Always holds: an account with rows that are not in the tables yet is not forgotten, since
//! it could not be loaded as it is.

use rustc_hash::FxHashMap;

use earmark_core::{Account, TenantId};

use crate::rows::Chain;

/// An account and where its entries and holds end.
pub(crate) struct Kept {
    pub(crate) account: Box<Account>,
    pub(crate) chain: Chain,
}

impl Kept {
    pub(crate) fn new(tenant: TenantId) -> Self {
        Self { account: Box::new(Account::new(tenant)), chain: Chain::default() }
    }
}

pub(crate) struct AccountCache {
    young: FxHashMap<TenantId, Kept>,
    old: FxHashMap<TenantId, Kept>,
    young_bytes: usize,
    /// When the young are full.
    young_bytes_max: usize,
    bytes_max: usize,
}

impl AccountCache {
    /// Keeps accounts of about so many bytes in all.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            young: FxHashMap::default(),
            old: FxHashMap::default(),
            young_bytes: 0,
            young_bytes_max: bytes_max / 2,
            bytes_max,
        }
    }

    pub(crate) fn take(&mut self, tenant: &TenantId) -> Option<Kept> {
        if let Some(kept) = self.young.remove(tenant) {
            self.young_bytes -= kept.account.bytes().min(self.young_bytes);
            return Some(kept);
        }
        self.old.remove(tenant)
    }

    /// Keeps an account; batches up to `folded` are in the tables.
    pub(crate) fn put(&mut self, kept: Kept, folded: u64) {
        let bytes = kept.account.bytes();
        let must_stay = kept.chain.written_in > folded;
        // Names that nobody has would fill the memory otherwise; and one tenant may fill a
        // generation, not more.
        let is_worth_it = kept.account.tenant().present().is_some() && bytes <= self.bytes_max / 2;
        if !must_stay && !is_worth_it {
            return;
        }
        if self.young_bytes + bytes > self.young_bytes_max {
            self.turn(folded);
        }
        self.young_bytes += bytes;
        self.young.insert(kept.account.id.clone(), kept);
    }

    /// The young become old; the old go, except those that must stay.
    fn turn(&mut self, folded: u64) {
        let old = std::mem::replace(&mut self.old, std::mem::take(&mut self.young));
        let staying = old.into_iter().filter(|(_, kept)| kept.chain.written_in > folded);
        self.young = staying.collect();
        self.young_bytes = self.young.values().map(|kept| kept.account.bytes()).sum();
        // When many must stay, a turn must not follow at once.
        self.young_bytes_max = (self.bytes_max / 2).max(2 * self.young_bytes);
    }
}
