//! The words and rules of Earmark as pure code.
//!
//! ```text
//! Account (loaded rows) + Catalog (plans) + Command + now ──execute──▶ answer | denial | need
//!                          │
//!                          └─ effects, applied to the account, written by a store
//! ```
//!
//! # Architecture invariant: the core cannot see the world
//!
//! No clock, no I/O, no async, no threads, no randomness, no JSON, no SQL, no floats. Time
//! enters as `now`, ids and digests come with the command. The only dependency is calendar
//! arithmetic. That is what lets the same code run in a server, in a simulator and in a
//! model, and what makes a decision repeatable.
//!
//! Rules are numbered `R1` to `R39`; they stand in `docs/rules.md`.

mod account;
mod amount;
mod answer;
mod books;
pub mod bounds;
mod catalog;
mod command;
mod decide;
mod denial;
pub mod effect;
mod glob;
pub mod invariant;
mod loaded;
mod name;
mod retention;
mod rows;
mod time;
mod view;
mod window;

pub use account::{Account, Changes, TenantChange};
pub use amount::{Amount, AmountRange};
pub use answer::{Answer, CommandError, Execution, Outcome};
pub use books::{BooksCheck, Difference};
pub use catalog::{
    Catalog, CatalogError, Filter, Limit, LimitAmount, LimitError, LimitIdentity, LimitSpec, Meter,
    Mode, OnDenied, OnExpiry, Plan, PlanError, PlanSpec, Threshold, Unlisted,
};
pub use command::{
    AdjustRequest, Command, ExtendRequest, GrantRequest, HoldRequest, KeyUse, MetersAsked,
    Operation, TenantFields, TenantPatch, Ttl,
};
pub use decide::{denied_effects, execute};
pub use denial::{Denial, DenialCode, LimitState, Retry};
pub use glob::{Glob, GlobError};
pub use loaded::{CombinationKey, Loaded, Need, RowChange};
pub use name::{
    DimensionKey, DimensionName, DimensionValue, Dimensions, DimensionsError, GrantId, HoldId,
    IdempotencyKey, LimitName, MeterName, NameError, PlanName, TenantId,
};
pub use retention::Retention;
pub use rows::{
    Counter, CounterDelta, CounterKey, CounterLeg, Entry, EntryId, EntryKind, Event, EventKind,
    Expiry, Fired, FiredAlert, Grant, GrantDelta, GrantLeg, Hold, HoldState, KeyRow, KeyTarget,
    Metadata, MeterCharge, Note, Override, Part, PartMeter, RequestDigest, Resolution,
    StoredAnswer, Tenant, TenantStatus,
};
pub use time::{ClockBehind, TimestampError, TimestampMs, effective_now};
pub use window::{
    CalendarKind, CalendarWindow, CalendarWindows, LabelError, ROLLING_SLICES, RollingSpan,
    SeriesStep, Slices, TenantCalendar, Window, WindowError, WindowLabel, Zone, ZoneError, series,
};
