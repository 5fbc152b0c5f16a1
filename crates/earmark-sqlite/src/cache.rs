//! Recently used accounts, bounded by their rows.
//!
//! Two generations: what is used moves to the young one; when that is full, the old one is
//! forgotten and the young one becomes old. Cheaper than an exact order of use, and just as
//! bounded. An account that a transaction takes is out until it is put back, so a failed
//! transaction leaves nothing stale behind.

use std::collections::HashMap;

use earmark_core::{Account, TenantId};

pub(crate) struct AccountCache {
    young: HashMap<TenantId, Account>,
    old: HashMap<TenantId, Account>,
    young_rows: usize,
    rows_max: usize,
}

impl AccountCache {
    /// Keeps up to about `rows_max` rows.
    pub(crate) fn new(rows_max: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), young_rows: 0, rows_max }
    }

    pub(crate) fn take(&mut self, tenant: &TenantId) -> Option<Account> {
        if let Some(account) = self.young.remove(tenant) {
            self.young_rows -= account.rows().min(self.young_rows);
            return Some(account);
        }
        self.old.remove(tenant)
    }

    pub(crate) fn put(&mut self, account: Account) {
        let rows = account.rows();
        // One tenant may fill a generation, not more.
        if rows > self.rows_max / 2 {
            return;
        }
        if self.young_rows + rows > self.rows_max / 2 {
            self.old = std::mem::take(&mut self.young);
            self.young_rows = 0;
        }
        self.young_rows += rows;
        self.young.insert(account.id.clone(), account);
    }
}
