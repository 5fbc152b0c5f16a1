//! The listener's certificate and key as files, and what happens when they change.
//!
//! Always holds: the server shows the last pair that was good; a broken one is logged and
//! tried again when it changes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow};
use earmark_core::TimestampMs;
use earmark_server::{Certificate, Tls, TlsError};
use earmark_store::clock::{Clock, SystemClock};

use crate::data_dir;

/// How often the files are looked at: a renewed certificate has days to spare, an operator
/// who waits for it has seconds.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Where the pair is.
#[derive(Debug, Clone)]
pub(crate) struct TlsFiles {
    /// The chain, the server's own certificate first, in PEM.
    pub(crate) cert: PathBuf,
    /// Its key, in PEM.
    pub(crate) key: PathBuf,
}

/// What is in them. They are compared whole: they are small, and a copy may keep the time and
/// the size of what it replaces.
#[derive(PartialEq, Eq)]
struct Content {
    chain: Vec<u8>,
    key: Vec<u8>,
}

/// The pair that the server began with.
pub(crate) struct Loaded {
    files: TlsFiles,
    content: Content,
    pub(crate) tls: Tls,
}

impl TlsFiles {
    /// Reads the pair for a start.
    pub(crate) fn load(&self) -> anyhow::Result<Loaded> {
        let content = self.read()?;
        let certificate = self.certificate(&content)?;
        self.warn_of_dates(&certificate, SystemClock.now());
        Ok(Loaded { files: self.clone(), content, tls: Tls::new(&certificate) })
    }

    fn read(&self) -> anyhow::Result<Content> {
        let read = |name: &str, path: &Path| {
            let advice = || format!("cannot read {}; correct {name}", path.display());
            std::fs::read(path).with_context(advice)
        };
        Ok(Content { chain: read("--tls-cert", &self.cert)?, key: read("--tls-key", &self.key)? })
    }

    fn certificate(&self, content: &Content) -> anyhow::Result<Certificate> {
        let (cert, key) = (self.cert.display(), self.key.display());
        Certificate::read(&content.chain, &content.key).map_err(|error| match error {
            TlsError::Chain(message) => anyhow!("--tls-cert: {cert}: {message}"),
            TlsError::Key(message) => anyhow!("--tls-key: {key}: {message}"),
            TlsError::Mismatch => anyhow!(
                "--tls-key: {key} is not the key of the first certificate in {cert}; \
                 name a pair that was made together"
            ),
        })
    }

    /// Whoever has a wrong clock or a late renewal is served all the same: clients decide.
    fn warn_of_dates(&self, certificate: &Certificate, now: TimestampMs) {
        let (cert, validity) = (self.cert.display(), certificate.validity());
        match validity {
            None => tracing::warn!(%cert, "it cannot be read when the certificate expires"),
            Some(validity) if validity.not_after < now => {
                let at = validity.not_after;
                tracing::warn!(%cert, %at, "the certificate has expired: clients will refuse it");
            }
            Some(validity) if now < validity.not_before => {
                let at = validity.not_before;
                tracing::warn!(%cert, %at, "the certificate is not valid yet");
            }
            Some(validity) => {
                tracing::info!(%cert, expires = %validity.not_after, "the certificate is in use");
            }
        }
    }
}

impl Loaded {
    /// The chain as it is in the file.
    pub(crate) fn chain(&self) -> &[u8] {
        &self.content.chain
    }

    /// Looks at the files from now on, in a task of its own.
    pub(crate) fn follow(self, data: PathBuf) -> std::io::Result<()> {
        // Now: a signal that nobody listens for would end the process.
        let hangup = Hangup::listen()?;
        tokio::spawn(self.look(hangup, data));
        Ok(())
    }

    /// Gives the server what is new in the files. The commands that find the server by its
    /// data directory trust the copy of the chain there.
    async fn look(self, mut hangup: Hangup, data: PathBuf) {
        let Self { files, content: mut seen, tls } = self;
        let mut complaint = String::new();
        loop {
            let is_asked = tokio::select! {
                () = hangup.came() => true,
                () = tokio::time::sleep(LOOK_EVERY) => false,
            };
            let looked = match files.read() {
                Ok(content) if content == seen && !is_asked => continue,
                Ok(content) => {
                    let certificate = files.certificate(&content);
                    seen = content;
                    certificate
                }
                Err(error) => Err(error),
            };
            let replaced = looked.and_then(|certificate| {
                tls.replace(&certificate);
                files.warn_of_dates(&certificate, SystemClock.now());
                data_dir::write_certificate(&data, &seen.chain)
            });
            // A file that is missing is complained of once.
            let text = replaced.err().map(|error| format!("{error:#}")).unwrap_or_default();
            if !text.is_empty() && (is_asked || text != complaint) {
                tracing::error!("the certificate in use stays until the next is right: {text}");
            }
            complaint = text;
        }
    }
}

#[cfg(unix)]
struct Hangup(tokio::signal::unix::Signal);

#[cfg(unix)]
impl Hangup {
    fn listen() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        signal(SignalKind::hangup()).map(Self)
    }

    async fn came(&mut self) {
        if self.0.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(not(unix))]
struct Hangup;

#[cfg(not(unix))]
impl Hangup {
    fn listen() -> std::io::Result<Self> {
        Ok(Self)
    }

    async fn came(&mut self) {
        std::future::pending::<()>().await;
    }
}
