//! A small HTTP/1.1 client on a bare socket: one connection, one request at a time.
//!
//! It costs far less than what it measures, so that the server is the bottleneck.
//!
//! Always holds: after a call that failed or was abandoned, the connection is not used again,
//! so no reply is ever taken for that of another request.
//! Not here: TLS, HTTP/2, redirects, compression, retries.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::bounds::{CONNECT_TIMEOUT, REPLY_BYTES_MAX, REPLY_HEADERS_MAX};
use crate::endpoint::Endpoint;

/// Why a call has no reply.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The server cannot be reached.
    #[error("cannot connect: {0}")]
    Connect(io::ErrorKind),
    /// It closed the connection before the end of its reply.
    #[error("connection closed")]
    Closed,
    /// It did not answer in time.
    #[error("no reply in time")]
    TimedOut,
    /// The connection broke.
    #[error("connection broke: {0}")]
    Broke(io::ErrorKind),
    /// What came is no reply.
    #[error("no HTTP/1.1 reply: {0}")]
    NotHttp(&'static str),
}

/// A whole reply.
#[derive(Debug)]
pub struct Reply {
    /// Its status.
    pub status: u16,
    /// Its body, decoded.
    pub body: String,
    /// The header `Earmark-Denied`: a denial that is told as a completion.
    pub denied: Option<String>,
    /// When the first byte of its body was here.
    pub first_byte_at: Instant,
}

impl Reply {
    /// Whether the status is 2xx.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.status / 100 == 2
    }
}

/// A connection to a server.
#[derive(Debug)]
pub struct Connection {
    socket: TcpStream,
    buffer: Vec<u8>,
    headers: String,
    timeout: Duration,
    is_usable: bool,
}

impl Connection {
    /// Connects; each call may take as long as `timeout`.
    ///
    /// # Errors
    /// When the server cannot be reached.
    pub async fn open(endpoint: &Endpoint, timeout: Duration) -> Result<Self, CallError> {
        let connected = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(endpoint.address));
        let connected = connected.await.map_err(|_| CallError::Connect(io::ErrorKind::TimedOut))?;
        let failed = |error: io::Error| CallError::Connect(error.kind());
        let socket = connected.map_err(failed)?;
        socket.set_nodelay(true).map_err(failed)?;
        let headers = format!(
            "Host: {}\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n",
            endpoint.host, endpoint.key
        );
        let buffer = Vec::with_capacity(8_192);
        Ok(Self { socket, buffer, headers, timeout, is_usable: true })
    }

    /// Whether a request can be sent: the last reply was read to its end, and the server has
    /// neither closed the connection since nor sent anything unasked.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        let is_quiet = || match self.socket.try_read(&mut [0]) {
            Ok(_) => false,
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        };
        self.is_usable && is_quiet()
    }

    /// Posts JSON and reads the whole reply.
    ///
    /// # Errors
    /// When no whole reply comes in time.
    pub async fn post(&mut self, path: &str, body: &str) -> Result<Reply, CallError> {
        self.call("POST", path, &[], body).await
    }

    /// Sends JSON with further headers and reads the whole reply.
    ///
    /// # Errors
    /// When no whole reply comes in time.
    pub async fn call(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Result<Reply, CallError> {
        let mut request = format!("{method} {path} HTTP/1.1\r\n{}", self.headers);
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
        // Until the reply is whole, and for good where this future is dropped before.
        self.is_usable = false;
        let (reply, is_kept) = timeout(self.timeout, self.exchange(&request))
            .await
            .map_err(|_| CallError::TimedOut)??;
        self.is_usable = is_kept;
        Ok(reply)
    }

    async fn exchange(&mut self, request: &str) -> Result<(Reply, bool), CallError> {
        let sent = self.socket.write_all(request.as_bytes()).await;
        sent.map_err(|error| CallError::Broke(error.kind()))?;
        self.buffer.clear();
        let head = loop {
            self.read_more().await?;
            if let Some(head) = Head::parse(&self.buffer)? {
                break head;
            }
        };
        if self.buffer.len() == head.bytes && head.length != Length::Known(0) {
            self.read_more().await?;
        }
        let first_byte_at = Instant::now();
        let body = match head.length {
            Length::Known(length) => self.known(head.bytes, length).await?,
            Length::Chunked => self.chunked(head.bytes).await?,
        };
        let body = String::from_utf8_lossy(&body).into_owned();
        let reply = Reply { status: head.status, body, denied: head.denied, first_byte_at };
        Ok((reply, head.is_kept))
    }

    async fn read_more(&mut self) -> Result<(), CallError> {
        if self.buffer.len() > REPLY_BYTES_MAX {
            return Err(CallError::NotHttp("too long"));
        }
        match self.socket.read_buf(&mut self.buffer).await {
            Ok(0) => Err(CallError::Closed),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Err(CallError::Closed),
            Err(error) => Err(CallError::Broke(error.kind())),
        }
    }

    async fn known(&mut self, start: usize, length: usize) -> Result<Vec<u8>, CallError> {
        while self.buffer.len() < start + length {
            self.read_more().await?;
        }
        Ok(self.buffer[start..start + length].to_vec())
    }

    async fn chunked(&mut self, start: usize) -> Result<Vec<u8>, CallError> {
        let (mut body, mut at) = (Vec::new(), start);
        loop {
            let size = httparse::parse_chunk_size(&self.buffer[at..]);
            match size.map_err(|_| CallError::NotHttp("a chunk without a size"))? {
                httparse::Status::Partial => self.read_more().await?,
                httparse::Status::Complete((line, size)) => {
                    let size = usize::try_from(size).ok().filter(|size| *size <= REPLY_BYTES_MAX);
                    let size = size.ok_or(CallError::NotHttp("too long"))?;
                    let (from, to) = (at + line, at + line + size);
                    // Its data, and the line break after it.
                    while self.buffer.len() < to + 2 {
                        self.read_more().await?;
                    }
                    body.extend_from_slice(&self.buffer[from..to]);
                    at = to + 2;
                    if size == 0 {
                        return Ok(body);
                    }
                }
            }
        }
    }
}

