//! Connections that are used again, the last one given back first.
//!
//! Always holds: what is in the pool has no transaction open and no answer outstanding. A
//! [`Lease`] that is dropped without [`Lease::give_back`] closes its connection: whatever was
//! under way on it ends with it.

use std::sync::{Arc, Mutex, PoisonError};

use earmark_store::StoreError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::session::{Connector, Session};

/// Connections to one server.
pub(crate) struct Pool {
    connector: Connector,
    idle: Mutex<Vec<Session>>,
    permits: Arc<Semaphore>,
}

/// A connection for one use.
pub(crate) struct Lease {
    pool: Arc<Pool>,
    session: Option<Session>,
    _permit: OwnedSemaphorePermit,
}

impl Pool {
    /// At most so many connections.
    pub(crate) fn new(connector: Connector, connections_max: usize) -> Arc<Self> {
        let permits = Arc::new(Semaphore::new(connections_max.max(1)));
        Arc::new(Self { connector, idle: Mutex::default(), permits })
    }

    /// A connection: one that is idle, else a new one; waits when all are in use.
    pub(crate) async fn lease(self: &Arc<Self>) -> Result<Lease, StoreError> {
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        let permit = permit.map_err(|_| StoreError::Unavailable("the store is closed".into()))?;
        let session = match self.take_idle() {
            Some(session) => session,
            None => self.connector.connect().await?,
        };
        Ok(Lease { pool: Arc::clone(self), session: Some(session), _permit: permit })
    }

    /// A connection that was not used before, past all that may be broken.
    pub(crate) async fn lease_new(self: &Arc<Self>) -> Result<Lease, StoreError> {
        self.lock().clear();
        self.lease().await
    }

    fn take_idle(&self) -> Option<Session> {
        let mut idle = self.lock();
        while let Some(session) = idle.pop() {
            if !session.client.is_closed() {
                return Some(session);
            }
        }
        None
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Session>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes what is idle, and what is in use once it is given back.
    pub(crate) fn close(&self) {
        self.permits.close();
        self.lock().clear();
    }
}

impl Lease {
    /// Puts the connection back: its user knows that no transaction is open on it.
    pub(crate) fn give_back(mut self) {
        if let Some(session) = self.session.take()
            && !session.client.is_closed()
            && !self.pool.permits.is_closed()
        {
            self.pool.lock().push(session);
        }
    }
}

impl std::ops::Deref for Lease {
    type Target = Session;

    #[expect(clippy::expect_used, reason = "taken only where the lease ends")]
    fn deref(&self) -> &Session {
        self.session.as_ref().expect("a lease has its session until it ends")
    }
}
