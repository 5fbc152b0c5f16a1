//! The commit: everything that a batch writes and COMMIT, sent at once.
//!
//! ```text
//! batch id · rows · rows · … · SELECT 1; COMMIT ──▶ server ──▶ answers, in that order
//! ```
//!
//! In a failed transaction PostgreSQL answers COMMIT with ROLLBACK, and that is no error. Sent in
//! one string behind a `SELECT`, COMMIT is not reached there: the `SELECT` fails. So the commit
//! is done if its answer says so; it is not, if the server refused anything; and whatever else
//! happens once COMMIT is on its way, nobody knows, until [`was_committed`] asks.

use std::time::Duration;

use earmark_core::{Account, TenantId, TimestampMs};
use earmark_store::{CommitError, StoreError};
use tokio::time::timeout;

use crate::error::{is_refusal, refused};
use crate::numbers::EventNumbers;
use crate::options::explain;
use crate::pipeline::{Sent, send};
use crate::pool::Lease;
use crate::save::{Save, sql};
use crate::session::{DEADLINE, Session};
use crate::txn::{ask, column_of};

/// How long a commit may take before its outcome counts as unknown: longer than the server lets
/// any statement run, and than a standby takes to say that it has it too.
const COMMIT_DEADLINE: Duration = Duration::from_secs(10);

const COMMIT: &str = "SELECT 1; COMMIT";

/// Writes what has changed and commits.
pub(crate) async fn commit(
    lease: Lease,
    bucket: usize,
    now: TimestampMs,
    batch: u128,
    accounts: &[Box<Account>],
    numbers: &EventNumbers,
) -> Result<(), CommitError> {
    let Some(save) = Save::of(accounts, bucket, now, numbers) else {
        let rolled_back = timeout(DEADLINE, lease.client.batch_execute("ROLLBACK")).await;
        if matches!(rolled_back, Ok(Ok(()))) {
            lease.give_back();
        }
        return Ok(());
    };
    let outcome = write(&lease, column_of(bucket), now, batch, &save).await;
    if outcome.is_ok() {
        lease.give_back();
    }
    outcome
}

async fn write(
    session: &Session,
    bucket: i16,
    now: TimestampMs,
    batch: u128,
    save: &Save<'_>,
) -> Result<(), CommitError> {
    let (batch, newest_entry) = (id_text(batch), save.newest_entry.map(|at| at.0));
    let mut sent =
        vec![ask(session, sql::BATCH, vec![&bucket, &batch, &now.0, &newest_entry]).await];
    for rows in save.statements() {
        sent.push(ask(session, rows.sql, rows.params(&bucket)).await);
        if sent.last().is_some_and(Sent::has_failed) {
            break;
        }
    }
    if sent.iter().any(Sent::has_failed) {
        // COMMIT was not sent. Dropping the connection ends the transaction.
        return Err(CommitError::RolledBack(first_failure(sent).await));
    }
    let commit = send(session.client.batch_execute(COMMIT)).await;
    let answers = async {
        for sent in sent {
            sent.answer().await?;
        }
        commit.answer().await
    };
    match timeout(COMMIT_DEADLINE, answers).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) if is_refusal(&error) => Err(refused(&error)),
        Ok(Err(error)) => Err(CommitError::Unknown(explain(&error))),
        Err(_) => Err(CommitError::Unknown("PostgreSQL does not answer".into())),
    }
}

async fn first_failure<T>(sent: Vec<Sent<'_, T>>) -> String {
    for sent in sent.into_iter().filter(Sent::has_failed) {
        if let Err(error) = sent.answer().await {
            return explain(&error);
        }
    }
    String::new()
}

/// A batch's id as PostgreSQL reads it.
fn id_text(batch: u128) -> String {
    format!("{batch:032x}")
}

/// Says that a batch is not committed, unless somebody has said that it is.
const REFUSE: &str = "INSERT INTO commit_log (bucket, batch_id, committed, at_ms) \
     VALUES ($1, $2::text::uuid, false, (extract(epoch FROM clock_timestamp()) * 1000)::bigint) \
     ON CONFLICT (bucket, batch_id) DO NOTHING";

const OUTCOME: &str =
    "SELECT committed FROM commit_log WHERE bucket = $1 AND batch_id = $2::text::uuid";

/// Whether a batch was committed, once and for all (R36).
///
/// Looking is not enough: the transaction may still be on its way. Whoever asks puts the row
/// there that the batch would have to: if the transaction has, this waits for its end; if it has
/// not, it never can. That also holds for tenants that the batch itself creates, which nobody
/// else could lock to wait for it.
pub(crate) async fn was_committed(
    session: &Session,
    batch: u128,
    tenant: &TenantId,
) -> Result<bool, StoreError> {
    let bucket = column_of(earmark_store::bucket::bucket_of(tenant));
    let batch = id_text(batch);
    session.execute(REFUSE, &[&bucket, &batch]).await?;
    // A statement of its own: the one before does not see what it had to wait for.
    let rows =
        session.select(OUTCOME, &[&bucket, &batch], |row| crate::rows::get::<bool>(row, 0)).await?;
    let gone = || StoreError::Unavailable("the row of the batch is gone".into());
    rows.first().copied().ok_or_else(gone)
}
