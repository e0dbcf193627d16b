//! Push refresh: each connected device is handed its next token at about 70 % of the life of the present one.
//!
//! [`refresher`] is the actor of one broker: it holds the [`sessions`] there. [`pace`] says when each session is due,
//! [`shares`] bounds the pushes of each device, [`next_token`] makes the token, [`tessera_runtime::mqtt`] carries it, with the [`identity`]
//! of provisioning itself. [`turn`] says which process pushes to a broker.

mod identity;
mod next_token;
mod pace;
mod refresher;
mod sessions;
mod shares;
mod turn;

use std::sync::Arc;

use hashbrown::HashSet;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::limits::PUSH_BACKOFF;
use crate::push_settings::PushBroker;
use crate::service::Service;
use shares::Shares;

/// Pushes to the brokers of the settings, and to those that are named later, until the service stops and each refresher
/// has given its turn back.
pub(crate) async fn run(service: Arc<Service>, mut later: mpsc::Receiver<PushBroker>) {
    let mut known = HashSet::new();
    let shares = Arc::new(Shares::default());
    let mut refreshers = JoinSet::new();
    let mut begin = |refreshers: &mut JoinSet<()>, broker: PushBroker| {
        if known.insert(broker.clone()) {
            refreshers.spawn_local(supervised(Arc::clone(&service), Arc::clone(&shares), broker));
        }
    };
    for broker in service.config.push.brokers.iter().cloned() {
        begin(&mut refreshers, broker);
    }
    let stop = service.stop.clone();
    loop {
        tokio::select! {
            Some(broker) = later.recv() => begin(&mut refreshers, broker),
            () = stop.stopping() => break,
        }
    }
    while refreshers.join_next().await.is_some() {}
}

/// Begins anew when the refresher of a broker panics: nothing that it knew is needed.
async fn supervised(service: Arc<Service>, shares: Arc<Shares>, broker: PushBroker) {
    loop {
        let mut run = JoinSet::new();
        run.spawn_local(refresher::run(Arc::clone(&service), Arc::clone(&shares), broker.clone()));
        match run.join_next().await {
            Some(Err(error)) if error.is_panic() => {}
            _ => return,
        }
        tracing::error!(%broker, "the refresher of this broker has panicked: it begins anew");
        tokio::select! {
            () = tokio::time::sleep(PUSH_BACKOFF.1) => {}
            () = service.stop.stopping() => return,
        }
    }
}
