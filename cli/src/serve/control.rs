//! `control.sock` in the data folder: the owner of the folder asks a running server for copies of its stores, which no
//! other process can read while it runs. One request a connection: the line `backup`; the answer is `ok FOLDER` or
//! `error WORDS`. The folder is named `.backup-…`, lies in the data folder and is the asker's to remove.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream as Client;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tessera_runtime::random::{self, SystemRandom};
use tessera_runtime::secret::own_folder;
use tessera_runtime::stop::Stop;
use tessera_token::encoding::hex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

use crate::error::Fault;

const SOCKET: &str = "control.sock";
/// How copies begin.
pub(crate) const COPIES: &str = ".backup-";
/// Bytes of a path that a socket address surely holds (108 on Linux, with its end).
const PATH_BYTES: usize = 100;
/// Bytes of a request and of an answer.
const LINE_BYTES: u64 = 8192;
/// Time for a request.
const ASK_WITHIN: Duration = Duration::from_secs(5);

/// Writes copies of all stores of this process below the folder, each under its place in the data folder.
pub(super) type Copier = Arc<dyn Fn(&Path) -> Result<(), String> + Send + Sync>;

/// Answers until the process stops. A server serves also when its socket cannot be made: no device waits for
/// backups.
pub(super) fn serve(data: &Path, stop: &Stop, copier: Copier) {
    if let Err(fault) = listen(data, stop, copier) {
        tracing::error!(
            %fault,
            "no control socket: `tessera backup` of this folder works only when the server is stopped"
        );
    }
}

fn listen(data: &Path, stop: &Stop, copier: Copier) -> Result<(), Fault> {
    let fail = |error: io::Error| Fault::new(format!("{}: {error}", data.join(SOCKET).display()));
    // The stores are locked by us, so what lies here is of a process that is gone.
    clear(data).map_err(fail)?;
    let (_folder, path) = place(data).map_err(fail)?;
    let listener = UnixListener::bind(path).map_err(fail)?;
    let (data, stopping) = (data.to_owned(), stop.clone());
    stop.spawn("control", async move {
        loop {
            tokio::select! {
                () = stopping.stopping() => break,
                asked = listener.accept() => match asked {
                    Ok((stream, _)) => answer(stream, &data, &copier).await,
                    Err(_) => tokio::time::sleep(Duration::from_secs(1)).await,
                },
            }
        }
        let _ = fs::remove_file(data.join(SOCKET));
    });
    Ok(())
}

async fn answer(mut stream: UnixStream, data: &Path, copier: &Copier) {
    let mut line = String::new();
    let mut limited = (&mut stream).take(LINE_BYTES);
    let read = tokio::time::timeout(ASK_WITHIN, limited.read_to_string(&mut line)).await;
    if !matches!(read, Ok(Ok(_))) {
        return;
    }
    let told = match line.trim() {
        "backup" => copy(data, copier).await,
        _ => Err("unknown request".to_owned()),
    };
    let told = match told {
        Ok(folder) => format!("ok {}\n", folder.display()),
        Err(words) => format!("error {words}\n"),
    };
    // The caller may have gone.
    let _ = stream.write_all(told.as_bytes()).await;
}

async fn copy(data: &Path, copier: &Copier) -> Result<PathBuf, String> {
    let name: [u8; 8] = random::bytes(&SystemRandom).map_err(|error| error.to_string())?;
    let folder = data.join(format!("{COPIES}{}", hex::encode(name)));
    own_folder(&folder).map_err(|error| error.to_string())?;
    let (copier, to) = (Arc::clone(copier), folder.clone());
    let done = tokio::task::spawn_blocking(move || copier(&to)).await;
    match done.unwrap_or_else(|_| Err("the copy broke off".to_owned())) {
        Ok(()) => {
            tracing::info!(folder = %folder.display(), "stores copied for a backup");
            Ok(folder)
        }
        Err(words) => {
            let _ = fs::remove_dir_all(&folder);
            tracing::error!(%words, "stores not copied for a backup");
            Err(words)
        }
    }
}

fn clear(data: &Path) -> io::Result<()> {
    for entry in fs::read_dir(data)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name == SOCKET {
            fs::remove_file(&path)?;
        } else if name.starts_with(COPIES) {
            fs::remove_dir_all(&path)?;
        }
    }
    Ok(())
}

/// The address of the socket. A long path goes by a descriptor of its folder, which must be held meanwhile.
fn place(data: &Path) -> io::Result<(Option<File>, PathBuf)> {
    let path = data.join(SOCKET);
    if path.as_os_str().len() <= PATH_BYTES {
        return Ok((None, path));
    }
    let folder = File::open(data)?;
    let path = PathBuf::from(format!("/proc/self/fd/{}/{SOCKET}", folder.as_raw_fd()));
    Ok((Some(folder), path))
}

/// Asks the server of this folder for copies of its stores. `None` when none runs.
pub(crate) fn ask_for_copies(data: &Path) -> Result<Option<PathBuf>, Fault> {
    let fail = |error: io::Error| Fault::new(format!("{}: {error}", data.join(SOCKET).display()));
    let (_folder, path) = place(data).map_err(fail)?;
    let mut stream = match Client::connect(path) {
        Ok(stream) => stream,
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
            ) =>
        {
            return Ok(None)
        }
        Err(error) => return Err(fail(error)),
    };
    stream.write_all(b"backup\n").map_err(fail)?;
    stream.shutdown(std::net::Shutdown::Write).map_err(fail)?;
    let mut answer = String::new();
    stream.take(LINE_BYTES).read_to_string(&mut answer).map_err(fail)?;
    match answer.trim_end().split_once(' ') {
        Some(("ok", folder)) => Ok(Some(PathBuf::from(folder))),
        Some(("error", words)) => {
            Err(Fault::new(format!("the running server made no copy: {words}")))
        }
        _ => Err(Fault::new("the running server went away before its copy was done")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_server_goes_on_without_its_socket() {
        let folder = tempfile::tempdir().unwrap();
        let taken = folder.path().join(SOCKET);
        fs::create_dir(&taken).unwrap();
        let stop = Stop::new();
        let copier: Copier = Arc::new(|_: &Path| Ok(()));
        let fault = listen(folder.path(), &stop, Arc::clone(&copier)).err().unwrap();
        assert!(fault.to_string().contains(SOCKET), "{fault}");
        serve(folder.path(), &stop, Arc::clone(&copier));
        assert!(!stop.is_stopping());
        fs::remove_dir(&taken).unwrap();
        serve(folder.path(), &stop, copier);
        let data = folder.path().to_owned();
        let copies = tokio::task::spawn_blocking(move || ask_for_copies(&data).unwrap());
        assert!(copies.await.unwrap().unwrap().starts_with(folder.path()));
        assert_eq!(stop.finish(Duration::from_secs(20)).await, Vec::<String>::new());
    }
}
