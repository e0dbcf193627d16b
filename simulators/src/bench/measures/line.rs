//! A connection to provisioning over which one request follows the other: the load generator spends little on HTTP.

use std::net::SocketAddr;

use tessera_token::messages::ACE_CBOR;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::super::error::BenchError;
use super::super::limits;

/// The bytes of a request with CBOR for this path.
pub(super) fn post(at: SocketAddr, path: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {at}\r\nContent-Type: {ACE_CBOR}\r\nAccept: {ACE_CBOR}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// The connection.
pub(super) struct Line {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Line {
    pub(super) async fn open(at: SocketAddr) -> Result<Self, BenchError> {
        let stream = TcpStream::connect(at).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(limits::HTTP_BUFFER) })
    }

    /// Sends a request and reads the whole answer, which must be a good one; returns its body.
    pub(super) async fn ask(&mut self, request: &[u8]) -> Result<&[u8], BenchError> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        loop {
            let read = tokio::time::timeout(limits::ANSWER, self.stream.read_buf(&mut self.buffer));
            if read.await.map_err(|_| BenchError::new("no answer of provisioning"))?? == 0 {
                return Err(BenchError::new("the connection ended in the middle of an answer"));
            }
            let Some(head) = self.buffer.windows(4).position(|found| found == b"\r\n\r\n") else {
                continue;
            };
            let text = self.buffer.get(..head).unwrap_or_default();
            let text = String::from_utf8_lossy(text).to_ascii_lowercase();
            if !text.starts_with("http/1.1 200") {
                let line = text.lines().next().unwrap_or_default().to_owned();
                return Err(BenchError::new(format!("a request was answered: {line}")));
            }
            let length = text.lines().find_map(|line| line.strip_prefix("content-length:"));
            let length = length.and_then(|length| length.trim().parse::<usize>().ok());
            let (from, to) = (head + 4, head + 4 + length.unwrap_or(0));
            if self.buffer.len() >= to {
                return Ok(self.buffer.get(from..to).unwrap_or_default());
            }
        }
    }
}
