//! Backups: started here, made beside batches, asked about until they are done.
//!
//! One at a time; where they go is the operator's setting, never a request's.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::State;
use axum::response::Response;
use earmark_core::TimestampMs;
use earmark_engine::records::BackupProgress;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::documented::by_status;
use crate::auth::Admin;
use crate::error::{Code, Problem};
use crate::reply::json;
use crate::state::{App, Shared};

/// The last backup that was asked for.
#[derive(Default)]
pub(crate) struct LastBackup(Mutex<Option<Backup>>);

#[derive(Clone)]
struct Backup {
    file: PathBuf,
    progress: Arc<BackupProgress>,
    /// `None` while it is being made.
    outcome: Option<Result<(), String>>,
}

impl LastBackup {
    /// Begins a backup, unless one is being made.
    fn begin(&self, backup: Backup) -> Result<(), Problem> {
        let mut last = self.lock();
        if last.as_ref().is_some_and(|last| last.outcome.is_none()) {
            return Err(Problem::new(Code::BackupRunning, "a backup is being made"));
        }
        *last = Some(backup);
        Ok(())
    }

    fn end(&self, outcome: Result<(), String>) {
        if let Some(last) = self.lock().as_mut() {
            last.outcome = Some(outcome);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Backup>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A backup.
#[derive(Serialize, ToSchema)]
#[schema(as = Backup)]
pub(crate) struct BackupReply {
    /// `running`, `done` or `failed`.
    #[schema(example = "done")]
    state: &'static str,
    /// Where it is, or will be, on the server.
    #[schema(example = "/var/lib/earmark/backups/earmark-20261124T101500Z.db")]
    file: String,
    /// Pages of the store copied so far.
    pages_done: u64,
    /// Pages of the store; 0 before the first are copied.
    pages: u64,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

impl From<Backup> for BackupReply {
    fn from(backup: Backup) -> Self {
        let (state, detail) = match backup.outcome {
            None => ("running", None),
            Some(Ok(())) => ("done", None),
            Some(Err(why)) => ("failed", Some(why)),
        };
        Self {
            state,
            file: backup.file.display().to_string(),
            pages_done: backup.progress.pages_done.load(Ordering::Relaxed),
            pages: backup.progress.pages.load(Ordering::Relaxed),
            detail,
        }
    }
}

/// Start a backup.
///
/// Holds everything that was committed before; made beside batches, one at a time.
#[utoipa::path(
    post, operation_id = "start_backup", path = "/v1/backup", tag = "system",
    responses((status = 202, description = "It has begun", body = BackupReply), Running)
)]
pub(crate) async fn start(_: Admin, State(app): Shared) -> Result<Response, Problem> {
    let Some(directory) = app.backups.clone() else {
        return Err(Problem::store("this server was given no directory for backups"));
    };
    let now = app.quota.records().ping().await.map_err(Problem::store)?;
    let file = directory.join(format!("earmark-{}.db", compact(now)));
    let backup = Backup { file, progress: Arc::default(), outcome: None };
    app.last_backup.begin(backup.clone())?;
    // On its own: whoever asked may go.
    tokio::spawn(make(app, directory, backup.clone()));
    Ok(json(StatusCode::ACCEPTED, &BackupReply::from(backup)))
}

async fn make(app: Arc<App>, directory: PathBuf, backup: Backup) {
    let made = match make_directory(&directory) {
        Ok(()) => {
            let made = app.quota.records().backup(backup.file.clone(), backup.progress).await;
            made.map_err(|error| error.to_string())
        }
        Err(error) => Err(format!("{}: {error}", directory.display())),
    };
    match &made {
        Ok(()) => tracing::info!(file = %backup.file.display(), "backup made"),
        Err(why) => tracing::warn!(%why, "no backup was made"),
    }
    app.last_backup.end(made);
}

fn make_directory(directory: &std::path::Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory)
}

/// A time as it may stand in a file's name: `20261124T101500Z`, or with milliseconds.
fn compact(at: TimestampMs) -> String {
    at.to_string().chars().filter(char::is_ascii_alphanumeric).collect()
}

/// Look at the last backup.
#[utoipa::path(
    get, operation_id = "get_backup", path = "/v1/backup", tag = "system",
    responses((status = 200, description = "How far it is", body = BackupReply), NoBackup)
)]
pub(crate) async fn look(_: Admin, State(app): Shared) -> Result<Response, Problem> {
    let last = app.last_backup.lock().clone();
    let none = || Problem::new(Code::BackupNotFound, "no backup was asked for since the start");
    last.map(|last| json(StatusCode::OK, &BackupReply::from(last))).ok_or_else(none)
}

macro_rules! refusals {
    ($($name:ident $code:ident),*) => {$(
        struct $name;

        impl utoipa::IntoResponses for $name {
            fn responses() -> std::collections::BTreeMap<
                String,
                utoipa::openapi::RefOr<utoipa::openapi::response::Response>,
            > {
                by_status(&[Code::$code])
            }
        }
    )*};
}

refusals!(Running BackupRunning, NoBackup BackupNotFound);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_backup_is_made_at_a_time() {
        let last = LastBackup::default();
        let backup =
            |name: &str| Backup { file: name.into(), progress: Arc::default(), outcome: None };
        assert!(last.begin(backup("a")).is_ok());
        assert!(last.begin(backup("b")).is_err());
        assert_eq!(last.lock().clone().unwrap().file, PathBuf::from("a"));
        last.end(Err("no room".into()));
        assert!(last.begin(backup("c")).is_ok());
    }
}
