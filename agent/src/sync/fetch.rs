use std::future::Future;

use tessera_runtime::clock::SharedClock;
use tessera_runtime::http::{HttpClient, HttpError, HttpLimits, Method, Request, CBOR};
use tessera_token::limits::{EVENTS_PER_ANSWER, EVENT_BYTES, SNAPSHOT_BYTES};
use tessera_token::time::UnixSeconds;

use super::Ask;
use crate::config::FeedConfig;
use crate::limits;

/// What came back.
pub(crate) type Answer = Result<Vec<u8>, FetchError>;

/// Why nothing came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FetchError {
    /// The events asked for are no longer there: fetch the snapshot.
    Gone,
    /// Another status.
    Status,
    /// The feed token is not accepted.
    NotAllowed,
    Connect,
    Timeout,
    Transport,
    TooLarge,
}

impl FetchError {
    pub(crate) const fn reason(self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Status => "status",
            Self::NotAllowed => "not_allowed",
            Self::Connect => "connect",
            Self::Timeout => "timeout",
            Self::Transport => "transport",
            Self::TooLarge => "too_large",
        }
    }
}

/// The service, as far as the feed is concerned.
#[derive(Clone)]
pub(crate) struct Source {
    client: HttpClient,
    clock: SharedClock,
}

impl Source {
    pub(crate) fn new(config: &FeedConfig, clock: SharedClock) -> Result<Self, HttpError> {
        let limits = HttpLimits {
            response_bytes: SNAPSHOT_BYTES.max(EVENTS_PER_ANSWER * EVENT_BYTES),
            ..HttpLimits::default()
        };
        let client = HttpClient::new(&config.url, Some(config.token.clone()), limits)?;
        Ok(Self { client, clock })
    }

    /// Asks once.
    pub(crate) fn fetch(&self, ask: Ask) -> impl Future<Output = Answer> + 'static {
        // The service compares its own clock with those of its readers.
        let (client, clock) = (self.client.clone(), self.clock.clone());
        async move {
            let path = ask.path(limits::SYNC_WAIT_SECONDS, clock.unix());
            let total = match ask {
                Ask::Snapshot => limits::SYNC_SNAPSHOT_TOTAL,
                Ask::Events(_) => limits::SYNC_POLL_TOTAL,
            };
            let request = Request::new(Method::Get, &path).accept(CBOR).within(total);
            let answer = client.send(request).await.map_err(|error| of(&error))?;
            Ok(answer.body)
        }
    }
}

impl Ask {
    /// Path and query; `wait` is the seconds that the service may wait for news, `clock` what the reader's clock shows.
    pub(crate) fn path(self, wait: u64, clock: UnixSeconds) -> String {
        match self {
            Self::Snapshot => "/v1/trust/snapshot".to_owned(),
            Self::Events(after) => {
                format!("/v1/trust/events?after={after}&wait={wait}&clock={clock}")
            }
        }
    }
}

fn of(error: &HttpError) -> FetchError {
    match error {
        HttpError::Status { status: 410, .. } => FetchError::Gone,
        HttpError::Status { status: 401 | 403, .. } => FetchError::NotAllowed,
        HttpError::Status { .. } => FetchError::Status,
        HttpError::Connect(_) => FetchError::Connect,
        HttpError::Timeout => FetchError::Timeout,
        HttpError::TooLarge { .. } => FetchError::TooLarge,
        _ => FetchError::Transport,
    }
}
