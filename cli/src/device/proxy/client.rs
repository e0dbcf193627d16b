//! One local client, from its CONNECT to its end.

use std::sync::Arc;

use tessera_broker::codec::{Connect, FrameReader, Kind, ReasonCode, Step, Version};
use tessera_runtime::stop::Stop;
use tessera_runtime::tls::Carried;
use tessera_simulators::mqtt::{ByteStream, BytesMut, Turn};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::connect::{self, NotTaken};
use super::keeping::{Keeping, Outbox};
use super::limits::{
    CONNECT_BYTES, CONNECT_WITHIN, LAST_BYTES_WITHIN, RENEWAL_WAITING, WAITING_BYTES,
};
use super::names::Names;
use super::packets::{refusal, unknown_version};
use super::pump::{Left, Pump};
use super::upstream::{NotOpened, Opened, Upstream};

/// Characters of a client's own id that the log shows.
const SHOWN: usize = 64;

/// The parts that all clients share.
pub(super) struct Proxy {
    pub(super) upstream: Upstream,
    pub(super) names: Names,
}

/// Serves a client until it leaves.
pub(super) async fn serve(local: Carried, proxy: Arc<Proxy>, stop: Stop) {
    let mut local = ByteStream::over(local);
    let (connect, mut came) = match timeout(CONNECT_WITHIN, first(&mut local)).await {
        Ok(Ok(first)) => first,
        Ok(Err(None)) => return,
        Ok(Err(Some(fault))) => return not_taken(local, fault).await,
        Err(_) => return tracing::info!("client turned away: no CONNECT in time"),
    };
    let client: String = connect.client_id.chars().take(SHOWN).collect();
    let Ok(name) = proxy.names.take(&connect.client_id) else {
        tracing::info!(client, "client turned away: the part behind ~ is no suffix of a client id");
        return say(local, &refusal(connect.version, ReasonCode::CLIENT_ID_NOT_VALID)).await;
    };
    let client_id = name.as_str();
    let opened = tokio::select! {
        opened = proxy.upstream.open(&connect, client_id) => opened,
        () = gone(&mut local, &mut came) => {
            return tracing::info!(client_id, client, "client left before it had a connection");
        }
        () = stop.stopping() => Err(NotOpened::Away("the proxy stops".to_owned())),
    };
    let opened = match opened {
        Ok(opened) => opened,
        Err(why) => return say(local, &told(&connect, client_id, why)).await,
    };
    tracing::info!(client_id, client, "client came");
    attend(&proxy, &connect, client_id, (local, came), opened, &stop).await;
}

/// The end of a client that waits: its place is for others. Its packets are read as far as they may wait.
async fn gone(local: &mut ByteStream, came: &mut BytesMut) {
    let mut nothing = BytesMut::new();
    while came.len() < WAITING_BYTES {
        match local.turn(came, WAITING_BYTES, &mut nothing).await {
            Ok(Turn::Read | Turn::Wrote) => {}
            Ok(Turn::Ended) | Err(_) => return,
        }
    }
    std::future::pending().await
}

/// Passes packets on and keeps the token fresh, until one side ends it.
async fn attend(
    proxy: &Proxy,
    connect: &Connect,
    client_id: &str,
    (local, came): (ByteStream, BytesMut),
    opened: Opened,
    stop: &Stop,
) {
    let (asks, asked) = mpsc::channel(RENEWAL_WAITING);
    let (hears, heard) = mpsc::channel(RENEWAL_WAITING);
    let shown = opened.token.clone();
    let mut pump = Pump::new(connect, local, came, opened);
    let keeping = Keeping { upstream: &proxy.upstream, client_id, outbox: Outbox(asks), heard };
    let left = tokio::select! {
        left = pump.run(asked, hears, stop) => left,
        // It renews without an end.
        () = keeping.run(&shown) => Left::Stopped,
    };
    tell(client_id, &left);
    pump.end(&left).await;
    // Not authorised, administrative action: MQTT tells no more, provisioning does.
    if matches!(left, Left::Broker { reason: Some(0x87 | 0x98), refusal: None }) {
        proxy.upstream.renew_or_tell(client_id).await;
    }
}

