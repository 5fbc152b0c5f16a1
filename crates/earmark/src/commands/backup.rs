//! `earmark backup` and `earmark restore`.

use std::io::IsTerminal;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::{Value, json};

use crate::cli::{BackupArgs, RestoreArgs};
use crate::client::Client;
use crate::commands::show;
use crate::output;
use crate::settings::Settings;
use crate::stores::StoreSetting;

/// How often it is asked how far a backup is.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Has the server make a backup, and puts it where it is wanted.
pub(crate) async fn run(
    client: &Client,
    settings: &Settings,
    arguments: &BackupArgs,
) -> anyhow::Result<()> {
    if let Some(file) = arguments.file.as_deref().filter(|file| file.exists()) {
        bail!("{} exists; name another file", file.display());
    }
    let mut backup = client.post("/v1/backup", json!({})).await?;
    while backup["state"] == "running" {
        progress(&backup);
        tokio::time::sleep(LOOK_EVERY).await;
        backup = client.get("/v1/backup").await?;
    }
    if backup["state"] != "done" {
        bail!("{}", output::field(&backup, "detail"));
    }
    if let Some(file) = &arguments.file {
        let made = output::field(&backup, "file");
        put(Path::new(&made), file)?;
        backup["file"] = json!(file);
    }
    show(settings, &backup, |backup| output::line(output::field(backup, "file")));
    Ok(())
}

#[expect(clippy::print_stderr, reason = "progress is for the person who waits")]
fn progress(backup: &Value) {
    if std::io::stderr().is_terminal() {
        eprint!("\r{} of {} pages", backup["pages_done"], backup["pages"]);
    }
}

/// Moves a file, also to another file system; it is whole under its new name or not there.
fn put(made: &Path, wanted: &Path) -> anyhow::Result<()> {
    let told = || format!("the backup is {}; it cannot go to {}", made.display(), wanted.display());
    if std::fs::rename(made, wanted).is_ok() {
        return Ok(());
    }
    let mut part = wanted.as_os_str().to_owned();
    part.push(".part");
    std::fs::copy(made, &part)
        .and_then(|_| std::fs::File::open(&part)?.sync_all())
        .and_then(|()| std::fs::rename(&part, wanted))
        .with_context(told)?;
    std::fs::remove_file(made).with_context(told)
}

/// Makes a backup the store of the data directory.
pub(crate) fn restore(settings: &Settings, arguments: &RestoreArgs) -> anyhow::Result<()> {
    if settings.store != StoreSetting::Sqlite {
        bail!("PostgreSQL is restored by its own tools: pg_restore, or archived WAL");
    }
    let aside = earmark_sqlite::restore(&arguments.file, &settings.data, arguments.replace)?;
    let told = json!({"data": settings.data, "replaced": aside});
    show(settings, &told, |_| {
        output::line(format_args!("restored into {}", settings.data.display()));
        if let Some(aside) = &aside {
            output::line(format_args!("what was there is in {}", aside.display()));
        }
    });
    Ok(())
}
