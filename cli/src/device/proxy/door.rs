//! The place where local clients connect.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tessera_runtime::tls::Carried;
use tokio::net::{TcpListener, UnixListener};

use crate::args::Listen;
use crate::error::Fault;

/// An open listener.
pub(super) enum Door {
    Loopback(TcpListener),
    Unix(UnixListener, PathBuf),
}

impl Door {
    /// Listens.
    pub(super) async fn open(place: &Listen) -> Result<Self, Fault> {
        let opened = match place {
            Listen::Loopback(address) => TcpListener::bind(address).await.map(Self::Loopback),
            Listen::Unix(path) => socket(path).map(|listener| Self::Unix(listener, path.clone())),
        };
        opened.map_err(|error| {
            Fault::new(format!("cannot listen on {place}: {error}")).hint(
                "another process may have it: take another place with --listen, for example \
                 127.0.0.1:1884 or unix:PATH",
            )
        })
    }

    /// The next client.
    pub(super) async fn next(&self) -> io::Result<Carried> {
        match self {
            Self::Loopback(listener) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok(Box::pin(stream))
            }
            Self::Unix(listener, _) => Ok(Box::pin(listener.accept().await?.0)),
        }
    }

    /// The place, with the port that was taken.
    pub(super) fn place(&self) -> io::Result<Listen> {
        match self {
            Self::Loopback(listener) => listener.local_addr().map(Listen::Loopback),
            Self::Unix(_, path) => Ok(Listen::Unix(path.clone())),
        }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        if let Self::Unix(_, path) = self {
            let _ = fs::remove_file(path);
        }
    }
}

/// A socket that its owner alone can open.
fn socket(path: &Path) -> io::Result<UnixListener> {
    // A killed process left it behind; a file that is no socket, or that answers, is not ours to remove.
    let is_socket = fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    if is_socket {
        let answer = std::os::unix::net::UnixStream::connect(path);
        if answer.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused) {
            fs::remove_file(path)?;
        }
    }
    // The mask of the process (`main.rs`) closes it to others from its first moment.
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_is_for_its_owner_alone_and_goes_with_the_process() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mqtt.sock");
        let place = Listen::Unix(path.clone());
        let door = Door::open(&place).await.unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(Door::open(&place).await.is_err(), "it answers, so it is another process's");
        assert_eq!(door.place().unwrap(), place);
        drop(door);
        assert!(!path.exists());
        // As a killed process leaves it.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        drop(Door::open(&place).await.unwrap());
        fs::write(&path, "a file").unwrap();
        assert!(Door::open(&place).await.is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "a file");
    }

    #[tokio::test]
    async fn port_0_takes_a_free_one() {
        let door = Door::open(&"127.0.0.1:0".parse().unwrap()).await.unwrap();
        let Ok(Listen::Loopback(address)) = door.place() else { panic!("no address") };
        assert!(address.ip().is_loopback() && address.port() != 0);
        assert!(Door::open(&Listen::Loopback(address)).await.is_err());
    }
}
