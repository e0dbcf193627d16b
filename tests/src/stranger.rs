//! A service by the hand of a test, in the place of provisioning: it takes a request on each connection, keeps it, and
//! answers as the test says. Its tokens are by an issuer that no broker trusts.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tessera_token::claims::{Claims, Epochs, Serial};
use tessera_token::ids::{Audience, DeviceId, TenantId};
use tessera_token::issue::issue;
use tessera_token::key::{Algorithm, PublicKey, SecretKey};
use tessera_token::messages::TokenAnswer;
use tessera_token::scope::Scope;
use tessera_token::time::UnixSeconds;

/// How long a client may take over its request.
const WITHIN: Duration = Duration::from_secs(30);

/// A request.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Its path.
    pub path: String,
    /// Its body.
    pub body: Vec<u8>,
}

/// The service.
pub struct Stranger {
    /// Where it listens.
    pub at: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Stranger {
    /// A service that answers each request with a status and a body.
    pub fn start(mut answer: impl FnMut(&Asked) -> (u16, Vec<u8>) + Send + 'static) -> Self {
        Self::serve(move |asked, stream| {
            let (status, body) = answer(asked);
            let head = format!(
                "HTTP/1.1 {status} x\r\nContent-Type: application/ace+cbor\r\nContent-Length: {}\r\n\
                 Connection: close\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all(&[head.as_bytes(), &body].concat());
            // As a proxy does that keeps connections: the length says where the answer ends.
            let mut kept = stream.try_clone().unwrap();
            std::thread::spawn(move || kept.read_to_end(&mut Vec::new()));
        })
    }

    /// A service that writes its answers itself.
    pub fn serve(mut serve: impl FnMut(&Asked, &mut TcpStream) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (at, asked) = (listener.local_addr().unwrap(), Arc::<Mutex<Vec<Asked>>>::default());
        let keeps = Arc::clone(&asked);
        std::thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let Some(request) = request(&mut stream) else { continue };
                // Before the answer: a client that has it finds its request kept.
                keeps.lock().unwrap().push(request.clone());
                serve(&request, &mut stream);
            }
        });
        Self { at, asked }
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.at)
    }

    /// The requests up to now.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// The bodies of the requests to a path up to now.
    pub fn bodies(&self, path: &str) -> Vec<Vec<u8>> {
        let asked = self.asked().into_iter().filter(|asked| asked.path == path);
        asked.map(|asked| asked.body).collect()
    }
}

/// The request; none when the client leaves or stops before its end.
fn request(stream: &mut TcpStream) -> Option<Asked> {
    stream.set_read_timeout(Some(WITHIN)).ok()?;
    let (mut all, mut part) = (Vec::new(), [0; 4096]);
    loop {
        let n = stream.read(&mut part).ok().filter(|n| *n > 0)?;
        all.extend_from_slice(&part[..n]);
        let Some(end) = all.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&all[..end]).into_owned();
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>())
        });
        let length = length.transpose().ok()?.unwrap_or(0);
        if all.len() >= end + 4 + length {
            let path = head.split(' ').nth(1)?.to_owned();
            return Some(Asked { path, body: all[end + 4..end + 4 + length].to_vec() });
        }
    }
}

/// Claims of a token that lives from `issued` to `expires`, with no rights.
pub fn claims(
    tenant: &str,
    device: &str,
    key: &PublicKey,
    (issued, expires): (UnixSeconds, UnixSeconds),
) -> Claims {
    Claims {
        tenant: TenantId::parse(tenant).unwrap(),
        device: DeviceId::parse(device).unwrap(),
        audience: Audience::parse("mqtt").unwrap(),
        expires,
        not_before: None,
        issued,
        serial: Serial::from_counter(1),
        confirmation: Some(key.clone()),
        scope: Scope::default(),
        epochs: Epochs::default(),
    }
}

/// A token of these claims by the stranger's key.
pub fn token(claims: &Claims) -> Vec<u8> {
    issue(claims, Algorithm::Ed25519, &SecretKey::from_seed(&[9; 32])).unwrap()
}

/// The answer that gives this token, and tells this time.
pub fn token_answer(claims: &Claims, server_time: UnixSeconds) -> Vec<u8> {
    let answer = TokenAnswer {
        access_token: token(claims),
        expires_in: 3600,
        bearer: false,
        key: None,
        audience: claims.audience.clone(),
        scope: Scope::default(),
        server_time,
    };
    answer.to_cbor()
}
