//! The rows of one tenant, as rules see them.
//!
//! Deliberately absent: how a store keeps them. None of these types is serialisable; stores
//! own their row formats and convert explicitly.

mod counter;
mod entry;
mod event;
mod grant;
mod hold;
mod key;
mod tenant;

pub use counter::{Counter, CounterKey, Fired, FiredAlert};
pub use entry::{CounterDelta, Entry, EntryId, EntryKind, GrantDelta};
pub use event::{Event, EventKind};
pub use grant::Grant;
pub use hold::{
    CounterLeg, Expiry, GrantLeg, Hold, HoldState, MeterCharge, Part, PartMeter, Resolution,
};
pub use key::{KeyRow, KeyTarget, RequestDigest, StoredAnswer};
pub use tenant::{Override, Tenant, TenantStatus};

use std::sync::Arc;

/// JSON text that a caller attached; bounded, stored, never read by a rule.
pub type Metadata = Arc<str>;

/// A reason or an author; bounded text for people.
pub type Note = Arc<str>;
