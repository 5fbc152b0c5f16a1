//! An open-loop load generator for an Earmark server.
//!
//! ```text
//!  schedule ──▶ pacer ──▶ desk ──▶ connections ──▶ server
//!  planned       thread     │ waits for a free one, at most so many, at most so long
//!  times                    └──▶ dropped: counted, never skipped
//! ```
//!
//! Open loop: when an arrival is planned does not depend on how fast the server answers, and
//! its latency counts from the planned time. A closed loop asks the next question after the
//! last answer, so a server that stalls is asked less while it stalls, and the stall hardly
//! shows (coordinated omission). Here everybody who would have come during the stall has
//! waited.
//!
//! Always holds: each planned arrival of a part is dropped or sent, and each lifecycle of one
//! that was sent is done, denied or failed; a refusal by rule is never counted as a failure.
//! Not here: printing, command line, TLS and HTTP/2 (what is measured is the server, over the
//! cheapest client), retries (they would change the load).

pub mod bounds;
mod calibrate;
mod connection;
mod cpu;
mod desk;
mod endpoint;
mod null;
mod outcome;
mod pacer;
mod report;
mod run;
#[cfg(test)]
mod run_tests;
mod schedule;
mod tally;
mod target;
mod tenants;

pub use calibrate::{Calibration, calibrate};
pub use connection::{CallError, Connection, Reply};
pub use endpoint::{Endpoint, EndpointError};
pub use report::{Arrived, Counts, Generator, Percentiles, Report, Series};
pub use run::{Load, Progress, RunError, Stop, run};
pub use schedule::{Arrivals, Schedule};
pub use target::Target;
pub use tenants::{Draw, PREFIX, PrepareError, Spread, Tenants};
