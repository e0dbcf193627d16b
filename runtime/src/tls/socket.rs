//! A socket that never blocks, as the blocking reader and writer that rustls asks for.

use std::io::{self, IoSlice, Read, Write};

use tokio::net::TcpStream;

/// Reads and writes what the socket takes now; the rest is [`io::ErrorKind::WouldBlock`].
pub struct NonBlocking<'a>(pub &'a TcpStream);

impl Read for NonBlocking<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(into)
    }
}

impl Write for NonBlocking<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, bytes: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
