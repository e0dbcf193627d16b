use actix_web::http::header::CACHE_CONTROL;
use actix_web::http::StatusCode;
use actix_web::HttpResponse;
use serde::Deserialize;
use tessera_token::refusal::RefusalCode;
use tessera_token::time::UnixSeconds;

use super::auth::{By, Feed};
use super::input::{App, Query};
use super::problem::Problem;
use super::Answer;
use crate::refused::Refused;
use crate::trust::actor::TakeSnapshot;
use crate::trust::read::{self, News};

const CBOR: &str = "application/cbor";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct After {
    after: u64,
    #[serde(default)]
    wait: u64,
    /// The reader's clock, in seconds.
    clock: Option<u64>,
}

pub(super) async fn snapshot(_by: By<Feed>, app: App) -> Answer {
    let bytes = app.trust.send(TakeSnapshot).await.map_err(Refused::from)??;
    app.store.barrier().await?;
    Ok(cbor(bytes.as_slice().to_vec()))
}

pub(super) async fn events(_by: By<Feed>, app: App, Query(query): Query<After>) -> Answer {
    if let Some(clock) = query.clock {
        app.time.reader_shows(UnixSeconds::new(clock));
    }
    match read::events(&app, query.after, query.wait).await? {
        News::Feed(feed) => Ok(cbor(feed.to_cbor())),
        News::Gone => {
            let gone =
                Refused::because(RefusalCode::NotFound, "these events are gone: take the snapshot");
            Err(Problem::from(gone).with_status(StatusCode::GONE))
        }
    }
}

fn cbor(bytes: Vec<u8>) -> HttpResponse {
    HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-store")).content_type(CBOR).body(bytes)
}
