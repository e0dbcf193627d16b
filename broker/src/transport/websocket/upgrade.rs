//! The HTTP request that becomes a WebSocket (RFC 6455 section 4.2).

use std::io;
use std::net::IpAddr;

use actix_http::ws::hash_key;
use bytes::{Buf, BytesMut};
use tessera_runtime::proxy::entrance::Entrance;

use super::WebSocket;
use crate::limits::{UPGRADE_BYTES, UPGRADE_HEADERS};
use crate::refusals::{Broken, What};
use crate::transport::stream::ByteStream;

/// Where MQTT is found; `/` is taken too, because many clients name no path.
const PATH: &str = "/mqtt";

/// Why it does not become one.
enum No {
    Lost,
    Status(&'static str),
}

/// Reads the request and answers it. The caller bounds the time.
/// The second is the address that counts, as `entrance` finds it for `peer` and the request's headers.
pub(in crate::transport) async fn accept(
    stream: &mut ByteStream,
    entrance: &Entrance,
    peer: IpAddr,
) -> Result<(WebSocket, IpAddr), Broken> {
    let broken = |rule| Broken::new(What::WebSocket, rule);
    let mut raw = BytesMut::new();
    let wanted = |forwarded: &[&[u8]], x: &[&[u8]]| entrance.address(peer, forwarded, x);
    match request(stream, &mut raw, &wanted).await {
        Ok((key, address)) => {
            let accept = hash_key(key.as_bytes());
            let accept = String::from_utf8_lossy(&accept);
            let answer = format!(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
            );
            write(stream, answer.as_bytes()).await.map_err(|_| broken("websocket_lost"))?;
            Ok((WebSocket::new(raw), address))
        }
        Err(No::Lost) => Err(broken("websocket_lost")),
        Err(No::Status(status)) => {
            let more = if status.starts_with("426") {
                "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            } else {
                ""
            };
            let answer = format!(
                "HTTP/1.1 {status}\r\n{more}Connection: close\r\nContent-Length: 0\r\n\r\n"
            );
            // The close says it too.
            let _ = write(stream, answer.as_bytes()).await;
            stream.send_close();
            let _ = stream.shutdown().await;
            Err(broken("websocket_refused").because(status))
        }
    }
}

/// Finds an address by the values of `Forwarded` and `X-Forwarded-For`.
type Resolve<'a> = dyn Fn(&[&[u8]], &[&[u8]]) -> IpAddr + Sync + 'a;

async fn request(
    stream: &mut ByteStream,
    raw: &mut BytesMut,
    resolve: &Resolve<'_>,
) -> Result<(String, IpAddr), No> {
    loop {
        if let Some((length, key, address)) = parse(raw, resolve)? {
            raw.advance(length);
            return Ok((key, address));
        }
        if raw.len() >= UPGRADE_BYTES {
            return Err(No::Status("431 Request Header Fields Too Large"));
        }
        if !stream.holds_bytes() {
            stream.readable().await.map_err(|_| No::Lost)?;
        }
        raw.reserve(512);
        match stream.try_read_buf(raw) {
            Ok(0) => return Err(No::Lost),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return Err(No::Lost),
        }
    }
}

/// Length of the request, its key, and the address that counts; `None` when it is not whole yet.
fn parse(raw: &[u8], resolve: &Resolve<'_>) -> Result<Option<(usize, String, IpAddr)>, No> {
    let mut headers = [httparse::EMPTY_HEADER; UPGRADE_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let length = match request.parse(raw) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(No::Status("400 Bad Request")),
    };
    if request.method != Some("GET") {
        return Err(No::Status("405 Method Not Allowed"));
    }
    let path = request.path.unwrap_or_default();
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    if path != PATH && path != "/" {
        return Err(No::Status("404 Not Found"));
    }
    if request.version != Some(1) {
        return Err(No::Status("400 Bad Request"));
    }
    let has = |name: &str, wanted: &str| {
        words(request.headers, name).any(|word| word.eq_ignore_ascii_case(wanted))
    };
    if !has("upgrade", "websocket") || !has("connection", "upgrade") {
        return Err(No::Status("426 Upgrade Required"));
    }
    if !has("sec-websocket-version", "13") {
        return Err(No::Status("426 Upgrade Required"));
    }
    // [MQTT-6.0.0-3]
    if !words(request.headers, "sec-websocket-protocol").any(|word| word == "mqtt") {
        return Err(No::Status("400 Bad Request"));
    }
    let address =
        resolve(&values(request.headers, "forwarded"), &values(request.headers, "x-forwarded-for"));
    let mut keys = words(request.headers, "sec-websocket-key");
    match (keys.next(), keys.next()) {
        (Some(key), None) if is_key(key) => Ok(Some((length, key.to_owned(), address))),
        _ => Err(No::Status("400 Bad Request")),
    }
}

/// The comma-separated words of all headers of this name.
fn words<'a>(headers: &'a [httparse::Header<'a>], name: &'a str) -> impl Iterator<Item = &'a str> {
    headers
        .iter()
        .filter(move |header| header.name.eq_ignore_ascii_case(name))
        .filter_map(|header| std::str::from_utf8(header.value).ok())
        .flat_map(|value| value.split(',').map(str::trim))
}

/// The values of all headers of this name.
fn values<'a>(headers: &'a [httparse::Header<'a>], name: &str) -> Vec<&'a [u8]> {
    let named = headers.iter().filter(|header| header.name.eq_ignore_ascii_case(name));
    named.map(|header| header.value).collect()
}

/// 16 bytes in base64.
fn is_key(key: &str) -> bool {
    let digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    key.strip_suffix("==")
        .is_some_and(|digits| digits.len() == 22 && digits.bytes().all(|b| digit(&b)))
}

async fn write(stream: &mut ByteStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() || stream.has_pending() {
        match stream.try_write(bytes) {
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                stream.writable().await?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "GET /mqtt HTTP/1.1\r\nHost: x\r\nUpgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: chat, mqtt\r\n\r\n";

    fn status(request: &str) -> String {
        let nowhere = |_: &[&[u8]], _: &[&[u8]]| IpAddr::from([0, 0, 0, 0]);
        match parse(request.as_bytes(), &nowhere) {
            Ok(Some((_, key, _))) => key,
            Ok(None) => "more".to_owned(),
            Err(No::Status(status)) => status.split(' ').next().unwrap_or_default().to_owned(),
            Err(No::Lost) => "lost".to_owned(),
        }
    }

    #[test]
    fn requests_and_what_they_are_told() {
        assert_eq!(status(GOOD), "dGhlIHNhbXBsZSBub25jZQ==");
        for (from, to, told) in [
            ("\r\n\r\n", "\r\n", "more"),
            ("GET", "POST", "405"),
            ("/mqtt ", "/?a=b ", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("/mqtt ", "/admin ", "404"),
            ("HTTP/1.1", "HTTP/1.0", "400"),
            ("HTTP/1.1", "MQTT/5", "400"),
            ("WebSocket\r\n", "h2c\r\n", "426"),
            ("keep-alive, Upgrade", "close", "426"),
            (": 13", ": 8", "426"),
            ("chat, mqtt", "chat", "400"),
            ("dGhl", "dG", "400"),
            ("Host: x", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "400"),
        ] {
            assert_eq!(status(&GOOD.replacen(from, to, 1)), told, "{from} -> {to}");
        }
    }
}
