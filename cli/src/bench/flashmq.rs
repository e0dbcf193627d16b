//! FlashMQ, from a binary that is named (`--peer flashmq=PATH`), with its queues opened as wide as the load needs.
//! Options: flashmq.conf(5).

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::certificate::Certificate;
use super::child;
use super::folder::Folder;
use crate::error::Fault;

/// The program.
pub(super) struct Flashmq(PathBuf);

impl Flashmq {
    /// The program at `path`, which must be there and executable.
    pub(super) fn at(path: &Path) -> Result<Self, Fault> {
        let wrong = |why: &str| {
            Fault::new(format!("flashmq: {}: {why}", path.display())).hint(
                "give the path of the FlashMQ binary, as --peer flashmq=/usr/bin/flashmq, or leave this peer out",
            )
        };
        let found = std::fs::metadata(path).map_err(|error| wrong(&error.to_string()))?;
        match found.is_file() && found.permissions().mode() & 0o111 != 0 {
            true => Ok(Self(path.to_owned())),
            false => Err(wrong("not an executable file")),
        }
    }

    /// Starts it on a free port, over TLS when there is a certificate.
    pub(super) async fn start(
        &self,
        folder: &Folder,
        certificate: Option<&Certificate>,
    ) -> Result<(child::Server, SocketAddr), Fault> {
        let files = certificate.map(|one| (one.chain.as_path(), one.key.as_path()));
        let (open_files, _) = rlimit::Resource::NOFILE.get()?;
        let config = folder.fresh("flashmq.conf");
        child::on_free_port(|at| {
            std::fs::write(&config, text(at, files, open_files))?;
            let mut command = Command::new(&self.0);
            command.arg("--config-file").arg(&config).stdout(Stdio::null());
            Ok(command)
        })
        .await
    }
}

/// The configuration. Without `storage_dir` nothing is stored, without `log_file` the log goes to standard output.
///
/// FlashMQ does not start with an option that it does not know: of these only `tcp_nodelay`, for TLS, is a young one.
fn text(at: SocketAddr, files: Option<(&Path, &Path)>, open_files: u64) -> String {
    // Beyond a queue's end messages are dropped, and what is not delivered would count as fast.
    let mut text = format!(
        "allow_anonymous true\nquiet true\nrlimit_nofile {}\nmax_qos_msg_pending_per_client 65535\n\
         max_qos_bytes_pending_per_client 268435456\nclient_max_write_buffer_size 268435456\n\
         listen {{\n  protocol mqtt\n  inet_protocol ip4\n  inet4_bind_address {}\n  port {}\n",
        open_files.min(1_000_000),
        at.ip(),
        at.port()
    );
    // As for mosquitto: with Nagle's algorithm a CONNACK waits for the acknowledgement of session tickets.
    if let Some((chain, key)) = files {
        let (chain, key) = (chain.display(), key.display());
        text.push_str(&format!("  fullchain {chain}\n  privkey {key}\n  tcp_nodelay true\n"));
    }
    text.push_str("}\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_of_a_plain_listener() {
        let at = SocketAddr::from(([127, 0, 0, 1], 21883));
        assert_eq!(
            text(at, None, 65_536),
            "allow_anonymous true\nquiet true\nrlimit_nofile 65536\n\
             max_qos_msg_pending_per_client 65535\nmax_qos_bytes_pending_per_client 268435456\n\
             client_max_write_buffer_size 268435456\n\
             listen {\n  protocol mqtt\n  inet_protocol ip4\n  inet4_bind_address 127.0.0.1\n  port 21883\n}\n"
        );
    }

    #[test]
    fn the_configuration_of_a_tls_listener() {
        let at = SocketAddr::from(([127, 0, 0, 1], 21884));
        let files = (Path::new("/tmp/b/chain.pem"), Path::new("/tmp/b/key.pem"));
        let text = text(at, Some(files), u64::MAX);
        assert!(text.contains("\nrlimit_nofile 1000000\n"), "{text}");
        assert!(
            text.ends_with(
                "  port 21884\n  fullchain /tmp/b/chain.pem\n  privkey /tmp/b/key.pem\n  tcp_nodelay true\n}\n"
            ),
            "{text}"
        );
        // A value has no white space and a line is short, as FlashMQ's parser wants it.
        for line in text.lines().filter(|line| !line.contains(['{', '}'])) {
            assert!(line.split_whitespace().count() == 2 && line.len() < 256, "{line}");
        }
    }

    #[test]
    fn what_is_no_program_is_named_with_a_hint() {
        let folder = tempfile::tempdir().unwrap();
        let text = folder.path().join("flashmq");
        std::fs::write(&text, "no program").unwrap();
        for (path, why) in [
            (folder.path().join("gone"), "No such file"),
            (folder.path().to_owned(), "not an executable file"),
            (text, "not an executable file"),
        ] {
            let fault = Flashmq::at(&path).err().unwrap();
            assert!(fault.words().contains(&path.display().to_string()), "{fault}");
            assert!(fault.words().contains(why), "{fault}");
            assert!(fault.what_next().unwrap().contains("--peer flashmq="), "{fault}");
        }
    }
}
