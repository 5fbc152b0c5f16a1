//! What stands between a store and its server, and fails at the worst moment: when COMMIT comes.
//!
//! It takes the protocol apart into messages, so that what it does to COMMIT it does to nothing
//! before.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::unix::{OwnedReadHalf as ServerReadHalf, OwnedWriteHalf as ServerWriteHalf};
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
    /// It waits at the gate, and so does everything that was sent with it.
    HoldBatch(Arc<Gate>),
    /// It alone waits at the gate, until the server has answered everything before.
    HoldCommit(Arc<Gate>),
}

/// Where a message waits.
pub(crate) struct Gate {
    arrived: Semaphore,
    opened: Semaphore,
}

impl Gate {
    /// A closed one.
    pub(crate) fn closed() -> Arc<Self> {
        Arc::new(Self { arrived: Semaphore::new(0), opened: Semaphore::new(0) })
    }

    /// Until a message is there.
    pub(crate) async fn arrival(&self) {
        drop(self.arrived.acquire().await.unwrap());
    }

    pub(crate) fn open(&self) {
        self.opened.add_permits(1);
    }

    async fn pass(&self) {
        self.arrived.add_permits(1);
        drop(self.opened.acquire().await.unwrap());
    }
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
    // Of connecting there is an answer, too.
    let unanswered = AtomicUsize::new(1);
    tokio::select! {
        () = pass_up(from_client, to_server, &at_commit, &unanswered) => {}
        () = pass_down(from_server, to_client, &at_commit, &unanswered) => {}
    }
}

async fn pass_up(
    mut client: OwnedReadHalf,
    mut server: ServerWriteHalf,
    at_commit: &Mutex<AtCommit>,
    unanswered: &AtomicUsize,
) {
    if !pass_first(&mut client, &mut server).await {
        return;
    }
    while let Some(message) = message(&mut client).await {
        let is_commit = message[0] == b'Q' && contains(&message, b"COMMIT");
        let at_commit = at_commit.lock().unwrap().clone();
        match at_commit {
            AtCommit::CutBefore if is_commit => return,
            AtCommit::HoldBatch(gate) if message[0] == b'B' => gate.pass().await,
            AtCommit::HoldCommit(gate) if is_commit => {
                while unanswered.load(Ordering::SeqCst) > 0 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                gate.pass().await;
            }
            _ => {}
        }
        if matches!(message[0], b'Q' | b'S') {
            unanswered.fetch_add(1, Ordering::SeqCst);
        }
        if server.write_all(&message).await.is_err() {
            return;
        }
    }
}

/// The first message, which has no type; whether there is one.
pub(crate) async fn pass_first(client: &mut OwnedReadHalf, server: &mut ServerWriteHalf) -> bool {
    let mut length = [0; 4];
    if client.read_exact(&mut length).await.is_err() {
        return false;
    }
    let mut first = vec![0; u32::from_be_bytes(length) as usize - 4];
    client.read_exact(&mut first).await.unwrap();
    server.write_all(&[&length[..], &first].concat()).await.unwrap();
    true
}

async fn pass_down(
    mut server: ServerReadHalf,
    mut client: OwnedWriteHalf,
    at_commit: &Mutex<AtCommit>,
    unanswered: &AtomicUsize,
) {
    while let Some(message) = message(&mut server).await {
        let is_committed = message[0] == b'C' && contains(&message, b"COMMIT");
        if is_committed && matches!(*at_commit.lock().unwrap(), AtCommit::CutAfter) {
            return;
        }
        if message[0] == b'Z' {
            unanswered.fetch_sub(1, Ordering::SeqCst);
        }
        if client.write_all(&message).await.is_err() {
            return;
        }
    }
}

/// The next message, with its type and length.
pub(crate) async fn message(from: &mut (impl AsyncReadExt + Unpin)) -> Option<Vec<u8>> {
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
