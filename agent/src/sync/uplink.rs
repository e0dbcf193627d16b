//! The questions of the synchronisation over the uplink of a gateway. The answers are the same bytes as those over HTTPS.

use tessera_token::encoding::hex;
use tessera_token::limits::{SNAPSHOT_ANSWER_BYTES, UPLINK_BYTES};
use tessera_token::refusal::RefusalCode;
use tessera_token::trust::{UplinkAsk, UplinkPoll, UPLINK_EVENTS_BYTES};

use super::{Answer, Ask, FetchError, Poll, Stand};
use crate::limits;
use crate::namesake::Namesake;
use crate::uplink::{Uplink, UplinkFault};

/// Bytes of a call around the evidence that it shows.
const AROUND: usize = 64;

/// Asks once.
pub(super) async fn fetch(
    uplink: &Uplink,
    namesake: &Namesake,
    ask: Ask,
    evidence: Vec<u8>,
) -> Answer {
    let place = |stand: Stand| (stand.after, stand.head);
    let (question, bounds) = match ask {
        Ask::Snapshot(stand) => {
            let most = (SNAPSHOT_ANSWER_BYTES, limits::SYNC_SNAPSHOT_TOTAL);
            (UplinkAsk::Snapshot(stand.map(place)), most)
        }
        Ask::Events(Poll { stand, nonce, wait, root_set, .. }) => {
            let reader = reader(namesake).ok_or(FetchError::Transport)?;
            let (stand, verifier) = (place(stand), namesake.name().clone());
            let poll = UplinkPoll { stand, nonce, wait, root_set, verifier, reader };
            (UplinkAsk::Events(poll), (UPLINK_EVENTS_BYTES, limits::SYNC_POLL_TOTAL))
        }
        // The broker reads the feed itself, and shows what it knows.
        Ask::Show if evidence.len() > UPLINK_BYTES - AROUND => return Err(FetchError::Refused),
        Ask::Show => (UplinkAsk::Show(evidence), (0, limits::SYNC_SNAPSHOT_TOTAL)),
    };
    let given = uplink.ask(question, bounds).await.map_err(of)?;
    if matches!(ask, Ask::Events(_)) {
        namesake.hear(given.shared);
    }
    Ok(given.bytes)
}

/// The name of this process among the readers of the feed.
fn reader(namesake: &Namesake) -> Option<[u8; 16]> {
    hex::decode(namesake.reader()).and_then(|bytes| bytes.try_into().ok())
}

fn of(fault: UplinkFault) -> FetchError {
    match fault {
        UplinkFault::Refused(code) => of_code(code),
        UplinkFault::NotAllowed => FetchError::NotAllowed,
        UplinkFault::Away => FetchError::Connect,
        UplinkFault::NotBelieved => FetchError::NotBelieved,
        UplinkFault::Timeout => FetchError::Timeout,
        UplinkFault::Broken => FetchError::Broken,
        UplinkFault::Lost => FetchError::Transport,
    }
}

fn of_code(code: RefusalCode) -> FetchError {
    match code {
        RefusalCode::TrustGone => FetchError::Gone,
        RefusalCode::TrustBeyond => FetchError::Beyond,
        RefusalCode::KeyNotProved | RefusalCode::PublishNotAuthorised => FetchError::NotAllowed,
        // The answer that was being taken is there no more: it is asked for anew.
        RefusalCode::NotFound | RefusalCode::RateLimited => FetchError::Status,
        code if code.is_of_the_server() => FetchError::Status,
        _ => FetchError::Refused,
    }
}
