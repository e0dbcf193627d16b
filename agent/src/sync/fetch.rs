use std::future::Future;
use std::sync::Arc;

use tessera_runtime::clock::SharedClock;
use tessera_runtime::http::{HttpClient, HttpError, HttpLimits, Method, Request, CBOR};
use tessera_token::encoding::base64url;
use tessera_token::limits::{EVENTS_PER_ANSWER, EVENT_BYTES, SNAPSHOT_ANSWER_BYTES};
use tessera_token::refusal::RefusalCode;
use tessera_token::time::UnixSeconds;
use tessera_token::trust::{
    READER_HEADER, ROOT_SET_HEADER, VERIFIER_HEADER, VERIFIER_KIND_HEADER, VERIFIER_SHARED_HEADER,
};

use super::{uplink, Ask, Poll, Stand};
use crate::config::FeedConfig;
use crate::limits;
use crate::namesake::Namesake;
use crate::uplink::Uplink;

/// The answer.
pub(crate) type Answer = Result<Vec<u8>, FetchError>;

/// Why nothing came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FetchError {
    /// The events asked for are no longer there: fetch the snapshot.
    Gone,
    /// Our data lie beyond those of the service, or are another past: show it what it has lost.
    Beyond,
    /// The service does not take the request.
    Refused,
    /// The service has a fault, or no time.
    Status,
    /// The feed token is not accepted.
    NotAllowed,
    Connect,
    /// The certificate of what answers is not believed: the service was not heard.
    NotBelieved,
    Timeout,
    Transport,
    TooLarge,
    /// The parts of an answer do not fit together.
    Broken,
}

impl FetchError {
    /// Meaning of an HTTP status that is no success, and of the refusal code beside it. A proxy may answer in place of the
    /// service: without one of our codes nothing but the account is refused, and the service was not heard.
    pub(crate) fn of_status(status: u16, code: Option<&str>) -> Self {
        match (status, code.and_then(RefusalCode::parse)) {
            (401 | 403, _) => Self::NotAllowed,
            (_, Some(RefusalCode::TrustGone)) => Self::Gone,
            (_, Some(RefusalCode::TrustBeyond)) => Self::Beyond,
            (408 | 429, _) | (_, None) => Self::Status,
            (400..500, Some(_)) => Self::Refused,
            _ => Self::Status,
        }
    }

    pub(crate) const fn reason(self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Beyond => "beyond",
            Self::Refused => "refused",
            Self::Status => "status",
            Self::NotAllowed => "not_allowed",
            Self::Connect => "connect",
            Self::NotBelieved => "not_believed",
            Self::Timeout => "timeout",
            Self::Transport => "transport",
            Self::TooLarge => "too_large",
            Self::Broken => "broken",
        }
    }

    /// Whether the service was heard and cannot be followed. Silence of the service is an outage, under the
    /// budgets of staleness.
    pub(crate) const fn is_lapse(self) -> bool {
        match self {
            Self::Beyond | Self::Refused | Self::NotAllowed => true,
            Self::TooLarge | Self::Broken => true,
            Self::Gone | Self::Status | Self::Connect | Self::NotBelieved => false,
            Self::Timeout | Self::Transport => false,
        }
    }
}

/// The service, as far as the feed is concerned.
#[derive(Clone)]
pub(crate) struct Source {
    carrier: Carrier,
    namesake: Arc<Namesake>,
}

/// How its answers arrive.
#[derive(Clone)]
enum Carrier {
    Http(HttpClient, SharedClock),
    Uplink(Uplink),
}

impl Source {
    pub(crate) fn new(
        config: &FeedConfig,
        clock: SharedClock,
        namesake: Arc<Namesake>,
    ) -> Result<Self, HttpError> {
        let limits = HttpLimits {
            response_bytes: SNAPSHOT_ANSWER_BYTES.max(EVENTS_PER_ANSWER * EVENT_BYTES),
            ..HttpLimits::default()
        };
        let client = HttpClient::new(&config.server, Some(config.token.clone()), limits)?;
        Ok(Self { carrier: Carrier::Http(client, clock), namesake })
    }

    /// The same over a broker.
    pub(crate) fn over(uplink: Uplink, namesake: Arc<Namesake>) -> Self {
        Self { carrier: Carrier::Uplink(uplink), namesake }
    }

    /// Asks once; `evidence` is what is shown.
    pub(crate) fn fetch(
        &self,
        ask: Ask,
        evidence: Vec<u8>,
    ) -> impl Future<Output = Answer> + 'static {
        let Self { carrier, namesake } = self.clone();
        async move {
            let (client, clock) = match carrier {
                Carrier::Http(client, clock) => (client, clock),
                Carrier::Uplink(uplink) => {
                    return uplink::fetch(&uplink, &namesake, ask, evidence).await
                }
            };
            // The service compares its own clock with those of its readers.
            let path = path(ask, clock.unix());
            let request = match ask {
                Ask::Snapshot(_) => {
                    Request::new(Method::Get, &path).within(limits::SYNC_SNAPSHOT_TOTAL)
                }
                // It admits devices under this name: the service tells when another reader does.
                Ask::Events(poll) => {
                    let request = Request::new(Method::Get, &path)
                        .header(VERIFIER_HEADER, namesake.name().as_str())
                        .header(READER_HEADER, namesake.reader())
                        .header(VERIFIER_KIND_HEADER, namesake.kind())
                        .within(limits::SYNC_POLL_TOTAL);
                    match poll.root_set {
                        0 => request,
                        number => request.header(ROOT_SET_HEADER, number.to_string()),
                    }
                }
                Ask::Show => Request::new(Method::Post, &path)
                    .body(CBOR, evidence)
                    .within(limits::SYNC_SNAPSHOT_TOTAL),
            };
            let answer = client.send(request.accept(CBOR)).await.map_err(|error| of(&error))?;
            if matches!(ask, Ask::Events(_)) {
                namesake.hear(answer.header(VERIFIER_SHARED_HEADER).is_some());
            }
            Ok(answer.body)
        }
    }
}

/// Path and query; `clock` is what the reader's clock shows.
pub(crate) fn path(ask: Ask, clock: UnixSeconds) -> String {
    match ask {
        Ask::Snapshot(None) => "/v1/trust/snapshot".to_owned(),
        Ask::Snapshot(Some(stand)) => format!("/v1/trust/snapshot?{}", place(stand)),
        Ask::Events(Poll { stand, nonce, wait, .. }) => {
            let place = place(stand);
            format!("/v1/trust/events?{place}&nonce={nonce}&wait={wait}&clock={clock}")
        }
        Ask::Show => "/v1/trust/known".to_owned(),
    }
}

fn place(Stand { after, head }: Stand) -> String {
    format!("after={after}&head={}", base64url(head.as_bytes()))
}

fn of(error: &HttpError) -> FetchError {
    match error {
        HttpError::Status { status, code, .. } => FetchError::of_status(*status, code.as_deref()),
        HttpError::Connect(_) => FetchError::Connect,
        HttpError::Tls(error) => {
            // Bounded by its cause, as every line is.
            tracing::warn!(%error, "provisioning cannot be asked for trust data");
            FetchError::NotBelieved
        }
        HttpError::Timeout => FetchError::Timeout,
        HttpError::TooLarge { .. } => FetchError::TooLarge,
        _ => FetchError::Transport,
    }
}
