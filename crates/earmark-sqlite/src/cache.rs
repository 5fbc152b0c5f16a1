//! Recently used accounts, bounded by their memory.
//!
//! Whole accounts in order of their use; those that were used longest ago go to rest, which
//! takes a tenth of the memory, and in the end they are forgotten. An account that a batch takes
//! is out until it is put back.
//!
//! Always holds: an account with rows that are not in the tables yet stays whole, since it could
//! not be loaded as it is.

use hashlink::LinkedHashMap;
use rustc_hash::FxBuildHasher;

use earmark_core::{Account, TenantId};

use crate::rest::{Bedding, Resting};
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
    whole: Generation<Kept>,
    resting: Generation<Resting>,
    bedding: Bedding,
    bytes_max: usize,
}

/// Values in the order in which they were put in.
struct Generation<V> {
    values: LinkedHashMap<TenantId, V, FxBuildHasher>,
    bytes: usize,
    bytes_max: usize,
}

/// What a bounded memory must know.
pub(crate) trait Bytes {
    /// About how much memory it takes; the same until it is taken out again.
    fn bytes(&self) -> usize;
}

impl Bytes for Kept {
    fn bytes(&self) -> usize {
        self.account.bytes()
    }
}

impl<V: Bytes> Generation<V> {
    fn new(bytes_max: usize) -> Self {
        Self { values: LinkedHashMap::default(), bytes: 0, bytes_max }
    }

    fn take(&mut self, tenant: &TenantId) -> Option<V> {
        let value = self.values.remove(tenant)?;
        self.bytes -= value.bytes();
        Some(value)
    }

    fn put(&mut self, tenant: TenantId, value: V) {
        self.bytes += value.bytes();
        if let Some(before) = self.values.insert(tenant, value) {
            self.bytes -= before.bytes();
        }
    }

    /// Takes out the oldest while there is too much, unless it must stay.
    fn excess(&mut self, must_stay: impl Fn(&V) -> bool) -> Option<(TenantId, V)> {
        let (_, oldest) = self.values.front()?;
        if self.bytes <= self.bytes_max || must_stay(oldest) {
            return None;
        }
        let (tenant, value) = self.values.pop_front()?;
        self.bytes -= value.bytes();
        Some((tenant, value))
    }
}

impl AccountCache {
    /// Keeps accounts of about so many bytes in all.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            whole: Generation::new(bytes_max / 5),
            resting: Generation::new(bytes_max - bytes_max / 5),
            bedding: Bedding::default(),
            bytes_max,
        }
    }

    pub(crate) fn take(&mut self, tenant: &TenantId) -> Option<Kept> {
        if let Some(kept) = self.whole.take(tenant) {
            return Some(kept);
        }
        self.resting.take(tenant).map(|resting| resting.wake(tenant.clone()))
    }

    /// Keeps an account; batches up to `folded` are in the tables.
    pub(crate) fn put(&mut self, kept: Kept, folded: u64) {
        let must_stay = |kept: &Kept| kept.chain.written_in > folded;
        // Names that nobody has would fill the memory otherwise; and one tenant may fill half of
        // it, not more.
        let is_worth_it =
            kept.account.tenant().present().is_some() && kept.account.bytes() <= self.bytes_max / 2;
        if !must_stay(&kept) && !is_worth_it {
            return;
        }
        self.whole.put(kept.account.id.clone(), kept);
        // The oldest was written first: when it must stay, so must nearly all.
        while let Some((tenant, kept)) = self.whole.excess(must_stay) {
            if let Some(resting) = self.bedding.lay(&kept) {
                self.resting.put(tenant, resting);
            }
        }
        while self.resting.excess(|_| false).is_some() {}
    }
}
