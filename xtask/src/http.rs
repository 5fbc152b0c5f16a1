//! Just enough of an HTTP client to prepare a test server and to ask it for numbers.
//!
//! It speaks HTTP/1.0, so a reply is never chunked and ends with its connection.
//! Not here: TLS, redirects, streams. What is under test is called by real clients.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// No reply that we ask for takes longer on a loaded machine.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Far above any reply that we ask for; a bound for a server gone wrong.
const REPLY_BYTES_MAX: u64 = 16 << 20;

/// A reply: its body as JSON, or as a JSON string where it is none.
#[derive(Debug)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// The body.
    pub body: Value,
}

/// Sends a request to `address` (`host:port`) with an optional bearer key and JSON body.
///
/// # Errors
/// When no reply comes. Any status is a reply.
pub fn send(
    address: &str,
    method: &str,
    path: &str,
    key: Option<&str>,
    body: Option<&Value>,
) -> Result<Reply> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let mut head = format!("{method} {path} HTTP/1.0\r\nHost: {address}\r\n");
    if let Some(key) = key {
        head.push_str(&format!("Authorization: Bearer {key}\r\n"));
    }
    let body = body.map(Value::to_string).unwrap_or_default();
    if !body.is_empty() {
        head.push_str(&format!(
            "Content-Type: application/json\r\nContent-Length: {}\r\n",
            body.len()
        ));
    }
    stream.write_all(format!("{head}\r\n{body}").as_bytes())?;
    let mut reply = Vec::new();
    stream.take(REPLY_BYTES_MAX).read_to_end(&mut reply)?;
    parse(&String::from_utf8_lossy(&reply)).with_context(|| format!("reply to {method} {path}"))
}

/// Sends a request and returns the body of its reply, which must be a success.
///
/// # Errors
/// As [`send`], and when the status is not 2xx; the message then has the body.
pub fn call(
    address: &str,
    method: &str,
    path: &str,
    key: &str,
    body: Option<&Value>,
) -> Result<Value> {
    let reply = send(address, method, path, Some(key), body)?;
    if !(200..300).contains(&reply.status) {
        bail!("{method} {path} answered {}: {}", reply.status, reply.body);
    }
    Ok(reply.body)
}

fn parse(reply: &str) -> Result<Reply> {
    let (head, body) = reply.split_once("\r\n\r\n").context("it has no end of headers")?;
    let status = head.split(' ').nth(1).context("it has no status")?.parse()?;
    let body = serde_json::from_str(body).unwrap_or_else(|_| Value::from(body));
    Ok(Reply { status, body })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_has_a_status_and_a_body() {
        let reply = parse("HTTP/1.0 201 Created\r\nA: b\r\n\r\n{\"key\":\"k\"}").unwrap();
        assert_eq!((reply.status, reply.body["key"].as_str()), (201, Some("k")));
        assert_eq!(parse("HTTP/1.1 200 OK\r\n\r\nready").unwrap().body, Value::from("ready"));
        assert!(parse("HTTP/1.1 200 OK\r\n").is_err());
    }
}
