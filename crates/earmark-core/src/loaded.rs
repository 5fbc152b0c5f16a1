//! Three-valued rows: Present, Absent or NotLoaded.
//!
//! What a store was not asked for never reads as zero: a decision that meets a row that is
//! not loaded asks for it ([`Need`]) and is taken anew.
//!
//! Always holds: a row offered by a store never replaces one that is here already, since the
//! one here may carry changes that the store does not have yet.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};

use crate::name::{GrantId, HoldId, IdempotencyKey, LimitName};
use crate::rows::CounterKey;
use crate::window::WindowLabel;

/// What is known of one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loaded<T> {
    /// It is there.
    Present(T),
    /// It is known not to be there.
    Absent,
    /// Nobody has looked.
    NotLoaded,
}

impl<T> Loaded<T> {
    /// The row, if it is known to be there.
    pub fn present(self) -> Option<T> {
        match self {
            Self::Present(row) => Some(row),
            Self::Absent | Self::NotLoaded => None,
        }
    }
}

/// Rows of one kind by their key, with the ones that a commit must write.
#[derive(Debug, Clone)]
pub(crate) struct Rows<K, V> {
    slots: BTreeMap<K, Slot<V>>,
    changed: Vec<K>,
    /// Rows that were looked up since the last commit.
    offered: Vec<K>,
    /// Rows that need not stay, with the commit that wrote them.
    leaving: VecDeque<(u64, K)>,
}

#[derive(Debug, Clone)]
struct Slot<V> {
    /// On its own, since a map has room for eleven slots in each node.
    row: Option<Box<V>>,
    /// Where the row comes from: whether the store has it, so that a commit knows whether
    /// it inserts or updates.
    stored: bool,
    changed: bool,
    /// The last commit that wrote it, 0 for none since it is here.
    written_in: u64,
}

/// One row that a commit must write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowChange<'a, K, V> {
    /// Which.
    pub key: &'a K,
    /// What it is now; `None` when it goes.
    pub row: Option<&'a V>,
    /// Whether the store has a row of that key already.
    pub stored: bool,
}

impl<K, V> Default for Rows<K, V> {
    fn default() -> Self {
        Self {
            slots: BTreeMap::new(),
            changed: Vec::new(),
            offered: Vec::new(),
            leaving: VecDeque::new(),
        }
    }
}

impl<K: Ord + Clone, V> Rows<K, V> {
    pub(crate) fn get(&self, key: &K) -> Loaded<&V> {
        match self.slots.get(key) {
            Some(Slot { row: Some(row), .. }) => Loaded::Present(row),
            Some(Slot { row: None, .. }) => Loaded::Absent,
            None => Loaded::NotLoaded,
        }
    }

    /// Takes what a store answered, unless the row is here already; says whether it was
    /// taken.
    pub(crate) fn offer(&mut self, key: K, row: Option<V>) -> bool {
        let Entry::Vacant(slot) = self.slots.entry(key) else { return false };
        self.offered.push(slot.key().clone());
        let row = row.map(Box::new);
        slot.insert(Slot { stored: row.is_some(), row, changed: false, written_in: 0 });
        true
    }

    /// The row to change, created by `create` when there is none.
    pub(crate) fn change_or(&mut self, key: &K, create: impl FnOnce() -> V) -> &mut V {
        let slot = self.slots.entry(key.clone()).or_insert(Slot {
            row: None,
            stored: false,
            changed: false,
            written_in: 0,
        });
        if !slot.changed {
            slot.changed = true;
            self.changed.push(key.clone());
        }
        slot.row.get_or_insert_with(|| Box::new(create()))
    }

    /// The row to change, if there is one.
    pub(crate) fn change(&mut self, key: &K) -> Option<&mut V> {
        let slot = self.slots.get_mut(key)?;
        let row = slot.row.as_mut()?;
        if !slot.changed {
            slot.changed = true;
            self.changed.push(key.clone());
        }
        Some(row)
    }

    pub(crate) fn put(&mut self, key: K, row: Box<V>) {
        let changed = Slot { row: Some(row), stored: false, changed: true, written_in: 0 };
        match self.slots.entry(key) {
            Entry::Occupied(mut slot) => {
                if !slot.get().changed {
                    self.changed.push(slot.key().clone());
                }
                let Slot { stored, written_in, .. } = *slot.get();
                slot.insert(Slot { stored, written_in, ..changed });
            }
            Entry::Vacant(slot) => {
                self.changed.push(slot.key().clone());
                slot.insert(changed);
            }
        }
    }

    pub(crate) fn remove(&mut self, key: &K) {
        if let Some(slot) = self.slots.get_mut(key) {
            slot.row = None;
            if !slot.changed {
                slot.changed = true;
                self.changed.push(key.clone());
            }
        }
    }

