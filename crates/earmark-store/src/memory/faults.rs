//! What can be made to fail in a memory store.

use std::collections::BTreeSet;

use earmark_core::TenantId;

use crate::seam::StoreError;

/// What fails next; each fault happens once, except busy tenants, which stay busy.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// At the next `begin`.
    pub begin: Option<BeginFault>,
    /// At the next `commit` that writes something.
    pub commit: Option<CommitFault>,
    /// Tenants that another node seems to work on.
    pub busy: BTreeSet<TenantId>,
}

/// How a `begin` fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BeginFault {
    /// The store does not answer now.
    Unavailable,
    /// The store's disk failed.
    Fatal,
}

impl From<BeginFault> for StoreError {
    fn from(fault: BeginFault) -> Self {
        match fault {
            BeginFault::Unavailable => Self::Unavailable("on demand".into()),
            BeginFault::Fatal => Self::Fatal("on demand".into()),
        }
    }
}

/// How a `commit` fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitFault {
    /// Nothing is written.
    RolledBack,
    /// The disk failed; nothing is written.
    Fatal,
    /// Nobody knows; nothing was written.
    UnknownLost,
    /// Nobody knows; it was written.
    UnknownDone,
    /// It says yes and a crash loses it: a disk that lies.
    NotSynced,
}
