//! A responder that does nothing: it reads requests and answers each with the same words.
//!
//! What a load shows against it is the generator, the network stack and little else.
//!
//! Not here: checking anything, or answering what loads do not ask.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

use crate::target::Target;

/// A responder on a port of its own; it ends when it is dropped.
pub(crate) struct Null {
    pub(crate) address: SocketAddr,
    serving: AbortHandle,
}

impl Drop for Null {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// What it answers, whole replies with their heads.
struct Answers {
    hold: Vec<u8>,
    other: Vec<u8>,
}

impl Null {
    pub(crate) async fn start(target: &Target) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let answers = Arc::new(Answers::of(target));
        let serving = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                connections.spawn(answer(socket, Arc::clone(&answers)));
            }
        });
        Ok(Self { address, serving: serving.abort_handle() })
    }
}

impl Answers {
    fn of(target: &Target) -> Self {
        let hold = r#"{"hold":"hold_0"}"#;
        let other = match target {
            Target::Api { .. } => "{}".to_owned(),
            Target::Batch { size, .. } => {
                let result = r#"{"status":201,"body":{"hold":"hold_0"}}"#;
                format!(r#"{{"results":[{}]}}"#, vec![result; *size].join(","))
            }
            Target::Gateway { streams: false, .. } => "{}".to_owned(),
            Target::Gateway { .. } => "data: {}\n\ndata: [DONE]\n\n".to_owned(),
        };
        let whole = |body: &str| {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            [head.as_bytes(), body.as_bytes()].concat()
        };
        Self { hold: whole(hold), other: whole(&other) }
    }
}

/// Answers the requests of a connection, one after the other.
async fn answer(mut socket: TcpStream, answers: Arc<Answers>) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let mut buffer = Vec::with_capacity(8_192);
    loop {
        match request(&buffer) {
            Some((bytes, is_hold)) if bytes <= buffer.len() => {
                buffer.drain(..bytes);
                socket.write_all(if is_hold { &answers.hold } else { &answers.other }).await?;
            }
            _ => {
                if socket.read_buf(&mut buffer).await? == 0 {
                    return Ok(());
                }
            }
        }
    }
}

/// The length of the first request, and whether it holds; `None` while its head is not whole.
pub(crate) fn request(buffer: &[u8]) -> Option<(usize, bool)> {
    let mut headers = [httparse::EMPTY_HEADER; 16];
    let mut request = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(head) = request.parse(buffer).ok()? else { return None };
    let length = request.headers.iter().find(|header| header.name == "Content-Length")?;
    let length: usize = std::str::from_utf8(length.value).ok()?.parse().ok()?;
    let is_hold = request.path.is_some_and(|path| path.ends_with("/holds"));
    Some((head + length, is_hold))
}
