//! Push refresh: each connected device is handed its next token at about 70 % of the life of the present one.
//!
//! [`refresher`] is the actor of one broker; [`pace`] says when each session is due, [`next_token`] makes the token,
//! [`mqtt`] carries it, with the [`identity`] of provisioning itself. [`turn`] says which process pushes to a broker.

mod identity;
mod mqtt;
mod next_token;
mod pace;
mod refresher;
mod turn;

use std::sync::Arc;

use hashbrown::HashSet;
use tokio::sync::mpsc;

use crate::limits::PUSH_BACKOFF;
use crate::push_settings::PushBroker;
use crate::service::Service;

/// Pushes to the brokers of the settings, and to those that are named later, until the service stops.
pub(crate) async fn run(service: Arc<Service>, mut later: mpsc::Receiver<PushBroker>) {
    let mut known = HashSet::new();
    let mut begin = |broker: PushBroker| {
        if known.insert(broker.clone()) {
            actix_rt::spawn(supervised(Arc::clone(&service), broker));
        }
    };
    service.config.push.brokers.iter().cloned().for_each(&mut begin);
    let stop = service.stop.clone();
    loop {
        tokio::select! {
            broker = later.recv() => match broker {
                Some(broker) => begin(broker),
                None => return,
            },
            () = stop.stopping() => return,
        }
    }
}

/// Begins anew when the refresher of a broker panics: nothing that it knew is needed.
async fn supervised(service: Arc<Service>, broker: PushBroker) {
    loop {
        let run = actix_rt::spawn(refresher::run(Arc::clone(&service), broker.clone()));
        if run.await.is_ok() {
            return;
        }
        tracing::error!(%broker, "the refresher of this broker has panicked: it begins anew");
        tokio::time::sleep(PUSH_BACKOFF.1).await;
    }
}
