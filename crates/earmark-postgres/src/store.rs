//! The store itself: what is asked of it runs on a connection of its own.

use std::path::PathBuf;
use std::sync::Arc;

use earmark_core::{TenantId, TimestampMs};
use earmark_store::bucket::{BUCKETS, bucket_of};
use earmark_store::clock::Clock;
use earmark_store::outbox::{
    AttemptEnd, ClaimQuery, Claims, DeliveryCounts, EndpointChange, EventPage, EventQuery, Outbox,
    Resent, WebhookEndpoint,
};
use earmark_store::records::{
    ApiKeyRecord, BackupProgress, Books, DuePage, EntryPage, EntryQuery, HoldPage, HoldQuery,
    HourlyQuery, Prune, Pruned, TenantPage, TenantQuery,
};
use earmark_store::{BatchNeed, BoxFuture, Config, ConfigChange, Records, Store, StoreError};
use tokio::time::timeout;

use crate::error::OpenError;
use crate::numbers::EventNumbers;
use crate::options::{OpenOptions, Target};
use crate::pool::Pool;
use crate::session::{Connector, DEADLINE};
use crate::txn::{PostgresTxn, Start};
use crate::{commit, config, erase, load, migrate, outbox, prune, read, save, server, tls, txn};

/// Earmark's store on PostgreSQL.
pub struct PostgresStore {
    pool: Arc<Pool>,
    /// A test's clock instead of the server's.
    clock: Option<Arc<dyn Clock>>,
    numbers: Arc<EventNumbers>,
}

impl PostgresStore {
    /// Connects, checks what the server is like, and brings the schema up to date if wanted.
    ///
    /// # Errors
    /// When the server does not answer, would lose what is acknowledged, or has a schema that
    /// this version cannot work with.
    pub async fn open(options: OpenOptions) -> Result<Self, OpenError> {
        let target = Target::of(&options.url)?;
        let tls = tls::connector(&target.protection)?;
        let connector = Connector::new(target, tls);
        let client = connector.connect_bare().await?;
        server::check(&client).await?;
        if options.migrate {
            migrate::apply_on(&client, connector.schema()).await?;
        } else {
            migrate::refuse_older(&client, connector.schema()).await?;
        }
        let newest = client.query_one("SELECT max(event_no) FROM outbox", &[]).await?;
        let newest: Option<i64> = newest.try_get(0)?;
        let numbers = Arc::new(EventNumbers::after(newest.unwrap_or_default()));
        let pool = Pool::new(connector, options.connections_max);
        Ok(Self { pool, clock: options.clock, numbers })
    }

    fn clock_ms(&self) -> Option<i64> {
        self.clock.as_ref().map(|clock| clock.now().0)
    }
}

impl Drop for PostgresStore {
    fn drop(&mut self) {
        self.pool.close();
    }
}

/// Does something on a connection within the deadline. What fails, or is dropped on the way,
/// closes its connection, and so ends a transaction that it may have begun.
macro_rules! on {
    ($store:ident, $session:ident => $work:expr) => {
        Box::pin(async move {
            let $session = $store.pool.lease().await?;
            let done = timeout(DEADLINE, async { $work.await }).await;
            let done = done.map_err(|_| txn::too_slow())??;
            $session.give_back();
            Ok(done)
        })
    };
}

impl Store for PostgresStore {
    type Txn = PostgresTxn;

    fn buckets(&self) -> usize {
        BUCKETS
    }

    fn bucket_of(&self, tenant: &TenantId) -> usize {
        bucket_of(tenant)
    }

    async fn begin(&self, need: BatchNeed) -> Result<PostgresTxn, StoreError> {
        let lease = self.pool.lease().await?;
        let preparing = async {
            for statements in [txn::ALL, load::sql::ALL, save::sql::ALL] {
                lease.prepare(statements).await?;
            }
            Ok::<_, StoreError>(())
        };
        timeout(DEADLINE, preparing).await.map_err(|_| txn::too_slow())??;
        let bucket = need.tenants.first().map_or(0, |(tenant, _)| bucket_of(tenant));
        let (clock_ms, numbers) = (self.clock_ms(), Arc::clone(&self.numbers));
        PostgresTxn::begin(Start { lease, bucket, clock_ms, numbers }, need).await
    }

    async fn was_committed(&self, batch: u128, tenant: &TenantId) -> Result<bool, StoreError> {
        let lease = self.pool.lease_new().await?;
        let asking = timeout(DEADLINE, commit::was_committed(&lease, batch, tenant));
        let committed = asking.await.map_err(|_| txn::too_slow())??;
        lease.give_back();
        Ok(committed)
    }
}

