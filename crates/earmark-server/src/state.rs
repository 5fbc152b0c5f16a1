//! What all routes share.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use arc_swap::ArcSwap;
use earmark_core::{Answer, Command, TenantId};
use earmark_engine::{CallError, Quota};

use crate::error::Problem;
use crate::gateway::GatewayRoutes;
use crate::keys::KeyIndex;
use crate::metrics::Metrics;
use crate::options::{AdminKey, ServerOptions, UpstreamInfo};
use crate::routes::LastBackup;
use crate::serve::ServeError;
use crate::webhooks::Webhooks;

/// The state of a server.
pub(crate) struct App {
    pub(crate) quota: Quota,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) keys: ArcSwap<KeyIndex>,
    /// One reading at a time, so that an older one never replaces a newer one: a key that was
    /// revoked here stays refused.
    reading_keys: tokio::sync::Mutex<()>,
    pub(crate) admin_keys: Vec<AdminKey>,
    pub(crate) upstreams: Vec<UpstreamInfo>,
    pub(crate) gateway: Option<Arc<dyn GatewayRoutes>>,
    pub(crate) backups: Option<PathBuf>,
    pub(crate) last_backup: LastBackup,
    pub(crate) webhooks: Webhooks,
    /// Whether a shutdown has begun: load balancers are told to look elsewhere.
    pub(crate) draining: AtomicBool,
}

/// The state as routes take it.
pub(crate) type Shared = axum::extract::State<Arc<App>>;

impl App {
    pub(crate) async fn open(
        quota: Quota,
        metrics: Arc<Metrics>,
        options: ServerOptions,
    ) -> Result<Arc<Self>, ServeError> {
        let keys = read_keys(&quota, &options.admin_keys).await;
        let keys = keys.map_err(ServeError::Store)?;
        Ok(Arc::new(Self {
            quota,
            metrics,
            keys: ArcSwap::from_pointee(keys),
            reading_keys: tokio::sync::Mutex::new(()),
            admin_keys: options.admin_keys,
            upstreams: options.upstreams,
            gateway: options.gateway,
            backups: options.backups,
            last_backup: LastBackup::default(),
            webhooks: Webhooks::new(options.webhooks),
            draining: AtomicBool::new(false),
        }))
    }

    /// Reads the keys anew.
    pub(crate) async fn refresh_keys(&self) -> Result<(), Problem> {
        let _one = self.reading_keys.lock().await;
        let keys = read_keys(&self.quota, &self.admin_keys).await.map_err(Problem::store)?;
        self.keys.store(Arc::new(keys));
        Ok(())
    }

    /// Executes a command; a refusal is told as a problem of that tenant.
    pub(crate) async fn execute(
        &self,
        tenant: &TenantId,
        command: Command,
        within: Option<Duration>,
    ) -> Result<Answer, Problem> {
        let answer = self.quota.execute(tenant.clone(), command, within).await;
        answer.map_err(|error: CallError| Problem::call(tenant, error))
    }
}

async fn read_keys(quota: &Quota, admin_keys: &[AdminKey]) -> Result<KeyIndex, String> {
    let now = quota.records().ping().await.map_err(|error| error.to_string())?;
    let records = quota.records().api_keys(None).await.map_err(|error| error.to_string())?;
    Ok(KeyIndex::new(records, admin_keys, now))
}
