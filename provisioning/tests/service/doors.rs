//! Which address counts, behind HTTP proxies and behind balancers.

use tessera_provisioning::{ProvisioningConfig, Rate};
use tessera_runtime::http::{Method, Request};
use tessera_runtime::proxy::RawProxy;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::world::World;

/// Requests that one address has, and no more while the clock stands still.
const BURST: u32 = 3;

async fn world(proxy: RawProxy) -> World {
    World::with(|config: &mut ProvisioningConfig| {
        config.proxy = proxy.validate().unwrap();
        config.admission.anonymous = Rate { per_second: 1, burst: BURST };
    })
    .await
}

/// How many of `count` requests with these headers are let in.
async fn let_in(world: &World, headers: &[(&str, &str)], count: usize) -> usize {
    let mut taken = 0;
    for _ in 0..count {
        let mut request = Request::new(Method::Post, "/v1/enrol/nonce");
        for (name, value) in headers {
            request = request.header(name, *value);
        }
        match world.stranger.send(request).await {
            Ok(_) => taken += 1,
            Err(error) => assert_eq!(error.status(), Some(429), "{error}"),
        }
    }
    taken
}

#[tokio::test]
async fn each_client_of_a_trusted_proxy_has_a_bucket_of_its_own() {
    let trusted = vec!["127.0.0.1".to_owned()];
    let world = world(RawProxy { trusted, ..RawProxy::default() }).await;
    let burst = BURST as usize;
    for headers in [
        [("x-forwarded-for", "203.0.113.1")],
        [("x-forwarded-for", "6.6.6.6, 203.0.113.2")],
        [("forwarded", "for=203.0.113.3;proto=https")],
        [("forwarded", "for=\"[2001:db8::1]:4711\"")],
    ] {
        assert_eq!(let_in(&world, &headers, 5).await, burst, "{headers:?}");
    }
    // An entry that a client writes in front changes nothing.
    for spoofed in ["6.6.6.7, 203.0.113.1", "203.0.113.9,203.0.113.1", "x, 203.0.113.1"] {
        assert_eq!(let_in(&world, &[("x-forwarded-for", spoofed)], 1).await, 0, "{spoofed}");
    }
    // With an unreadable entry, or headers that disagree, the proxy's own address counts.
    let rubbish = [("x-forwarded-for", "203.0.113.8, _hidden")];
    assert_eq!(let_in(&world, &rubbish, 5).await, burst);
    let both = [("x-forwarded-for", "203.0.113.10"), ("forwarded", "for=203.0.113.11")];
    assert_eq!(let_in(&world, &both, 2).await, 0);
    assert_eq!(let_in(&world, &[], 2).await, 0);
    world.stop().await;
}

#[tokio::test]
async fn headers_of_others_count_for_nothing() {
    let trusted = vec!["10.0.0.0/8".to_owned()];
    let world = world(RawProxy { trusted, ..RawProxy::default() }).await;
    let mut taken = 0;
    for n in 0..5 {
        let address = format!("203.0.113.{n}");
        taken += let_in(&world, &[("x-forwarded-for", &address)], 1).await;
    }
    assert_eq!(taken, BURST as usize);
    world.stop().await;
}

/// The answer to one request behind these bytes.
async fn ask(world: &World, header: &[u8]) -> String {
    let mut socket = TcpStream::connect(world.handle.addr()).await.unwrap();
    for byte in header {
        if socket.write_all(&[*byte]).await.is_err() {
            break;
        }
    }
    let request = b"POST /v1/enrol/nonce HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let _ = socket.write_all(request).await;
    let mut answer = Vec::new();
    // A reset is an answer, too.
    let _ = socket.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).chars().take(12).collect()
}

#[tokio::test]
async fn a_balancer_names_the_client_before_http() {
    let proxy = RawProxy {
        listeners: vec!["http".to_owned()],
        from: vec!["127.0.0.1".to_owned()],
        ..RawProxy::default()
    };
    let world = world(proxy).await;
    let (ok, limited) = ("HTTP/1.1 200", "HTTP/1.1 429");
    for client in 1..=2 {
        let line = format!("PROXY TCP4 203.0.113.{client} 10.0.0.1 40000 8080\r\n");
        for expected in [ok, ok, ok, limited] {
            assert_eq!(ask(&world, line.as_bytes()).await, expected, "{line}");
        }
    }
    let mut binary = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c".to_vec();
    binary.extend_from_slice(&[203, 0, 113, 9, 10, 0, 0, 1, 0x9c, 0x40, 0x1f, 0x90]);
    assert_eq!(ask(&world, &binary).await, ok);
    let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(100));
    for wrong in [&b""[..], b"PROXY TCP4 1.2.3.4 nonsense 1 2\r\n", long.as_bytes(), &[0xff; 300]] {
        assert_eq!(ask(&world, wrong).await, "", "{:?}", String::from_utf8_lossy(wrong));
    }
    world.stop().await;
}

#[tokio::test]
async fn a_balancer_that_may_not_is_closed() {
    let proxy = RawProxy {
        listeners: vec!["http".to_owned()],
        from: vec!["10.0.0.0/8".to_owned()],
        ..RawProxy::default()
    };
    let world = world(proxy).await;
    assert_eq!(ask(&world, b"PROXY TCP4 203.0.113.1 10.0.0.1 40000 8080\r\n").await, "");
    world.stop().await;
}
