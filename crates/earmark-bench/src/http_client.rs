//! A small HTTP/1.1 client on a bare socket: one connection, one request at a time. It costs
//! far less than what it measures, so that the server is the bottleneck.

use std::net::SocketAddr;

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub(crate) struct Connection {
    socket: TcpStream,
    buffer: Vec<u8>,
    host: String,
    key: String,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr, key: &str) -> anyhow::Result<Self> {
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        let buffer = Vec::with_capacity(8_192);
        Ok(Self { socket, buffer, host: address.to_string(), key: key.to_owned() })
    }

    /// Posts JSON; returns the status and the body.
    pub(crate) async fn post(&mut self, path: &str, body: &str) -> anyhow::Result<(u16, String)> {
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.host,
            self.key,
            body.len()
        );
        self.socket.write_all(request.as_bytes()).await?;
        self.read_reply().await
    }

    async fn read_reply(&mut self) -> anyhow::Result<(u16, String)> {
        self.buffer.clear();
        let head = loop {
            anyhow::ensure!(self.socket.read_buf(&mut self.buffer).await? > 0, "closed");
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                break end;
            }
        };
        let text = std::str::from_utf8(&self.buffer[..head])?.to_ascii_lowercase();
        let status = text.get(9..12).context("no status")?.parse()?;
        let length: usize = text
            .lines()
            .find_map(|line| line.strip_prefix("content-length:"))
            .context("no length")?
            .trim()
            .parse()?;
        let body = head + 4;
        while self.buffer.len() < body + length {
            anyhow::ensure!(self.socket.read_buf(&mut self.buffer).await? > 0, "closed");
        }
        Ok((status, String::from_utf8_lossy(&self.buffer[body..body + length]).into_owned()))
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}
