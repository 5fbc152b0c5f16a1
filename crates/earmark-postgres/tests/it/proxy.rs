//! What stands between a store and its server, and fails at the worst moment: when COMMIT comes.
//!
//! It takes the protocol apart into messages, so that what it does to COMMIT it does to nothing
//! before.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::unix::OwnedReadHalf as ServerReadHalf;
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::Semaphore;

/// What becomes of a COMMIT.
#[derive(Clone, Default)]
pub(crate) enum AtCommit {
    /// It passes.
    #[default]
    Pass,
    /// The connection is cut before it arrives.
    CutBefore,
    /// It arrives, and the connection is cut before its answer does.
    CutAfter,
    /// All that was sent from the batch's id on waits, until there is a permit.
    HoldBatch(Arc<Semaphore>),
    /// It alone waits, until there is a permit.
    HoldCommit(Arc<Semaphore>),
}

/// A proxy for one server.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    at_commit: Arc<Mutex<AtCommit>>,
}

impl Proxy {
    /// In front of the server with that socket, until the runtime ends.
    pub(crate) async fn of(socket: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let at_commit: Arc<Mutex<AtCommit>> = Arc::default();
        let shared = Arc::clone(&at_commit);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = UnixStream::connect(&socket).await.unwrap();
                tokio::spawn(pass(client, server, Arc::clone(&shared)));
            }
        });
        Self { port, at_commit }
    }

    pub(crate) fn set(&self, at_commit: AtCommit) {
        *self.at_commit.lock().unwrap() = at_commit;
    }
}

/// Passes messages until one side, or the proxy, ends it.
async fn pass(client: TcpStream, server: UnixStream, at_commit: Arc<Mutex<AtCommit>>) {
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        () = pass_up(from_client, to_server, &at_commit) => {}
        () = pass_down(from_server, to_client, &at_commit) => {}
    }
}

async fn pass_up(
    mut client: OwnedReadHalf,
    mut server: tokio::net::unix::OwnedWriteHalf,
    at_commit: &Mutex<AtCommit>,
) {
    // The first message has no type.
    let mut length = [0; 4];
    if client.read_exact(&mut length).await.is_err() {
        return;
    }
    let mut first = vec![0; u32::from_be_bytes(length) as usize - 4];
    client.read_exact(&mut first).await.unwrap();
    server.write_all(&[&length[..], &first].concat()).await.unwrap();
    while let Some(message) = message(&mut client).await {
        let is_commit = message[0] == b'Q' && contains(&message, b"COMMIT");
        let is_bind = message[0] == b'B';
        let at_commit = at_commit.lock().unwrap().clone();
        match at_commit {
            AtCommit::CutBefore if is_commit => return,
            AtCommit::HoldBatch(release) if is_bind => wait(&release).await,
            AtCommit::HoldCommit(release) if is_commit => wait(&release).await,
            _ => {}
        }
        if server.write_all(&message).await.is_err() {
            return;
        }
    }
}

async fn wait(release: &Semaphore) {
    drop(release.acquire().await.unwrap());
}

async fn pass_down(
    mut server: ServerReadHalf,
    mut client: OwnedWriteHalf,
    at_commit: &Mutex<AtCommit>,
) {
    while let Some(message) = message(&mut server).await {
        let is_committed = message[0] == b'C' && contains(&message, b"COMMIT");
        if is_committed && matches!(*at_commit.lock().unwrap(), AtCommit::CutAfter) {
            return;
        }
        if client.write_all(&message).await.is_err() {
            return;
        }
    }
}

/// The next message, with its type and length.
async fn message(from: &mut (impl AsyncReadExt + Unpin)) -> Option<Vec<u8>> {
    let mut message = vec![0; 5];
    from.read_exact(&mut message).await.ok()?;
    let length = u32::from_be_bytes([message[1], message[2], message[3], message[4]]) as usize;
    message.resize(length + 1, 0);
    from.read_exact(&mut message[5..]).await.ok()?;
    Some(message)
}

fn contains(message: &[u8], text: &[u8]) -> bool {
    message.windows(text.len()).any(|part| part == text)
}
