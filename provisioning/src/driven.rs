//! The service without a socket, for simulations (feature `testing`): a request goes through the same routes, guards and
//! handlers, and nothing runs by itself. Needs a running actix system.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use actix_web::dev::Service as _;
use actix_web::http::Method;
use actix_web::test::{init_service, TestRequest};
use actix_web::{body, web, App};
use tessera_runtime::clock::SharedClock;
use tessera_runtime::metrics::Metrics;
use tessera_runtime::random::SharedRandom;
use tessera_runtime::sql::Batch;
use tessera_runtime::stop::Stop;
use tessera_token::key::Thumbprint;
use tessera_token::refusal::RefusalCode;

use crate::audit::actor::ChainPending;
use crate::config::ProvisioningConfig;
use crate::service::Service;
use crate::start::{prepare, Parts};
use crate::start_error::StartError;
use crate::{rest, sweep};

/// A request as it would come in over HTTP.
#[derive(Clone, Debug)]
pub struct Call {
    /// Whether it is a POST; a GET otherwise.
    pub post: bool,
    /// Path and query.
    pub path: String,
    /// `Content-Type` and `Accept`.
    pub media: &'static str,
    /// The operator token, when one is shown.
    pub bearer: Option<String>,
    /// The body.
    pub body: Vec<u8>,
}

type Answer = Pin<Box<dyn Future<Output = (u16, Vec<u8>)>>>;

/// A service that does nothing but what it is told.
pub struct Driven {
    service: Arc<Service>,
    root: Thumbprint,
    app: Rc<dyn Fn(TestRequest) -> Answer>,
    cursors: sweep::Cursors,
}

impl Driven {
    /// Opens or founds the service in its folder.
    ///
    /// # Errors
    /// As at every start.
    pub async fn open(
        config: ProvisioningConfig,
        clock: SharedClock,
        random: SharedRandom,
    ) -> Result<Self, StartError> {
        config.check()?;
        let parts = Parts { config, clock, random, metrics: Metrics::new(), stop: Stop::new() };
        let (service, handle) = prepare(parts).await?;
        let app = App::new()
            .app_data(web::Data::from(Arc::clone(&service)))
            .configure(rest::configure)
            .default_service(web::to(rest::nothing_here));
        let app = Rc::new(init_service(app).await);
        let app = move |request: TestRequest| -> Answer {
            let answer = app.call(request.to_request());
            Box::pin(async move {
                match answer.await {
                    Ok(answer) => {
                        let status = answer.status().as_u16();
                        let body = body::to_bytes(answer.into_body()).await;
                        (status, body.map(|bytes| bytes.to_vec()).unwrap_or_default())
                    }
                    Err(error) => (error.as_response_error().status_code().as_u16(), Vec::new()),
                }
            })
        };
        Ok(Self {
            service,
            root: handle.root_thumbprint(),
            app: Rc::new(app),
            cursors: sweep::Cursors::default(),
        })
    }

    /// The thumbprint that readers pin.
    pub fn root_thumbprint(&self) -> Thumbprint {
        self.root
    }

    /// Status and body of the answer. The request is done when the future is polled to its end.
    pub fn call(&self, call: &Call) -> impl Future<Output = (u16, Vec<u8>)> + 'static {
        let method = if call.post { Method::POST } else { Method::GET };
        let mut request = TestRequest::default()
            .method(method)
            .uri(&call.path)
            .peer_addr(([127, 0, 0, 1], 9).into())
            .insert_header(("content-type", call.media))
            .insert_header(("accept", call.media))
            .set_payload(call.body.clone());
        if let Some(token) = &call.bearer {
            request = request.insert_header(("authorization", format!("Bearer {token}")));
        }
        (self.app)(request)
    }

    /// One round of the sweeper.
    ///
    /// # Errors
    /// The code of what ended the round early.
    pub async fn sweep(&mut self) -> Result<(), RefusalCode> {
        let swept = sweep::once(&self.service, &mut self.cursors).await;
        swept.map_err(|refused| refused.code)
    }

    /// Returns when what the actors were told before is done.
    pub async fn settle(&self) {
        // A database that does not write is told by the next request.
        let _ = self.service.audit.send(ChainPending).await;
    }

    /// As a disk on which the database finds room for so many pages more; `None`: for all.
    pub fn set_room(&self, pages: Option<u32>) {
        // A closed database takes none.
        let _ = self.service.database.set_room(pages);
    }

    /// Asks the database whether there is room on its disk again, as it does by itself from time to time. Whether it writes.
    pub async fn look_for_room(&self) -> bool {
        let database = &self.service.database;
        database.commit(Batch::new()).await.is_ok() && database.is_healthy()
    }

    /// Ends the service in order.
    pub async fn close(self) {
        self.settle().await;
        let Service { time, database, tables, .. } = &*self.service;
        let _ = time.store(database, tables, true).await;
        let _ = database.close().await;
    }

    /// Lets go of the files without the order of a stop, as far as a process can do it to itself. The folder may be
    /// copied before: it then holds what `kill -9` would have left.
    pub fn abandon(self) {
        let _ = self.service.database.close_blocking();
    }
}