    /// Rows that a commit must write, in the order in which they first changed.
    pub(crate) fn changes(&self) -> impl Iterator<Item = RowChange<'_, K, V>> {
        self.changed.iter().filter_map(|key| {
            let slot = self.slots.get(key)?;
            // Came and went within one batch: nothing to write.
            (slot.stored || slot.row.is_some()).then_some(RowChange {
                key,
                row: slot.row.as_deref(),
                stored: slot.stored,
            })
        })
    }

    pub(crate) fn has_changes(&self) -> bool {
        !self.changed.is_empty()
    }

    /// After a commit: what is here is what was written. Rows that `keep` does not want, and
    /// those that are not there, leave by [`forget`](Self::forget).
    pub(crate) fn committed(&mut self, commit: u64, keep: impl Fn(&V) -> bool) {
        for key in self.changed.drain(..) {
            let Some(slot) = self.slots.get_mut(&key) else { continue };
            slot.changed = false;
            slot.stored = slot.row.is_some();
            slot.written_in = commit;
            if !slot.row.as_deref().is_some_and(&keep) {
                self.leaving.push_back((commit, key));
            }
        }
        for key in self.offered.drain(..) {
            let is_only_looked_at =
                |slot: &Slot<V>| slot.written_in == 0 && !slot.row.as_deref().is_some_and(&keep);
            if self.slots.get(&key).is_some_and(is_only_looked_at) {
                self.slots.remove(&key);
            }
        }
    }

    /// Forgets what need not stay, as far as commits up to `through` wrote it last: it
    /// becomes NotLoaded.
    pub(crate) fn forget(&mut self, through: u64, keep: impl Fn(&V) -> bool) {
        while self.leaving.front().is_some_and(|(commit, _)| *commit <= through) {
            let Some((_, key)) = self.leaving.pop_front() else { return };
            // Written again since: then it leaves with that commit, or has come to stay.
            let Entry::Occupied(slot) = self.slots.entry(key) else { continue };
            let Slot { row, changed, written_in, .. } = slot.get();
            if !changed && *written_in <= through && !row.as_deref().is_some_and(&keep) {
                slot.remove();
            }
        }
    }

    pub(crate) fn present(&self) -> impl Iterator<Item = (&K, &V)> {
        self.slots.iter().filter_map(|(key, slot)| Some((key, slot.row.as_deref()?)))
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }
}

/// Counters of one limit in one window in use at once (R3).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CombinationKey {
    /// The limit.
    pub limit: LimitName,
    /// The window.
    pub window: WindowLabel,
}

/// Rows of one tenant that a decision still needs; a store loads them in the same
/// transaction and the decision is taken anew.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Need {
    /// The tenant's row and all its live grants.
    pub tenant: bool,
    /// Counters by key.
    pub counters: Vec<CounterKey>,
    /// Holds by id, with the counters and grants that their legs name.
    pub holds: Vec<HoldId>,
    /// Idempotency keys, with the holds that they name.
    pub keys: Vec<IdempotencyKey>,
    /// Grants by id.
    pub grants: Vec<GrantId>,
    /// Numbers of combinations in use.
    pub combinations: Vec<CombinationKey>,
    /// The next due holds in order of (expiry, id), after
    /// [`Account::due_through`](crate::Account::due_through), with their counters and grants.
    pub due: bool,
    /// Rolling counters that have nothing used and held any more, some of them.
    pub idle_counters: bool,
    /// All counters of the tenant.
    pub all_counters: bool,
    /// All open holds of the tenant, with their counters and grants.
    pub all_open_holds: bool,
}

impl Need {
    /// Whether nothing is needed.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of which only even ones are worth keeping.
    fn is_even(row: &i64) -> bool {
        row % 2 == 0
    }

    fn committed(rows: &mut Rows<&'static str, i64>, row: i64, commit: u64) {
        rows.put("a", Box::new(row));
        rows.committed(commit, is_even);
    }

    #[test]
    fn a_row_stays_until_the_last_commit_that_wrote_it_may_be_forgotten() {
        let mut rows = Rows::default();
        committed(&mut rows, 1, 1);
        committed(&mut rows, 3, 2);
        rows.forget(1, is_even);
        assert_eq!(rows.get(&"a"), Loaded::Present(&3));
        rows.forget(2, is_even);
        assert_eq!(rows.get(&"a"), Loaded::NotLoaded);
    }

    #[test]
    fn a_row_that_became_worth_keeping_or_is_being_changed_stays() {
        let mut rows = Rows::default();
        committed(&mut rows, 1, 1);
        committed(&mut rows, 2, 2);
        rows.forget(2, is_even);
        assert_eq!(rows.get(&"a"), Loaded::Present(&2));
        committed(&mut rows, 3, 3);
        rows.put("a", Box::new(5));
        rows.forget(3, is_even);
        assert_eq!(rows.get(&"a"), Loaded::Present(&5));
    }

    #[test]
    fn a_row_that_went_is_absent_until_forgotten() {
        let mut rows = Rows::default();
        committed(&mut rows, 2, 1);
        rows.remove(&"a");
        rows.committed(2, is_even);
        assert_eq!(rows.get(&"a"), Loaded::Absent);
        rows.forget(2, is_even);
        assert_eq!(rows.get(&"a"), Loaded::NotLoaded);
    }

    #[test]
    fn rows_that_were_only_looked_at_do_not_pile_up() {
        let mut rows = Rows::default();
        for (key, row) in [("absent", None), ("odd", Some(1)), ("even", Some(2))] {
            rows.offer(key, row);
        }
        rows.committed(1, is_even);
        assert_eq!(rows.len(), 1);
        assert_eq!(rows.get(&"even"), Loaded::Present(&2));
    }
}
