use std::time::Duration;

use super::testing::Authority;
use super::*;
use crate::http::{HttpClient, HttpError, HttpLimits, Server};
use crate::limits::PEM_BYTES;
use crate::stop::Stop;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";

fn trust(authority: &Authority) -> Trust {
    Trust { cafile: Some(authority.cafile()), in_clear: false }
}

async fn get(url: String, trust: Trust) -> Result<String, HttpError> {
    let client = HttpClient::new(Server::new(url, trust), None, HttpLimits::default())?;
    Ok(client.get("/").await?.text())
}

#[tokio::test]
async fn a_server_is_believed_by_its_authority_and_its_name() {
    let authority = Authority::new();
    let (_, port) = authority.serve(&["localhost", "127.0.0.1"], OK).await;
    for host in ["localhost", "127.0.0.1"] {
        let answer = get(format!("https://{host}:{port}"), trust(&authority)).await;
        assert_eq!(answer.unwrap(), "ok", "{host}");
    }
    let stranger = Authority::new();
    let error = get(format!("https://localhost:{port}"), trust(&stranger)).await.unwrap_err();
    assert!(matches!(error, HttpError::Tls(TlsError::Untrusted(_))), "{error:?}");
    assert!(error.to_string().contains("--cafile FILE"), "{error}");
    assert!(!error.is_temporary());
    // The authorities of the system have not signed it either.
    let error = get(format!("https://localhost:{port}"), Trust::default()).await.unwrap_err();
    let expected = matches!(error, HttpError::Tls(TlsError::Untrusted(_) | TlsError::NoRoots));
    assert!(expected && error.to_string().contains("--cafile FILE"), "{error:?}");
}

#[tokio::test]
async fn a_wrong_name_is_refused_and_both_names_are_told() {
    let authority = Authority::new();
    let (_, port) = authority.serve(&["other.example"], OK).await;
    let error = get(format!("https://localhost:{port}"), trust(&authority)).await.unwrap_err();
    assert!(matches!(error, HttpError::Tls(TlsError::WrongName(_))), "{error:?}");
    let words = error.to_string();
    assert!(words.contains("other.example") && words.contains("localhost"), "{words}");
}

#[tokio::test]
async fn a_server_with_the_certificate_of_an_authority_is_refused_with_the_remedy() {
    let authority = Authority::new();
    let (tls, port) = authority.serve(&["localhost"], OK).await;
    authority.sign_authority(&["localhost"]);
    tls.reload().unwrap();
    let error = get(format!("https://localhost:{port}"), trust(&authority)).await.unwrap_err();
    assert!(matches!(error, HttpError::Tls(TlsError::Untrusted(_))), "{error:?}");
    assert!(error.to_string().contains("needs one of its own (CA:FALSE)"), "{error}");
}

#[tokio::test]
async fn a_server_that_speaks_no_tls_is_not_asked_in_clear() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let heard = tokio::spawn(async move {
        let mut heard = Vec::new();
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut first = vec![0; 4096];
        let read = socket.read(&mut first).await.unwrap();
        heard.extend_from_slice(&first[..read]);
        socket.write_all(OK).await.unwrap();
        drop(socket);
        // No second connection comes.
        let again = tokio::time::timeout(Duration::from_millis(200), listener.accept()).await;
        assert!(again.is_err());
        heard
    });
    let authority = Authority::new();
    let error = get(format!("https://127.0.0.1:{port}"), trust(&authority)).await.unwrap_err();
    assert!(matches!(error, HttpError::Tls(TlsError::Handshake(_))), "{error:?}");
    let heard = heard.await.unwrap();
    assert_eq!(heard.first(), Some(&0x16), "a TLS record and nothing else");
}

#[tokio::test]
async fn a_redirect_is_an_error_and_is_not_followed() {
    let authority = Authority::new();
    let moved = b"HTTP/1.1 307 Moved\r\nlocation: http://127.0.0.1:1/x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let (_, port) = authority.serve(&["localhost"], moved).await;
    let error = get(format!("https://localhost:{port}"), trust(&authority)).await.unwrap_err();
    assert!(
        matches!(&error, HttpError::Redirected(to) if to == "http://127.0.0.1:1/x"),
        "{error:?}"
    );
}

#[tokio::test]
async fn certificates_change_under_a_running_server() {
    let authority = Authority::new();
    let (tls, port) = authority.serve(&["localhost"], OK).await;
    let at = |host: &str| format!("https://{host}:{port}");
    assert!(get(at("127.0.0.1"), trust(&authority)).await.is_err());
    authority.sign(&["127.0.0.1"]);
    assert!(get(at("localhost"), trust(&authority)).await.is_ok(), "the old one stays until told");
    tls.reload().unwrap();
    assert_eq!(get(at("127.0.0.1"), trust(&authority)).await.unwrap(), "ok");
    // A bad file changes nothing.
    std::fs::write(authority.path("server.key"), b"nonsense").unwrap();
    assert!(matches!(tls.reload(), Err(TlsError::File(..))));
    assert_eq!(get(at("127.0.0.1"), trust(&authority)).await.unwrap(), "ok");
}

#[tokio::test]
async fn changed_files_are_noticed() {
    let authority = Authority::new();
    let (tls, port) = authority.serve(&["localhost"], OK).await;
    authority.sign(&["127.0.0.1"]);
    let stop = Stop::new();
    let watching = tokio::spawn(watch(tls, stop.clone()));
    let at = format!("https://127.0.0.1:{port}");
    let noticed = async {
        while get(at.clone(), trust(&authority)).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), noticed).await.unwrap();
    stop.trigger();
    watching.await.unwrap();
}

#[test]
fn files_are_bounded_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("chain.pem");
    for (bytes, words) in [
        (vec![b'-'; PEM_BYTES as usize + 1], "larger than"),
        (b"no PEM".to_vec(), "holds no certificate"),
    ] {
        std::fs::write(&path, bytes).unwrap();
        let error = files::certificates(&path).unwrap_err().to_string();
        assert!(error.contains("chain.pem") && error.contains(words), "{error}");
    }
    // A device never ends: no more than the bound is read of it.
    let error = files::certificates("/dev/zero".as_ref()).unwrap_err().to_string();
    assert!(error.contains("larger than"), "{error}");
    let missing = Trust { cafile: Some("/no/such.pem".into()), in_clear: false };
    assert!(matches!(TlsClient::new(&missing, None, b"mqtt"), Err(TlsError::File(..))));
}

#[test]
fn an_expired_certificate_and_files_that_cannot_be_used_are_told() {
    let authority = Authority::new();
    let (cert, key) = authority.sign(&["localhost"]);
    let tls = ServerTls::load(cert.clone(), key).unwrap();
    let chain = files::certificates(&cert).unwrap();
    let ends = health::ends(&chain).unwrap();
    assert_eq!(tls.expired(ends), None);
    let reason = tls.expired(ends.plus(1)).unwrap();
    assert!(reason.part == "tls" && reason.why.contains("server.pem"), "{reason:?}");
    assert_eq!(tls.warning(), None);
    std::fs::write(&cert, "no certificate").unwrap();
    assert!(tls.reload().is_err());
    let warning = tls.warning().unwrap();
    assert!(warning.part == "tls" && warning.why.contains("server.pem"), "{warning:?}");
    // The old one is in use, and its end counts still.
    assert!(tls.expired(ends.plus(1)).is_some());
    authority.sign(&["localhost"]);
    tls.reload().unwrap();
    assert_eq!(tls.warning(), None);
}
