//! Restoring: a backup becomes the store of a data directory.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use crate::error::OpenError;
use crate::{log, migrate, open, recovery};

/// Why a backup was not restored; nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The directory or the backup cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The directory has a store already.
    #[error("{} has a store; say --replace to move it aside", .0.display())]
    InTheWay(PathBuf),
    /// The backup is damaged.
    #[error("{} is damaged: {why}", .file.display())]
    Damaged {
        /// The backup.
        file: PathBuf,
        /// What was found first.
        why: String,
    },
    /// It is a copy of a store that was in use.
    #[error(
        "{} is a copy of a store that was in use, and its log is not in it: use a file that \
         `earmark backup` made",
        .0.display()
    )]
    NotClosed(PathBuf),
}

/// Makes a backup the store of a directory that nobody uses. A store that is there is moved
/// aside when `replaces` says so, and where to is answered.
///
/// # Errors
/// When the backup is none or damaged, the directory is in use, or has a store.
pub fn restore(
    file: &Path,
    directory: &Path,
    replaces: bool,
) -> Result<Option<PathBuf>, RestoreError> {
    check(file)?;
    let _lock = open::lock(directory)?;
    let path = open::database_path(directory);
    let in_the_way = files(&path, directory).into_iter().filter(|file| file.exists());
    let in_the_way: Vec<PathBuf> = in_the_way.collect();
    if !in_the_way.is_empty() && !replaces {
        return Err(RestoreError::InTheWay(directory.to_owned()));
    }
    // First the copy, whole, under another name: when there is no room, nothing was moved.
    let copied = directory.join("earmark.db.restored");
    copy(file, &copied).map_err(io_error(&copied))?;
    let aside = move_aside(in_the_way, directory)?;
    std::fs::rename(&copied, &path).map_err(io_error(&path))?;
    File::open(directory).and_then(|it| it.sync_all()).map_err(io_error(directory))?;
    Ok(aside)
}

/// Whether a file is a whole backup of a version that is known.
fn check(file: &Path) -> Result<(), RestoreError> {
    let sqlite = |error| OpenError::Sqlite { path: file.to_owned(), error };
    if !open::is_there(file)? {
        return Err(OpenError::NoBackup(file.to_owned()).into());
    }
    let connection =
        Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(sqlite)?;
    migrate::check_not_newer(&connection, file)?;
    let found: String =
        connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0)).map_err(sqlite)?;
    if found != "ok" {
        return Err(RestoreError::Damaged { file: file.to_owned(), why: found });
    }
    if !recovery::is_closed(&connection).map_err(sqlite)? {
        return Err(RestoreError::NotClosed(file.to_owned()));
    }
    Ok(())
}

/// Everything that makes up a store.
fn files(path: &Path, directory: &Path) -> Vec<PathBuf> {
    let mut files = vec![path.to_owned(), open::beside(path, "-wal"), open::beside(path, "-shm")];
    files.extend(log::paths(directory));
    files
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(true).write(true);
    let mut copied = open::owners(&mut options).open(to)?;
    io::copy(&mut File::open(from)?, &mut copied)?;
    copied.sync_all()
}

fn move_aside(files: Vec<PathBuf>, directory: &Path) -> Result<Option<PathBuf>, OpenError> {
    if files.is_empty() {
        return Ok(None);
    }
    let names = (1..).map(|number| directory.join(format!("replaced-{number}")));
    let Some(aside) = names.into_iter().find(|name| !name.exists()) else { return Ok(None) };
    DirBuilder::new().create(&aside).map_err(io_error(&aside))?;
    for file in files {
        let Some(name) = file.file_name() else { continue };
        std::fs::rename(&file, aside.join(name)).map_err(io_error(&file))?;
    }
    Ok(Some(aside))
}

fn io_error(path: &Path) -> impl Fn(io::Error) -> OpenError {
    let path = path.to_owned();
    move |error| OpenError::Io { path: path.clone(), error }
}
