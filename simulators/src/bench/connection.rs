//! One raw connection, plain or inside TLS. Reads go through a buffer on the stack, so that ten thousand idle ones cost
//! their sockets (and TLS sessions) alone.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::net::{TcpSocket, TcpStream};

use super::error::BenchError;
use super::packet::{self, Frame, Qos};
use super::tls::{Tls, TlsClient};

/// Connections made from one loopback address before the next one: a closed one keeps its port for a minute.
const PER_SOURCE: u32 = 2_000;
/// Loopback addresses that take turns; all are of one /24, so a server that counts by prefix sees one.
const SOURCES: u32 = 250;
/// Bytes read at once.
const CHUNK: usize = 16 * 1024;

static MADE: AtomicU32 = AtomicU32::new(0);

/// Where a server listens, and what is spoken there.
#[derive(Clone)]
pub struct Place {
    /// The address.
    pub addr: SocketAddr,
    /// The address to come from; hosts of 127.0.0.0/24 in turn when there is none.
    pub from: Option<Ipv4Addr>,
    /// There when the listener speaks TLS.
    pub tls: Option<TlsClient>,
}

/// A connection whose CONNACK said yes.
pub(super) struct Conn {
    stream: Stream,
    rest: Vec<u8>,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<Tls>),
}

impl Conn {
    /// Connects and waits for CONNACK.
    pub(super) async fn open(server: &Place, connect: &[u8]) -> Result<Self, BenchError> {
        match Self::try_open(server, connect).await? {
            Answer::Accepted(conn) => Ok(conn),
            Answer::Refused => Err(BenchError::new("the server refused a CONNECT that is good")),
        }
    }

    /// Connects and waits for CONNACK, or for the end of the connection instead.
    pub(super) async fn try_open(server: &Place, connect: &[u8]) -> Result<Answer, BenchError> {
        let mut conn = Self { stream: Stream::open(server).await?, rest: Vec::new() };
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
    pub(super) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.stream {
            Stream::Plain(socket) => write_plain(socket, bytes).await,
            Stream::Tls(tls) => {
                let mut left = bytes;
                while !left.is_empty() {
                    let taken = tls.take(left)?;
                    left = left.get(taken..).unwrap_or_default();
                    tls.push_all().await?;
                }
                Ok(())
            }
        }
    }

    /// Waits for bytes and hands every whole packet to `each`. Cancel-safe.
    ///
    /// # Errors
    /// `UnexpectedEof` once the peer has closed.
    pub(super) async fn read(&mut self, mut each: impl FnMut(Frame<'_>)) -> io::Result<()> {
        loop {
            self.stream.socket().readable().await?;
            if self.drain(&mut each)? {
                return Ok(());
            }
        }
    }

    /// Hands every whole packet that is already here to `each`; whether any byte was.
    pub(super) fn drain(&mut self, mut each: impl FnMut(Frame<'_>)) -> io::Result<bool> {
        let mut chunk = [0u8; CHUNK];
        let mut any = false;
        loop {
            let read = match self.stream.try_read(&mut chunk) {
                // The end is told by the next call: what came before it counts.
                Ok(0) if any => return Ok(true),
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(any),
                Err(error) => return Err(error),
            };
            any = true;
            self.take(chunk.get(..read).unwrap_or_default(), &mut each);
            // Decrypted bytes that wait make no socket readable, so it is all taken now.
            if matches!(self.stream, Stream::Plain(_)) {
                return Ok(true);
            }
        }
    }

    fn take(&mut self, fresh: &[u8], mut each: impl FnMut(Frame<'_>)) {
        if self.rest.is_empty() {
            let taken = packet::scan(fresh, &mut each);
            self.rest.extend_from_slice(fresh.get(taken..).unwrap_or_default());
        } else {
            self.rest.extend_from_slice(fresh);
            let taken = packet::scan(&self.rest, &mut each);
            self.rest.drain(..taken);
        }
    }

    /// Sends DISCONNECT and closes.
    pub(super) async fn close(mut self) -> io::Result<()> {
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

impl Stream {
    async fn open(server: &Place) -> io::Result<Self> {
        let socket = connect(server).await?;
        Ok(match &server.tls {
            None => Self::Plain(socket),
            Some(client) => Self::Tls(Box::new(Tls::connect(socket, client).await?)),
        })
    }

    fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(tls) => tls.socket(),
        }
    }

    fn try_read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.try_read(into),
            Self::Tls(tls) => tls.try_read(into),
        }
    }
}

async fn write_plain(socket: &TcpStream, bytes: &[u8]) -> io::Result<()> {
    let mut left = bytes;
    while !left.is_empty() {
        match socket.try_write(left) {
            Ok(written) => left = left.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                socket.writable().await?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

async fn connect(server: &Place) -> io::Result<TcpStream> {
    let made = MADE.fetch_add(1, Ordering::Relaxed);
    let last = 1 + (made / PER_SOURCE) % SOURCES;
    let usual = Ipv4Addr::new(127, 0, 0, u8::try_from(last).unwrap_or(1));
    let source = server.from.unwrap_or(usual);
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::V4(SocketAddrV4::new(source, 0)))?;
    let stream = socket.connect(server.addr).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