impl Records for PostgresStore {
    fn config(&self) -> BoxFuture<'_, Result<Config, StoreError>> {
        on!(self, session => config::load(&session))
    }

    fn put_config(
        &self,
        expected: i64,
        change: ConfigChange,
    ) -> BoxFuture<'_, Result<Option<Config>, StoreError>> {
        let clock_ms = self.clock_ms();
        on!(self, session => async {
            let now = read::now(&session, clock_ms).await?;
            if !config::put(&session, expected, &change, now.0).await? {
                return Ok(None);
            }
            config::load(&session).await.map(Some)
        })
    }

    fn tenants(&self, query: TenantQuery) -> BoxFuture<'_, Result<TenantPage, StoreError>> {
        on!(self, session => read::tenants(&session, &query))
    }

    fn holds(&self, query: HoldQuery) -> BoxFuture<'_, Result<HoldPage, StoreError>> {
        on!(self, session => read::holds(&session, &query))
    }

    fn entries(&self, query: EntryQuery) -> BoxFuture<'_, Result<EntryPage, StoreError>> {
        on!(self, session => read::entries(&session, &query))
    }

    fn due_tenants(
        &self,
        after: Option<TenantId>,
        count: usize,
    ) -> BoxFuture<'_, Result<DuePage, StoreError>> {
        let clock_ms = self.clock_ms();
        on!(self, session => read::due_tenants(&session, after.as_ref(), count, clock_ms))
    }

    fn books(&self, tenant: TenantId) -> BoxFuture<'_, Result<Option<Books>, StoreError>> {
        on!(self, session => read::books(&session, &tenant))
    }

    fn hourly(
        &self,
        query: HourlyQuery,
    ) -> BoxFuture<'_, Result<Vec<(TimestampMs, i64)>, StoreError>> {
        on!(self, session => read::hourly(&session, &query))
    }

    /// Batches do it themselves.
    fn sum_usage(&self) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async { Ok(false) })
    }

    fn prune(&self, prune: Prune) -> BoxFuture<'_, Result<Pruned, StoreError>> {
        on!(self, session => prune::step(&session, &prune))
    }

    fn newest_change(&self) -> BoxFuture<'_, Result<Option<TimestampMs>, StoreError>> {
        on!(self, session => read::newest_change(&session))
    }

    fn take_away(&self, tenant: TenantId) -> BoxFuture<'_, Result<bool, StoreError>> {
        on!(self, session => erase::step(&session, &tenant))
    }

    fn erasing(&self) -> BoxFuture<'_, Result<Vec<TenantId>, StoreError>> {
        on!(self, session => read::erasing(&session))
    }

    fn backup(
        &self,
        _file: PathBuf,
        _progress: Arc<BackupProgress>,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        let why = "PostgreSQL is backed up by its own tools: pg_dump, or archived WAL";
        Box::pin(async move { Err(StoreError::Unavailable(why.into())) })
    }

    fn add_api_key(&self, record: ApiKeyRecord) -> BoxFuture<'_, Result<(), StoreError>> {
        on!(self, session => config::add_api_key(&session, &record))
    }

    fn api_keys(
        &self,
        tenant: Option<TenantId>,
    ) -> BoxFuture<'_, Result<Vec<ApiKeyRecord>, StoreError>> {
        on!(self, session => read::api_keys(&session, tenant.as_ref()))
    }

    fn revoke_api_key(
        &self,
        id: String,
        at: Option<TimestampMs>,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        let clock_ms = self.clock_ms();
        on!(self, session => async {
            let now = read::now(&session, clock_ms).await?;
            config::revoke_api_key(&session, &id, at.map_or(now, |at| at.max(now)), now).await
        })
    }

    fn outbox(&self) -> &dyn Outbox {
        self
    }

    fn ping(&self) -> BoxFuture<'_, Result<TimestampMs, StoreError>> {
        let clock_ms = self.clock_ms();
        on!(self, session => read::now(&session, clock_ms))
    }
}

impl Outbox for PostgresStore {
    fn add_endpoint(
        &self,
        endpoint: WebhookEndpoint,
        max: usize,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        on!(self, session => outbox::add_endpoint(&session, &endpoint, max))
    }

    fn endpoints(&self) -> BoxFuture<'_, Result<Vec<WebhookEndpoint>, StoreError>> {
        on!(self, session => outbox::endpoints(&session))
    }

    fn change_endpoint(
        &self,
        id: String,
        change: EndpointChange,
    ) -> BoxFuture<'_, Result<Option<WebhookEndpoint>, StoreError>> {
        let clock_ms = self.clock_ms();
        on!(self, session => outbox::change_endpoint(&session, &id, change, clock_ms))
    }

    fn remove_endpoint(&self, id: String) -> BoxFuture<'_, Result<bool, StoreError>> {
        on!(self, session => outbox::remove_endpoint(&session, &id))
    }

    fn events(&self, query: EventQuery) -> BoxFuture<'_, Result<EventPage, StoreError>> {
        on!(self, session => outbox::events(&session, &query))
    }

    fn resend_event(
        &self,
        id: String,
        endpoint: Option<String>,
    ) -> BoxFuture<'_, Result<Option<Resent>, StoreError>> {
        let clock_ms = self.clock_ms();
        on!(self, session => outbox::resend(&session, &id, endpoint.as_deref(), clock_ms))
    }

    fn claim_deliveries(&self, query: ClaimQuery) -> BoxFuture<'_, Result<Claims, StoreError>> {
        let clock_ms = self.clock_ms();
        on!(self, session => outbox::claim(&session, &query, clock_ms))
    }

    fn end_attempt(&self, ended: AttemptEnd) -> BoxFuture<'_, Result<(), StoreError>> {
        let clock_ms = self.clock_ms();
        on!(self, session => outbox::end(&session, ended, clock_ms))
    }

    fn prune_events(&self, keep_ms: i64, count: usize) -> BoxFuture<'_, Result<usize, StoreError>> {
        let clock_ms = self.clock_ms();
        on!(self, session => outbox::prune(&session, keep_ms, count, clock_ms))
    }

    fn delivery_counts(&self) -> BoxFuture<'_, Result<DeliveryCounts, StoreError>> {
        on!(self, session => outbox::counts(&session))
    }
}
