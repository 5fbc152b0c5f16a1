//! What stands in the data directory beside the store: the admin key, where the running
//! server is, and the certificate that it shows. All are readable by their owner only.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use earmark_core::TimestampMs;
use earmark_server::{AdminKey, KeyOf, new_key};
use serde::{Deserialize, Serialize};

use crate::settings::Settings;

/// Where a running server is, for the other commands.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ServerFile {
    /// Host and port.
    pub(crate) address: String,
    /// The chain that it shows, the server's own certificate first; without it, it speaks no
    /// TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// An admin key.
    pub(crate) key: String,
    /// Its process.
    pub(crate) pid: u32,
}

impl ServerFile {
    /// Scheme, host and port.
    pub(crate) fn url(&self) -> String {
        let scheme = if self.tls_cert.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }
}

fn server_path(data: &Path) -> PathBuf {
    data.join("server.json")
}

/// The admin key's file.
pub(crate) fn admin_key_path(data: &Path) -> PathBuf {
    data.join("admin-key")
}

/// Where the certificate is that the running server shows: not the operator's own file, which
/// may be changed already, or broken.
pub(crate) fn certificate_path(data: &Path) -> anyhow::Result<PathBuf> {
    Ok(std::path::absolute(data.join("tls-cert.pem"))?)
}

/// Where backups are made unless they are wanted elsewhere.
pub(crate) fn backups(data: &Path) -> anyhow::Result<PathBuf> {
    Ok(std::path::absolute(data.join("backups"))?)
}

/// Puts the certificate that the server shows there.
pub(crate) fn write_certificate(data: &Path, chain: &[u8]) -> anyhow::Result<()> {
    write_private(&certificate_path(data)?, chain)
}

/// Writes where the server is; goes when it is dropped.
pub(crate) struct Announced(Vec<PathBuf>);

impl Drop for Announced {
    fn drop(&mut self) {
        for path in &self.0 {
            // A file that stays tells of a server that does not answer: clients say so.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Tells other commands where the server is.
pub(crate) fn announce(data: &Path, file: &ServerFile) -> anyhow::Result<Announced> {
    let path = server_path(data);
    write_private(&path, serde_json::to_string(file)?.as_bytes())?;
    Ok(Announced([Some(path), file.tls_cert.clone()].into_iter().flatten().collect()))
}

/// Where a server said that it is, if one did.
pub(crate) fn announced(data: &Path) -> Option<ServerFile> {
    let text = std::fs::read_to_string(server_path(data)).ok()?;
    serde_json::from_str(&text).ok()
}

/// The admin key, as text and as the server takes it: the configured one, or that of the data
/// directory, which is made at its first start.
pub(crate) fn admin_key(
    settings: &Settings,
    now: TimestampMs,
) -> anyhow::Result<(String, AdminKey)> {
    if let Some(key) = &settings.admin_key {
        return Ok((key.clone(), AdminKey::new(key).context("EARMARK_ADMIN_KEY")?));
    }
    let path = admin_key_path(&settings.data);
    let advice = || {
        let path = path.display();
        format!(
            "cannot use the admin key in {path}; correct the file, or remove it to get a new key"
        )
    };
    match std::fs::read_to_string(&path) {
        Ok(key) => {
            let key = key.trim().to_owned();
            let read = AdminKey::new(&key).with_context(advice)?;
            Ok((key, read))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let (_, key) = new_key(KeyOf::Admin, None, now)?;
            write_private(&path, format!("{key}\n").as_bytes())?;
            let read = AdminKey::new(&key)?;
            Ok((key, read))
        }
        Err(error) => Err(error).with_context(advice),
    }
}

/// Writes a file that only its owner reads: under another name first, so that nobody ever
/// reads half of it.
fn write_private(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    let unfinished = path.with_extension("new");
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let write = || -> std::io::Result<()> {
        let mut file = options.open(&unfinished)?;
        file.write_all(content)?;
        file.sync_all()?;
        std::fs::rename(&unfinished, path)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}
