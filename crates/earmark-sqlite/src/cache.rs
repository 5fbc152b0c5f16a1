//! Recently used accounts, bounded by their rows.
//!
//! Two generations: what is used moves to the young one; when that is full, the old one is
//! forgotten and the young one becomes old. Cheaper than an exact order of use, and just as
//! bounded. An account that a transaction takes is out until it is put back, so a failed
//! transaction leaves nothing stale behind.

use std::collections::HashMap;

use earmark_core::{Account, TenantId};

use crate::rows::Chain;

/// An account and where its entries and holds end.
pub(crate) struct Kept {
    pub(crate) account: Account,
    pub(crate) chain: Chain,
}

pub(crate) struct AccountCache {
    young: HashMap<TenantId, Kept>,
    old: HashMap<TenantId, Kept>,
    young_rows: usize,
    rows_max: usize,
}

impl AccountCache {
    /// Keeps up to about `rows_max` rows.
    pub(crate) fn new(rows_max: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), young_rows: 0, rows_max }
    }

    pub(crate) fn take(&mut self, tenant: &TenantId) -> Option<Kept> {
        if let Some(kept) = self.young.remove(tenant) {
            self.young_rows -= kept.account.rows().min(self.young_rows);
            return Some(kept);
        }
        self.old.remove(tenant)
    }

    pub(crate) fn put(&mut self, kept: Kept) {
        let rows = kept.account.rows();
        // One tenant may fill a generation, not more.
        if rows > self.rows_max / 2 {
            return;
        }
        if self.young_rows + rows > self.rows_max / 2 {
            self.old = std::mem::take(&mut self.young);
            self.young_rows = 0;
        }
        self.young_rows += rows;
        self.young.insert(kept.account.id.clone(), kept);
    }
}
