//! One that stands between a gateway and its broker, and lies about the trust feed when it is told to.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tessera_token::trust::UplinkPage;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A lie.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Trick {
    /// Everything passes as it is.
    None,
    /// A byte of each answer is another one.
    Change,
    /// An answer of before comes again, under the number of the present call.
    Replay,
    /// The first half of an answer, and the second half of one of before.
    Mix,
    /// Each part says that it begins one byte later.
    Gap,
}

struct State {
    to: SocketAddr,
    trick: Trick,
    /// Whole answers that have passed.
    passed: Vec<Vec<u8>>,
}

/// The one in the middle.
pub(crate) struct Middle {
    at: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Middle {
    pub(crate) async fn before(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let state = State { to, trick: Trick::None, passed: Vec::new() };
        let state = Arc::new(Mutex::new(state));
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, Arc::clone(&shared)));
            }
        });
        Self { at, state }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.at
    }

    pub(crate) fn play(&self, trick: Trick) {
        self.state.lock().unwrap().trick = trick;
    }

    /// From now on connections go there.
    pub(crate) fn leads_to(&self, to: SocketAddr) {
        self.state.lock().unwrap().to = to;
    }

    /// Answers that have passed.
    pub(crate) fn seen(&self) -> usize {
        self.state.lock().unwrap().passed.len()
    }
}

async fn carry(client: TcpStream, state: Arc<Mutex<State>>) {
    let to = state.lock().unwrap().to;
    let Ok(broker) = TcpStream::connect(to).await else { return };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_broker, mut to_broker) = broker.into_split();
    let up = async move {
        let _ = tokio::io::copy(&mut from_client, &mut to_broker).await;
    };
    let down = async move {
        while let Some((first, body)) = packet(&mut from_broker).await {
            let body = if first & 0xf0 == 0x30 { bent(body, &state) } else { body };
            let mut out = vec![first];
            out.extend(length(body.len()));
            out.extend(body);
            if to_client.write_all(&out).await.is_err() {
                return;
            }
        }
    };
    // The end of one direction is the end of both.
    tokio::select! {
        () = up => {}
        () = down => {}
    }
}

async fn packet(from: &mut (impl AsyncReadExt + Unpin)) -> Option<(u8, Vec<u8>)> {
    let first = from.read_u8().await.ok()?;
    let (mut size, mut shift) = (0_usize, 0);
    loop {
        let byte = from.read_u8().await.ok()?;
        size |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
        shift += 7;
    }
    let mut body = vec![0; size];
    from.read_exact(&mut body).await.ok()?;
    Some((first, body))
}

fn length(mut size: usize) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        let low = (size & 0x7f) as u8;
        size >>= 7;
        if size == 0 {
            out.push(low);
            return out;
        }
        out.push(low | 0x80);
    }
}

/// A PUBLISH of QoS 0, bent when it is a part of an answer.
fn bent(body: Vec<u8>, state: &Mutex<State>) -> Vec<u8> {
    let topic = usize::from(u16::from_be_bytes([body[0], body[1]]));
    if &body[2..2 + topic] != b"$tessera/trust" {
        return body;
    }
    // No property is longer than 127 bytes.
    let start = 2 + topic + 1 + usize::from(body[2 + topic]);
    let Some(UplinkPage::Part { number, total, from, shared, bytes }) =
        UplinkPage::from_cbor(&body[start..])
    else {
        return body;
    };
    let mut state = state.lock().unwrap();
    let (trick, old) = (state.trick, state.passed.last().cloned());
    let part = |from: u64, bytes: Vec<u8>, total: u64| {
        UplinkPage::Part { number, total, from, shared, bytes }.to_cbor()
    };
    let page = match (trick, old) {
        (Trick::None, _) | (_, None) => {
            if bytes.len() as u64 == total {
                state.passed.push(bytes);
            }
            return body;
        }
        (Trick::Change, _) => {
            let mut bytes = bytes;
            let at = bytes.len().saturating_sub(1).min(40);
            bytes[at] ^= 1;
            part(from, bytes, total)
        }
        (Trick::Replay, Some(old)) => {
            let size = old.len() as u64;
            part(0, old, size)
        }
        (Trick::Mix, Some(old)) => {
            let mut mixed = bytes[..bytes.len() / 2].to_vec();
            mixed.extend(&old[old.len() / 2..]);
            let size = mixed.len() as u64;
            part(0, mixed, size)
        }
        (Trick::Gap, _) => part(from + 1, bytes, total),
    };
    let mut out = body[..start].to_vec();
    out.extend(page);
    out
}
