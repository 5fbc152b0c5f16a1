//! What must hold of every account after every batch; a breach is a bug and costs one tenant
//! one answer (R38).

use std::fmt;

use crate::account::Account;
use crate::bounds::AMOUNT_MAX;
use crate::loaded::Loaded;
use crate::rows::CounterKey;

/// An invariant that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breach {
    /// Which, with the numbers.
    pub what: String,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Breach {}

fn breach(what: String) -> Result<(), Breach> {
    Err(Breach { what })
}

/// Checks the rows that a commit is about to write: cheap enough for every batch.
pub fn check(account: &Account) -> Result<(), Breach> {
    let Some(changes) = account.changes() else { return Ok(()) };
    for change in changes.counters() {
        let Some(counter) = change.row else { continue };
        let CounterKey { limit, window, .. } = change.key;
        if counter.used < 0 || counter.held < 0 || counter.denied < 0 {
            let (used, held) = (counter.used, counter.held);
            return breach(format!("{limit} {window}: used {used}, held {held}: below 0"));
        }
        if counter.used > AMOUNT_MAX || counter.held > AMOUNT_MAX {
            return breach(format!("{limit} {window}: past the top"));
        }
    }
    for change in changes.grants() {
        let Some(grant) = change.row else { continue };
        if grant.used < 0 || grant.held < 0 || grant.lapsed < 0 || grant.left() < 0 {
            return breach(format!("{}: used, held or lapsed out of range", grant.id));
        }
    }
    for change in changes.holds() {
        let Some(hold) = change.row else { continue };
        if hold.expires > hold.latest_end() || hold.parts.is_empty() {
            return breach(format!("{}: lives too long or holds nothing", hold.id));
        }
    }
    if let Loaded::Present(tenant) = account.tenant() {
        if tenant.open_holds < 0 {
            return breach(format!("open holds {}", tenant.open_holds));
        }
        let mut seq = None;
        for entry in changes.entries() {
            if entry.id.seq > tenant.seq || seq.is_some_and(|last| entry.id <= last) {
                return breach(format!("entry {} out of order", entry.id));
            }
            seq = Some(entry.id);
        }
    }
    Ok(())
}
