//! One raw connection. Reads go through a buffer on the stack, so that ten thousand idle ones cost their sockets alone.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::net::{TcpSocket, TcpStream};

use super::error::BenchError;
use super::packet::{self, Frame, Qos};

/// Connections made from one loopback address before the next one: a closed one keeps its port for a minute.
const PER_SOURCE: u32 = 2_000;
/// Loopback addresses that take turns; all are of one /24, so a server that counts by prefix sees one.
const SOURCES: u32 = 250;
/// Bytes read at once.
const CHUNK: usize = 16 * 1024;

static MADE: AtomicU32 = AtomicU32::new(0);

/// A connection whose CONNACK said yes.
pub(super) struct Conn {
    stream: TcpStream,
    rest: Vec<u8>,
}

impl Conn {
    /// Connects and waits for CONNACK.
    pub(super) async fn open(server: SocketAddr, connect: &[u8]) -> Result<Self, BenchError> {
        match Self::try_open(server, connect).await? {
            Answer::Accepted(conn) => Ok(conn),
            Answer::Refused => Err(BenchError::new("the server refused a CONNECT that is good")),
        }
    }

    /// Connects and waits for CONNACK, or for the end of the connection instead.
    pub(super) async fn try_open(server: SocketAddr, connect: &[u8]) -> Result<Answer, BenchError> {
        let mut conn = Self { stream: stream(server).await?, rest: Vec::new() };
        conn.write(connect).await?;
        let mut code = None;
        while code.is_none() {
            match conn.read(|frame| code = code.or(frame.return_code())).await {
                Ok(()) => {}
                Err(_) => return Ok(Answer::Refused),
            }
        }
        Ok(if code == Some(0) { Answer::Accepted(conn) } else { Answer::Refused })
    }

    /// Subscribes and waits for SUBACK.
    pub(super) async fn subscribe(&mut self, filter: &str, qos: Qos) -> Result<(), BenchError> {
        self.write(&packet::subscribe(filter, qos)).await?;
        let mut granted = None;
        while granted.is_none() {
            self.read(|frame| {
                if frame.kind() == packet::SUBACK {
                    granted = frame.body.get(2).copied();
                }
            })
            .await?;
        }
        match granted {
            Some(0..=2) => Ok(()),
            _ => Err(BenchError::new(format!("the server refused the subscription to {filter}"))),
        }
    }

    /// Writes all of `bytes`.
    pub(super) async fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let mut left = bytes;
        while !left.is_empty() {
            match self.stream.try_write(left) {
                Ok(written) => left = left.get(written..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.stream.writable().await?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Waits for bytes and hands every whole packet to `each`. Cancel-safe.
    ///
    /// # Errors
    /// `UnexpectedEof` once the peer has closed.
    pub(super) async fn read(&mut self, mut each: impl FnMut(Frame<'_>)) -> io::Result<()> {
        loop {
            self.stream.readable().await?;
            if self.drain(&mut each)? {
                return Ok(());
            }
        }
    }

    /// Hands every whole packet that is already here to `each`; whether any byte was.
    pub(super) fn drain(&mut self, mut each: impl FnMut(Frame<'_>)) -> io::Result<bool> {
        let mut chunk = [0u8; CHUNK];
        let read = match self.stream.try_read(&mut chunk) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        };
        let fresh = chunk.get(..read).unwrap_or_default();
        if self.rest.is_empty() {
            let taken = packet::scan(fresh, &mut each);
            self.rest.extend_from_slice(fresh.get(taken..).unwrap_or_default());
        } else {
            self.rest.extend_from_slice(fresh);
            let taken = packet::scan(&self.rest, &mut each);
            self.rest.drain(..taken);
        }
        Ok(true)
    }

    /// Says goodbye and closes.
    pub(super) async fn close(self) -> io::Result<()> {
        self.write(&packet::DISCONNECT).await
    }
}

/// How a server answered a CONNECT.
pub(super) enum Answer {
    /// With success.
    Accepted(Conn),
    /// With another code, or by closing.
    Refused,
}

async fn stream(server: SocketAddr) -> io::Result<TcpStream> {
    let made = MADE.fetch_add(1, Ordering::Relaxed);
    let last = 1 + (made / PER_SOURCE) % SOURCES;
    let source = Ipv4Addr::new(127, 0, 0, u8::try_from(last).unwrap_or(1));
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::V4(SocketAddrV4::new(source, 0)))?;
    let stream = socket.connect(server).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
