//! A client of servers that other people name.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use tokio::time::timeout;

use super::outward::refusal;
use super::{read, transport, HttpError, HttpLimits, Outward, JSON};
use crate::limits;
use crate::proxy::trusted;
use crate::tls::{client, Trust};

/// A client of servers that other people name. It dials the addresses that [`Outward`] allows and no other: a name is
/// resolved once, each of its addresses must pass, and one of these is dialled. It follows no redirect, uses no proxy, and
/// keeps no connection: a name may lead elsewhere the next time. Cheap to clone.
#[derive(Clone)]
pub struct OutwardClient {
    over_tls: reqwest::Client,
    /// Dials the own networks alone; `None` where nothing is sent in clear.
    in_clear: Option<reqwest::Client>,
    places: Arc<Outward>,
    response_bytes: usize,
}

/// The head of an answer. Its body is text of the receiver, of which nothing is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// The status code.
    pub status: u16,
    /// Seconds for which the receiver wants to be left alone (Retry-After), when it says so by a number.
    pub retry_after: Option<u64>,
}

impl OutwardClient {
    /// A client that believes the authorities of `trust`.
    ///
    /// # Errors
    /// [`HttpError::Tls`].
    pub fn new(places: Outward, trust: &Trust, limits: HttpLimits) -> Result<Self, HttpError> {
        let places = Arc::new(places);
        let client = |own_alone: bool| {
            let resolver = Checked { places: Arc::clone(&places), own_alone };
            let tls = client::config(trust, None, b"http/1.1").map_err(HttpError::Tls)?;
            let client = reqwest::Client::builder()
                .no_proxy()
                .redirect(reqwest::redirect::Policy::none())
                .connect_timeout(limits.connect)
                .timeout(limits.total)
                .pool_max_idle_per_host(0)
                .dns_resolver(Arc::new(resolver))
                .https_only(!own_alone)
                .use_preconfigured_tls(tls)
                .build();
            client.map_err(|error| HttpError::Transport(error.to_string()))
        };
        Ok(Self {
            over_tls: client(false)?,
            in_clear: places.in_clear.then(|| client(true)).transpose()?,
            places,
            response_bytes: limits.response_bytes,
        })
    }

    /// A URL in its own form, checked as far as its text tells.
    ///
    /// # Errors
    /// [`HttpError::BadUrl`], [`HttpError::NotOutward`].
    pub fn checked(&self, url: &str) -> Result<String, HttpError> {
        self.parsed(url).map(String::from)
    }

    /// Scheme, host and port of a URL: what may be told of it, since the rest may hold a secret.
    pub fn origin_of(url: &str) -> Option<String> {
        Some(reqwest::Url::parse(url).ok()?.origin().ascii_serialization())
    }

    /// Posts JSON. The answer counts as soon as its head is there.
    ///
    /// # Errors
    /// [`HttpError`], without a status: every answer is [`Answered`].
    pub async fn post(
        &self,
        url: &str,
        headers: &[(&str, String)],
        json: Vec<u8>,
    ) -> Result<Answered, HttpError> {
        let url = self.parsed(url)?;
        let client = match (url.scheme(), &self.in_clear) {
            ("http", Some(client)) => client,
            ("http", None) => return Err(HttpError::InClear(url.origin().ascii_serialization())),
            _ => &self.over_tls,
        };
        let mut request = client.post(url).header(CONTENT_TYPE, JSON);
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let answer = request.body(json).send().await.map_err(transport)?;
        let later = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let answered = Answered {
            status: answer.status().as_u16(),
            retry_after: later.and_then(|value| value.trim().parse().ok()),
        };
        // A receiver that writes a page is not cut off in the middle of it; a long or slow one is.
        let _ = timeout(limits::HTTP_LEFT_TIME, read(answer, self.response_bytes)).await;
        Ok(answered)
    }

    fn parsed(&self, url: &str) -> Result<reqwest::Url, HttpError> {
        let short = || url.chars().take(limits::HTTP_URL_TOLD).collect();
        let parsed = reqwest::Url::parse(url).map_err(|_| HttpError::BadUrl(short()))?;
        self.places.check(&parsed).map_err(HttpError::NotOutward)?;
        Ok(parsed)
    }
}

/// A resolver whose addresses are all allowed, or that gives none.
struct Checked {
    places: Arc<Outward>,
    /// Only the networks of the settings.
    own_alone: bool,
}

impl Resolve for Checked {
    fn resolve(&self, name: Name) -> Resolving {
        let (places, own_alone) = (Arc::clone(&self.places), self.own_alone);
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let found: Vec<SocketAddr> = found.collect();
            let may = |address: &&SocketAddr| match own_alone {
                true => trusted(&places.networks, address.ip()),
                false => places.allows(address.ip()),
            };
            match found.iter().find(|address| !may(address)) {
                Some(address) => Err(Box::<dyn Error + Send + Sync>::from(refusal(address.ip()))),
                None => Ok(Box::new(found.into_iter()) as Addrs),
            }
        })
    }
}
