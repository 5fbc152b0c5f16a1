//! Transactions that are no batches: lists that have to be of one moment, and changes.
//!
//! A future that is dropped in between leaves its transaction open: the lease it runs on is
//! dropped with it, and so the connection is closed.

use earmark_store::StoreError;

use crate::error::unavailable;
use crate::session::Session;

/// Does something in a transaction; an error rolls it back, with the connection.
pub(crate) async fn within<T>(
    session: &Session,
    work: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    between("BEGIN ISOLATION LEVEL READ COMMITTED", session, work).await
}

/// Reads several things as of one moment.
pub(crate) async fn snapshot<T>(
    session: &Session,
    work: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    between("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY", session, work).await
}

async fn between<T>(
    begin: &str,
    session: &Session,
    work: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    session.client.batch_execute(begin).await.map_err(unavailable)?;
    let done = work.await?;
    // Not reached by a transaction that has failed: COMMIT alone would not say so.
    session.client.batch_execute("SELECT 1; COMMIT").await.map_err(unavailable)?;
    Ok(done)
}
