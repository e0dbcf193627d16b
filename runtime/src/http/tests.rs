use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

/// A server that answers every connection with the same bytes and tells the first request that it saw.
async fn server(answer: &'static [u8]) -> (String, tokio::sync::oneshot::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (seen, request) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut buffer = vec![0; 4096];
        let length = socket.read(&mut buffer).await.unwrap();
        let _ = seen.send(String::from_utf8_lossy(&buffer[..length]).into_owned());
        socket.write_all(answer).await.unwrap();
        if answer.is_empty() {
            std::future::pending::<()>().await;
        }
    });
    (url, request)
}

fn client(url: &str, limits: HttpLimits) -> HttpClient {
    HttpClient::new(url, Some(Secret::new("tsr_op_x".to_owned())), limits).unwrap()
}

#[tokio::test]
async fn a_problem_is_typed() {
    let (url, request) = server(
        b"HTTP/1.1 403 Forbidden\r\ncontent-type: application/problem+json; charset=utf-8\r\ncontent-length: 36\r\n\r\n{\"code\":\"revoked\",\"detail\":\"it is\"} ",
    )
    .await;
    let error = client(&url, HttpLimits::default())
        .post("/v1/x?a=b", ACE_CBOR, vec![0xa0])
        .await
        .unwrap_err();
    assert_eq!((error.status(), error.code()), (Some(403), Some("revoked")));
    assert_eq!(error.to_string(), "refused with 403 revoked: it is");
    assert!(!error.is_temporary());
    let request = request.await.unwrap().to_ascii_lowercase();
    assert!(request.starts_with("post /v1/x?a=b http/1.1"));
    assert!(request.contains("authorization: bearer tsr_op_x"));
    assert!(request.contains("content-type: application/ace+cbor"));
    assert!(request.contains("accept: application/ace+cbor"));
}

/// RFC 9110 section 8.6; a proxy that speaks HTTP/1.0 passes nothing on that would say it otherwise.
#[tokio::test]
async fn a_post_without_a_body_says_so() {
    for (method, says) in [
        (Method::Post, true),
        (Method::Put, true),
        (Method::Patch, true),
        (Method::Get, false),
        (Method::Delete, false),
    ] {
        let (url, request) = server(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        client(&url, HttpLimits::default()).send(Request::new(method, "/x")).await.unwrap();
        let request = request.await.unwrap().to_ascii_lowercase();
        let lengths = request.matches("content-length: 0\r\n").count();
        assert_eq!(lengths, usize::from(says), "{method:?}: {request}");
    }
    let (url, request) = server(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    client(&url, HttpLimits::default()).post("/x", JSON, Vec::new()).await.unwrap();
    let request = request.await.unwrap().to_ascii_lowercase();
    assert_eq!(request.matches("content-length").count(), 1, "{request}");
}

#[tokio::test]
async fn a_large_answer_is_cut_off() {
    let (url, _request) = server(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n123456789").await;
    let limits = HttpLimits { response_bytes: 8, ..HttpLimits::default() };
    let error = client(&url, limits).get("/").await.unwrap_err();
    assert!(matches!(error, HttpError::TooLarge { limit: 8 }));
}

#[tokio::test]
async fn silence_is_a_timeout() {
    let (url, _request) = server(b"").await;
    let limits = HttpLimits { total: Duration::from_millis(100), ..HttpLimits::default() };
    let error = client(&url, limits).get("/").await.unwrap_err();
    assert!(matches!(error, HttpError::Timeout), "{error:?}");
}

#[tokio::test]
async fn a_closed_port_is_a_connect_error() {
    // The port is taken, and no process listens.
    let silent = tokio::net::TcpSocket::new_v4().unwrap();
    silent.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let error = client(&url, HttpLimits::default()).get("/").await.unwrap_err();
    assert!(matches!(error, HttpError::Connect(_)), "{error:?}");
    assert!(error.is_temporary());
}

#[test]
fn only_urls_of_http() {
    for url in ["ftp://x", "nonsense", "https://", "mqtts://x", ""] {
        assert!(
            matches!(HttpClient::new(url, None, HttpLimits::default()), Err(HttpError::BadUrl(_))),
            "{url}"
        );
    }
}

#[test]
fn in_clear_is_for_this_machine() {
    use crate::tls::Trust;
    let aloud = Trust { cafile: None, in_clear: true };
    for url in [
        "http://192.0.2.1:8080",
        "http://provisioning:8080",
        "http://[2001:db8::1]",
        "http://0.0.0.0:1",
        "http://127.0.0.1@192.0.2.1",
        "http://127.0.0.1.example",
        "http://localhost.example",
    ] {
        let refused = HttpClient::new(url, None, HttpLimits::default());
        let error = refused.map(drop).unwrap_err();
        assert!(matches!(error, HttpError::InClear(_)), "{url} {error:?}");
        assert!(error.to_string().contains("--http-in-clear"), "{error}");
        assert!(Server::from(url).is_in_clear());
        let server = Server::new(url, aloud.clone());
        assert!(HttpClient::new(server, None, HttpLimits::default()).is_ok(), "{url}");
    }
    for url in ["http://127.0.0.1:1", "http://127.9.9.9", "http://[::1]:1", "http://LOCALHOST:1"] {
        assert!(HttpClient::new(url, None, HttpLimits::default()).is_ok(), "{url}");
        assert!(!Server::from(url).is_in_clear());
    }
}

#[test]
fn what_people_write_is_in_clear_on_this_machine_alone() {
    for (text, url) in [
        ("127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("localhost:8080", "http://localhost:8080"),
        ("[::1]:8080", "http://[::1]:8080"),
        ("[2001:db8::1]", "https://[2001:db8::1]"),
        ("tessera.example", "https://tessera.example"),
        ("tessera.example:8443/prefix", "https://tessera.example:8443/prefix"),
        ("http://x:1", "http://x:1"),
    ] {
        assert_eq!(Server::of_text(text, Default::default()).url, url);
    }
}