/// What of a reply's head counts here.
struct Head {
    status: u16,
    /// Its own length.
    bytes: usize,
    length: Length,
    is_kept: bool,
    denied: Option<String>,
}

#[derive(PartialEq)]
enum Length {
    Known(usize),
    Chunked,
}

impl Head {
    /// Reads a head; `None` while it is not whole.
    fn parse(bytes: &[u8]) -> Result<Option<Self>, CallError> {
        let mut headers = [httparse::EMPTY_HEADER; REPLY_HEADERS_MAX];
        let mut parsed = httparse::Response::new(&mut headers);
        let status = parsed.parse(bytes).map_err(|_| CallError::NotHttp("not a head"))?;
        let httparse::Status::Complete(bytes) = status else { return Ok(None) };
        let find = |name: &str| {
            let found = parsed.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
            found.and_then(|header| std::str::from_utf8(header.value).ok())
        };
        let length = match (find("transfer-encoding"), find("content-length")) {
            (Some(encoding), _) if encoding.eq_ignore_ascii_case("chunked") => Length::Chunked,
            (None, Some(length)) => {
                let length = length.trim().parse().ok().filter(|length| *length <= REPLY_BYTES_MAX);
                Length::Known(length.ok_or(CallError::NotHttp("a length that is none"))?)
            }
            _ => return Err(CallError::NotHttp("a body without a length")),
        };
        let is_kept = !find("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        let denied = find("earmark-denied").map(ToOwned::to_owned);
        Ok(Some(Self { status: parsed.code.unwrap_or_default(), bytes, length, is_kept, denied }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that answers one request with these bytes, piece by piece, and what a client
    /// makes of them.
    async fn answered(pieces: &'static [&'static str]) -> (Result<Reply, CallError>, bool) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = Endpoint::at(listener.local_addr().unwrap(), "key");
        let (close, closed) = tokio::sync::oneshot::channel::<()>();
        tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            socket.set_nodelay(true).unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n{}") {
                socket.read_buf(&mut request).await.unwrap();
            }
            for piece in pieces {
                socket.write_all(piece.as_bytes()).await.unwrap();
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            let is_cut = pieces.last().is_some_and(|piece| piece.is_empty());
            if !is_cut {
                let _ = closed.await;
            }
        });
        let mut connection = Connection::open(&endpoint, Duration::from_secs(20)).await.unwrap();
        let reply = connection.post("/", "{}").await;
        let is_usable = connection.is_usable();
        drop(close);
        (reply, is_usable)
    }

    #[tokio::test]
    async fn a_reply_is_read_however_it_arrives() {
        let known: &[&str] =
            &["HTTP/1.1 201 Created\r\nConte", "nt-Length: 5\r\n", "\r\nhe", "llo"];
        let (reply, is_usable) = answered(known).await;
        let reply = reply.unwrap();
        assert_eq!((reply.status, reply.body.as_str(), is_usable), (201, "hello", true));
        let chunked: &[&str] = &[
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nEarmark-Denied: limit_held\r\n\r\n5",
            "\r\nhel",
            "lo\r\n1;x=y\r\n!\r",
            "\n0\r\n",
            "\r\n",
        ];
        let (reply, is_usable) = answered(chunked).await;
        let reply = reply.unwrap();
        assert_eq!((reply.body.as_str(), is_usable), ("hello!", true));
        assert_eq!(reply.denied.as_deref(), Some("limit_held"));
    }

    #[tokio::test]
    async fn a_connection_is_not_used_again_after_half_a_reply() {
        let cut: &[&str] = &["HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe", ""];
        let (reply, is_usable) = answered(cut).await;
        assert!(matches!(reply, Err(CallError::Closed)), "{reply:?}");
        assert!(!is_usable);
        let last: &[&str] = &["HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"];
        let (reply, is_usable) = answered(last).await;
        assert!(reply.is_ok() && !is_usable);
        let (reply, _) = answered(&["SSH-2.0-server\r\n\r\n"]).await;
        assert!(matches!(reply, Err(CallError::NotHttp(_))), "{reply:?}");
    }
}