fn tell(client_id: &str, left: &Left) {
    match left {
        Left::Client { said_goodbye } => tracing::info!(client_id, said_goodbye, "client left"),
        Left::Broker { reason, refusal: Some((code, words)) } => {
            let reason = reason.map(|reason| format!("{reason:#04x}")).unwrap_or_default();
            tracing::warn!(
                client_id,
                code,
                words,
                reason,
                "refused: the broker ended the connection"
            );
        }
        Left::Broker { reason: Some(reason), .. } => {
            let reason = format!("{reason:#04x}");
            tracing::warn!(client_id, reason, "client left: the broker ended the connection");
        }
        Left::Broker { reason: None, .. } => {
            tracing::warn!(client_id, "client left: the connection to the broker is lost");
        }
        Left::ClientMalformed => tracing::warn!(client_id, "client left: it sent no MQTT"),
        Left::BrokerMalformed => tracing::warn!(client_id, "client left: the broker sent no MQTT"),
        Left::Idle => tracing::info!(client_id, "client left: nothing moved for too long"),
        Left::Stopped => tracing::info!(client_id, "client left: the proxy stops"),
    }
}

/// The CONNACK for a client without a connection; the log has the reason.
fn told(connect: &Connect, client_id: &str, why: NotOpened) -> Vec<u8> {
    match why {
        NotOpened::Refused(connack) => connack,
        NotOpened::NoToken(fault) => {
            let next = fault.what_next().unwrap_or_default();
            tracing::error!(client_id, reason = fault.words(), next, "refused: no token");
            refusal(connect.version, ReasonCode::NOT_AUTHORIZED)
        }
        NotOpened::Away(reason) => {
            tracing::warn!(client_id, reason, "client turned away: no connection to the broker");
            refusal(connect.version, ReasonCode::SERVER_UNAVAILABLE)
        }
    }
}

/// The CONNECT, and the bytes behind it. `None`: the client has gone.
async fn first(local: &mut ByteStream) -> Result<(Connect, BytesMut), Option<NotTaken>> {
    let (mut came, mut goes) = (BytesMut::new(), BytesMut::new());
    let reader = FrameReader::new(CONNECT_BYTES);
    loop {
        if !matches!(reader.peek_kind(&came), Ok(Some(Kind::Connect) | None)) {
            return Err(Some(NotTaken::NoConnect("first_packet_not_connect")));
        }
        let next = reader.next(&mut came).map_err(|error| NotTaken::NoConnect(error.rule));
        if let Step::Frame(frame) = next? {
            return Ok((connect::read(&frame)?, came));
        }
        match local.turn(&mut came, CONNECT_BYTES, &mut goes).await {
            Ok(Turn::Read | Turn::Wrote) => {}
            Ok(Turn::Ended) | Err(_) => return Err(None),
        }
    }
}

async fn not_taken(local: ByteStream, fault: NotTaken) {
    match fault {
        NotTaken::NoConnect(rule) => {
            tracing::info!(rule, "client turned away: its first packet is no good CONNECT");
        }
        NotTaken::ClientId => {
            tracing::info!("client turned away: no client id, and no clean session");
            say(local, &refusal(Version::V311, ReasonCode::CLIENT_ID_NOT_VALID)).await;
        }
        NotTaken::Version => {
            tracing::info!("client turned away: it speaks neither MQTT 3.1.1 nor 5");
            say(local, &unknown_version()).await;
        }
        NotTaken::Method => {
            tracing::info!("client turned away: it wants enhanced authentication");
            say(local, &refusal(Version::V5, ReasonCode::BAD_AUTHENTICATION_METHOD)).await;
        }
    }
}

/// The last packet to a client.
async fn say(mut local: ByteStream, packet: &[u8]) {
    let last = async {
        let (mut came, mut goes) = (BytesMut::new(), BytesMut::from(packet));
        while !goes.is_empty() {
            if local.turn(&mut came, 0, &mut goes).await.is_err() {
                return;
            }
        }
        local.close().await;
    };
    let _ = timeout(LAST_BYTES_WITHIN, last).await;
}
