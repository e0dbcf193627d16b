//! A blocking HTTP/1.1 client: one request a connection, so that a dead server is an error and nothing else.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde_json::Value;

use crate::net;

/// How long a server may take to answer.
const WITHIN: Duration = Duration::from_secs(30);

/// One service, and who asks it.
#[derive(Clone)]
pub struct Http {
    at: SocketAddr,
    bearer: Option<String>,
    source: Option<Ipv4Addr>,
}

/// The answer.
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
}

impl Http {
    /// A client of the service at `at`.
    pub fn new(at: SocketAddr, bearer: Option<String>) -> Self {
        Self { at, bearer, source: None }
    }

    /// The same from an address of this machine.
    #[must_use]
    pub fn from(mut self, source: Ipv4Addr) -> Self {
        self.source = Some(source);
        self
    }

    /// `GET`.
    ///
    /// # Errors
    /// When the connection fails or the answer is cut off.
    pub fn get(&self, path: &str) -> io::Result<Answer> {
        self.call("GET", path, "", &[])
    }

    /// `POST` of JSON.
    ///
    /// # Errors
    /// As [`Http::get`].
    pub fn post(&self, path: &str, body: &Value) -> io::Result<Answer> {
        self.call("POST", path, "application/json", body.to_string().as_bytes())
    }

    /// `POST` of a device's message.
    ///
    /// # Errors
    /// As [`Http::get`].
    pub fn post_cbor(&self, path: &str, body: &[u8]) -> io::Result<Answer> {
        self.call("POST", path, "application/ace+cbor", body)
    }

    /// Any request.
    ///
    /// # Errors
    /// As [`Http::get`].
    pub fn call(&self, method: &str, path: &str, kind: &str, body: &[u8]) -> io::Result<Answer> {
        let mut stream = net::connect(self.source, self.at, WITHIN)?;
        stream.set_read_timeout(Some(WITHIN))?;
        stream.set_nodelay(true)?;
        let mut request = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n");
        request.push_str(&format!("Content-Length: {}\r\n", body.len()));
        if method == "PUT" {
            // It makes something new: a change would have to say what it rests on.
            request.push_str("If-None-Match: *\r\n");
        }
        if !kind.is_empty() {
            request.push_str(&format!("Content-Type: {kind}\r\n"));
        }
        if let Some(bearer) = &self.bearer {
            request.push_str(&format!("Authorization: Bearer {bearer}\r\n"));
        }
        request.push_str("\r\n");
        let mut bytes = request.into_bytes();
        bytes.extend_from_slice(body);
        stream.write_all(&bytes)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        parse(&answer).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

fn parse(answer: &[u8]) -> Option<Answer> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let body = answer[end + 4..].to_vec();
    match length {
        Some(length) if body.len() < length => None,
        _ => Some(Answer { status, body }),
    }
}

impl Answer {
    /// Whether the status is of the 200s.
    pub fn ok(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The body as JSON; `null` when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}
