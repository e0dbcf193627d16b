//! The work of a running service: it answers until it stops, and its tasks go on beside.

use std::sync::Arc;

use actix_web::dev::Server;
use tessera_runtime::derivation;
use tessera_token::proof::DerivationKeys;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::limits::{MODULE_LOOK_EVERY, PUSH_STOP};
use crate::push_settings::PushBroker;
use crate::service::Service;
use crate::{push, sweep, webhooks};

/// Answers until the service stops.
pub(super) async fn serve(
    service: &Arc<Service>,
    server: Server,
    later: mpsc::Receiver<PushBroker>,
) {
    let stopper = server.handle();
    let stop = service.stop.clone();
    actix_rt::spawn(async move {
        stop.stopping().await;
        stopper.stop(true).await;
    });
    let sweeping = Arc::clone(service);
    let sweeper = actix_rt::spawn(async move { sweep::run(&sweeping).await });
    follow_derivation_keys(service);
    follow_module(service);
    let mut pushing = actix_rt::spawn(push::run(Arc::clone(service), later));
    let webhooks = actix_rt::spawn(webhooks::run(Arc::clone(service)));
    if let Err(error) = server.await {
        tracing::error!(%error, "HTTP server");
    }
    sweeper.abort();
    webhooks.abort();
    // It gives back its turns at brokers before the database is closed, and no token is being made any more.
    let is_over = service.stop.is_stopping() && timeout(PUSH_STOP, &mut pushing).await.is_ok();
    if !is_over {
        pushing.abort();
    }
}

/// A module that was lost is found lost, and found again, without a device that asks for a token.
fn follow_module(service: &Arc<Service>) {
    if service.config.pkcs11.is_none() {
        return;
    }
    let service = Arc::clone(service);
    actix_rt::spawn(async move {
        loop {
            tokio::select! {
                () = tokio::time::sleep(MODULE_LOOK_EVERY) => {}
                () = service.stop.stopping() => return,
            }
            service.issuer_keys.look().await;
            service.metrics.module(service.issuer_keys.fault().as_ref());
        }
    });
}

fn follow_derivation_keys(service: &Arc<Service>) {
    let Some(path) = service.config.derivation_key_file.clone() else { return };
    let (audience, stop) = (service.config.audience.clone(), service.stop.clone());
    let holder = Arc::clone(service);
    let take = move |keys: DerivationKeys| {
        let mut present = holder.derivation.write();
        if !present.ids().eq(keys.ids()) {
            tracing::info!(newest = ?keys.ids().next(), "new derivation keys");
            *present = keys;
        }
    };
    actix_rt::spawn(derivation::watch(path, audience, stop, take));
}
