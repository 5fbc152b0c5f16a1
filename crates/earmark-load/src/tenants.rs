//! The tenants that a load acts for: their names, who of them comes, and that they are there.
//!
//! Always holds: every name begins with [`PREFIX`], so that no load ever charges or changes a
//! tenant that somebody else made; whom an arrival acts for follows from the seed and the
//! arrival's number alone.
//! Not here: removing them.

use earmark_core::{NameError, TenantId};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::bounds::{PREPARE_CONNECTIONS, PREPARE_TIMEOUT};
use crate::connection::{CallError, Connection};
use crate::endpoint::Endpoint;

/// What the names of all tenants of loads begin with.
pub const PREFIX: &str = "bench-";

/// How arrivals are spread over the tenants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spread {
    /// Each as often as any other.
    Uniform,
    /// The k-th in proportion to 1 / k: a few are busy, most are quiet, as customers are.
    Zipf,
}

/// Draws one of so many.
#[derive(Debug, Clone)]
pub struct Draw {
    count: usize,
    /// The running sum of the shares of all up to each; empty for equal shares.
    shares: Vec<f64>,
}

impl Draw {
    /// Of `count`, at least 1, as they are spread.
    #[must_use]
    pub fn new(count: usize, spread: Spread) -> Self {
        let count = count.max(1);
        let shares = match spread {
            Spread::Uniform => Vec::new(),
            Spread::Zipf => {
                let mut sum = 0.0;
                let add = |rank| {
                    sum += 1.0 / rank as f64;
                    sum
                };
                (1..=count).map(add).collect()
            }
        };
        Self { count, shares }
    }

    /// The number of one, from 0.
    pub fn number(&self, random: &mut fastrand::Rng) -> usize {
        let Some(sum) = self.shares.last() else { return random.usize(..self.count) };
        let drawn = random.f64() * sum;
        self.shares.partition_point(|share| *share <= drawn).min(self.count - 1)
    }
}

/// Tenants `<prefix>0` to `<prefix><count - 1>`.
#[derive(Debug, Clone)]
pub struct Tenants {
    prefix: String,
    draw: Draw,
}

/// Why the tenants are not there.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// The prefix could be that of other tenants.
    #[error("{0} does not begin with {PREFIX}, as the tenants of all loads do")]
    Prefix(String),
    /// With it there would be no valid names.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The server refused one.
    #[error("cannot make the tenant {tenant}: the server answered {status}, {told}")]
    Refused {
        /// Which.
        tenant: String,
        /// The status.
        status: u16,
        /// The reply's code and detail.
        told: String,
    },
    /// The server did not answer.
    #[error("cannot make the tenants: {0}")]
    Call(#[from] CallError),
}

impl Tenants {
    /// `count` tenants, at least 1, whose names begin with `prefix`.
    ///
    /// # Errors
    /// When the prefix does not begin with [`PREFIX`], or makes names that are none.
    pub fn new(prefix: &str, count: usize, spread: Spread) -> Result<Self, PrepareError> {
        if !prefix.starts_with(PREFIX) {
            return Err(PrepareError::Prefix(prefix.to_owned()));
        }
        let tenants = Self { prefix: prefix.to_owned(), draw: Draw::new(count, spread) };
        TenantId::new(&tenants.last())?;
        Ok(tenants)
    }

    /// The first one's name.
    #[must_use]
    pub fn first(&self) -> String {
        self.name(0)
    }

    /// The last one's name.
    #[must_use]
    pub fn last(&self) -> String {
        self.name(self.draw.count - 1)
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.draw.count
    }

    fn name(&self, number: usize) -> String {
        format!("{}{number}", self.prefix)
    }

    /// Draws the name of one.
    pub(crate) fn draw(&self, random: &mut fastrand::Rng) -> String {
        self.name(self.draw.number(random))
    }

    /// Puts all of them on that plan, whether or not they are there.
    ///
    /// # Errors
    /// When the server refuses one or does not answer.
    pub async fn prepare(&self, endpoint: &Endpoint, plan: &str) -> Result<(), PrepareError> {
        let body = json!({ "plan": plan }).to_string();
        let mut tasks = JoinSet::new();
        for first in 0..PREPARE_CONNECTIONS.min(self.draw.count) {
            let (tenants, endpoint, body) = (self.clone(), endpoint.clone(), body.clone());
            tasks.spawn(async move { tenants.put_each(&endpoint, &body, first).await });
        }
        while let Some(ended) = tasks.join_next().await {
            // A task that panicked has said so.
            ended.unwrap_or(Err(CallError::Closed.into()))?;
        }
        Ok(())
    }

    /// Puts every [`PREPARE_CONNECTIONS`]th, from that one on.
    async fn put_each(
        &self,
        endpoint: &Endpoint,
        body: &str,
        first: usize,
    ) -> Result<(), PrepareError> {
        let mut connection = Connection::open(endpoint, PREPARE_TIMEOUT).await?;
        for number in (first..self.draw.count).step_by(PREPARE_CONNECTIONS) {
            let tenant = self.name(number);
            let path = format!("/v1/tenants/{tenant}");
            let reply = connection.call("PUT", &path, &[], body).await?;
            if !reply.is_success() {
                let told = told(&reply.body);
                return Err(PrepareError::Refused { tenant, status: reply.status, told });
            }
        }
        Ok(())
    }
}

/// Code and detail of a problem, or whatever else it is.
fn told(body: &str) -> String {
    let problem: Value = serde_json::from_str(body).unwrap_or_default();
    match (problem["code"].as_str(), problem["detail"].as_str()) {
        (Some(code), Some(detail)) => format!("{code}: {detail}"),
        _ => body.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(spread: Spread, count: usize, draws: usize) -> Vec<usize> {
        let tenants = Tenants::new("bench-", count, spread).unwrap();
        let mut random = fastrand::Rng::with_seed(5);
        let mut times = vec![0; count];
        for _ in 0..draws {
            let name = tenants.draw(&mut random);
            times[name.strip_prefix("bench-").unwrap().parse::<usize>().unwrap()] += 1;
        }
        times
    }

    #[test]
    fn uniform_tenants_come_equally_often() {
        let times = drawn(Spread::Uniform, 10, 100_000);
        assert!(times.iter().all(|times| (9_400..10_600).contains(times)), "{times:?}");
    }

    #[test]
    fn the_kth_zipf_tenant_comes_a_kth_as_often_as_the_first() {
        let times = drawn(Spread::Zipf, 4, 100_000);
        // Shares of 12, 6, 4 and 3 in 25.
        for (times, expected) in times.iter().zip([48_000, 24_000, 16_000, 12_000]) {
            assert!(times.abs_diff(expected) < 1_000, "{times} for {expected}");
        }
    }

    #[test]
    fn a_prefix_that_other_tenants_could_have_is_refused() {
        for prefix in ["", "acme", "ben", "BENCH-", "bench-/../acme", "bench- "] {
            assert!(Tenants::new(prefix, 1, Spread::Uniform).is_err(), "{prefix}");
        }
        let tenants = Tenants::new("bench-night-", 3, Spread::Uniform).unwrap();
        assert_eq!(
            (tenants.first(), tenants.last()),
            ("bench-night-0".into(), "bench-night-2".into())
        );
    }
}
