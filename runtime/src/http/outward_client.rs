//! A client of servers that other people name.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::CONTENT_TYPE;

use super::outward::refusal;
use super::{read, transport, HttpError, HttpLimits, HttpResponse, Outward, JSON};
use crate::limits;
use crate::tls::{client, Trust};

/// A client of servers that other people name. It dials the addresses that [`Outward`] allows and no other: a name is
/// resolved once, each of its addresses must pass, and one of these is dialled. It follows no redirect, uses no proxy, and
/// keeps no connection: a name may lead elsewhere the next time. Cheap to clone.
#[derive(Clone)]
pub struct OutwardClient {
    client: reqwest::Client,
    places: Arc<Outward>,
    response_bytes: usize,
}

impl OutwardClient {
    /// A client that believes the authorities of `trust`.
    ///
    /// # Errors
    /// [`HttpError::Tls`].
    pub fn new(places: Outward, trust: &Trust, limits: HttpLimits) -> Result<Self, HttpError> {
        let places = Arc::new(places);
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(limits.connect)
            .timeout(limits.total)
            .pool_max_idle_per_host(0)
            .dns_resolver(Arc::new(Checked(Arc::clone(&places))))
            .https_only(!places.in_clear)
            .use_preconfigured_tls(
                client::config(trust, None, b"http/1.1").map_err(HttpError::Tls)?,
            )
            .build()
            .map_err(|error| HttpError::Transport(error.to_string()))?;
        Ok(Self { client, places, response_bytes: limits.response_bytes })
    }

    /// Checks a URL as far as its text tells.
    ///
    /// # Errors
    /// [`HttpError::BadUrl`], [`HttpError::NotOutward`].
    pub fn check(&self, url: &str) -> Result<(), HttpError> {
        self.parsed(url).map(drop)
    }

    /// Scheme, host and port of a URL: what may be told of it, since the rest may hold a secret.
    pub fn origin_of(url: &str) -> Option<String> {
        Some(reqwest::Url::parse(url).ok()?.origin().ascii_serialization())
    }

    /// Posts JSON.
    ///
    /// # Errors
    /// [`HttpError`]; every status of 400 and above is [`HttpError::Status`].
    pub async fn post(
        &self,
        url: &str,
        headers: &[(&str, String)],
        json: Vec<u8>,
    ) -> Result<HttpResponse, HttpError> {
        let mut request = self.client.post(self.parsed(url)?).header(CONTENT_TYPE, JSON);
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let answer = request.body(json).send().await.map_err(transport)?;
        let response = read(answer, self.response_bytes).await?;
        match response.status {
            0..=299 => Ok(response),
            300..=399 => {
                let location = response.header("location").unwrap_or("nowhere");
                Err(HttpError::Redirected(location.chars().take(256).collect()))
            }
            _ => Err(HttpError::of_status(response)),
        }
    }

    fn parsed(&self, url: &str) -> Result<reqwest::Url, HttpError> {
        let short = || url.chars().take(limits::HTTP_URL_TOLD).collect();
        let parsed = reqwest::Url::parse(url).map_err(|_| HttpError::BadUrl(short()))?;
        self.places.check(&parsed).map_err(HttpError::NotOutward)?;
        Ok(parsed)
    }
}

/// A resolver whose addresses are all allowed, or that gives none.
struct Checked(Arc<Outward>);

impl Resolve for Checked {
    fn resolve(&self, name: Name) -> Resolving {
        let places = Arc::clone(&self.0);
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let found: Vec<SocketAddr> = found.collect();
            match found.iter().find(|address| !places.allows(address.ip())) {
                Some(address) => Err(Box::<dyn Error + Send + Sync>::from(refusal(address.ip()))),
                None => Ok(Box::new(found.into_iter()) as Addrs),
            }
        })
    }
}
