//! A connection with its settings and prepared statements.
//!
//! All statements here go by key, so a plan that fits once fits for good: sequential scans and
//! joins by hashing or sorting are switched off, since PostgreSQL would choose them while tables
//! are small and keep the plan when they are not.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use earmark_store::StoreError;
use futures_util::future::try_join_all;
use tokio::runtime::Handle;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row, Statement};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::error::unavailable;
use crate::options::Target;

/// How long anything but a commit may take before its connection is given up.
pub(crate) const DEADLINE: Duration = Duration::from_secs(8);

/// What is set on every connection, besides the schema.
///
/// A node that stops in a transaction frees its tenants after `idle_in_transaction_session_timeout`;
/// whoever waits for one of them waits a little longer than that. No statement of ours takes a
/// second; five are for a server in trouble, and end before [`DEADLINE`].
const SETTINGS: &str = "SET default_transaction_isolation = 'read committed';
    SET idle_in_transaction_session_timeout = '2s';
    SET lock_timeout = '3s';
    SET statement_timeout = '5s';
    SET client_min_messages = 'warning';
    SET plan_cache_mode = 'force_generic_plan';
    SET jit = 'off';
    SET enable_seqscan = 'off';
    SET enable_hashjoin = 'off';
    SET enable_mergejoin = 'off';
    SET enable_material = 'off';";

/// Makes connections.
pub(crate) struct Connector {
    target: Target,
    tls: MakeRustlsConnect,
    /// Where sockets are served: workers have small runtimes of their own, which end earlier.
    runtime: Handle,
}

/// Parameters of a statement.
pub(crate) type Params<'a> = &'a [&'a (dyn ToSql + Sync)];

/// A connection.
pub(crate) struct Session {
    pub(crate) client: Client,
    statements: Mutex<HashMap<&'static str, Statement>>,
}

impl Connector {
    /// Makes connections that are served by this runtime.
    pub(crate) fn new(target: Target, tls: MakeRustlsConnect) -> Self {
        Self { target, tls, runtime: Handle::current() }
    }

    /// The schema that our tables are in.
    pub(crate) fn schema(&self) -> &str {
        &self.target.schema
    }

    /// Connects and sets what has to be set.
    pub(crate) async fn connect(&self) -> Result<Session, StoreError> {
        let client = self.connect_bare();
        let client = tokio::time::timeout(DEADLINE, client)
            .await
            .map_err(|_| StoreError::Unavailable("connecting takes too long".into()))?
            .map_err(unavailable)?;
        Ok(Session { client, statements: Mutex::default() })
    }

    /// The same, for who has an error of its own.
    pub(crate) async fn connect_bare(&self) -> Result<Client, tokio_postgres::Error> {
        let (config, tls) = (self.target.config.clone(), self.tls.clone());
        let runtime = self.runtime.clone();
        let connecting = self.runtime.spawn(async move {
            let (client, connection) = config.connect(tls).await?;
            runtime.spawn(async move {
                // Whoever waits for an answer is told; what comes here is told nobody else.
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "a connection to PostgreSQL ended");
                }
            });
            Ok(client)
        });
        let client: Client = match connecting.await {
            Ok(connected) => connected?,
            Err(stopped) => std::panic::resume_unwind(stopped.into_panic()),
        };
        let schema = &self.target.schema;
        client.batch_execute(&format!("SET search_path = {schema}; {SETTINGS}")).await?;
        Ok(client)
    }
}

impl Session {
    /// A prepared statement.
    pub(crate) async fn statement(&self, sql: &'static str) -> Result<Statement, StoreError> {
        if let Some(statement) = self.known(sql) {
            return Ok(statement);
        }
        let statement = self.client.prepare(sql).await.map_err(unavailable)?;
        self.lock().insert(sql, statement.clone());
        Ok(statement)
    }

    /// Prepares several in one round trip, as far as they are not.
    pub(crate) async fn prepare(&self, all: &[&'static str]) -> Result<(), StoreError> {
        let missing: Vec<_> = all.iter().filter(|sql| self.known(sql).is_none()).collect();
        let preparing = missing.iter().map(|sql| self.client.prepare(sql));
        let statements = try_join_all(preparing).await.map_err(unavailable)?;
        self.lock().extend(missing.into_iter().copied().zip(statements));
        Ok(())
    }

    /// A statement that [`prepare`](Self::prepare) had on its list.
    #[expect(clippy::expect_used, reason = "which statements batches have is no matter of data")]
    pub(crate) fn prepared(&self, sql: &'static str) -> Statement {
        self.known(sql).expect("prepared before the transaction began")
    }

    fn known(&self, sql: &'static str) -> Option<Statement> {
        self.lock().get(sql).cloned()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<&'static str, Statement>> {
        self.statements.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every row that `sql` finds.
    pub(crate) async fn select<T>(
        &self,
        sql: &'static str,
        params: Params<'_>,
        read: impl Fn(&Row) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let statement = self.statement(sql).await?;
        let rows = self.client.query(&statement, params).await.map_err(unavailable)?;
        rows.iter().map(read).collect()
    }

    /// Changes rows; how many.
    pub(crate) async fn execute(
        &self,
        sql: &'static str,
        params: Params<'_>,
    ) -> Result<u64, StoreError> {
        let statement = self.statement(sql).await?;
        self.client.execute(&statement, params).await.map_err(unavailable)
    }
}
