//! Requests byte by byte, for what no client library would send.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// What came back on a connection, if anything did.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Value,
}

/// A connection on which reads do not wait for good.
pub(crate) fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(40))).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(40))).unwrap();
    stream
}

/// A request with a body of that length, the connection closed after it.
pub(crate) fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: earmark\r\nConnection: close\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
    [text.as_bytes(), body].concat()
}

/// Sends bytes and reads until the other side closes; `None` when it closes without a word.
pub(crate) fn exchange(address: &str, bytes: &[u8]) -> Option<Answer> {
    let mut stream = connect(address);
    // A server may refuse and close before it has read everything.
    let _ = stream.write_all(bytes);
    answer(&mut stream)
}

/// The same, saying after the bytes that no more will come.
pub(crate) fn exchange_half_closed(address: &str, bytes: &[u8]) -> Option<Answer> {
    let mut stream = connect(address);
    stream.write_all(bytes).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    answer(&mut stream)
}

/// Reads to the end; panics when the end does not come in time.
pub(crate) fn answer(stream: &mut TcpStream) -> Option<Answer> {
    let mut bytes = Vec::new();
    if let Err(error) = stream.read_to_end(&mut bytes) {
        let is_late =
            matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut);
        assert!(!is_late, "neither an answer nor an end after {} bytes", bytes.len());
    }
    let text = String::from_utf8_lossy(&bytes);
    let status = text.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    let body = text.split_once("\r\n\r\n").map(|(_, body)| body).unwrap_or_default();
    Some(Answer { status, body: serde_json::from_str(body).unwrap_or(Value::Null) })
}
