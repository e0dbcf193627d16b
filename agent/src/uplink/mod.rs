//! The uplink of a gateway: trust data and alerts travel over its own MQTT connection to a broker, which carries them to
//! provisioning and back (`$tessera/trust`). The broker is believed in nothing: what arrives is verified as what comes over
//! HTTPS, and a token that it hands over is kept when this verifier itself would take it.
//!
//! [`mod@line`] is the connection, opened by the first call and again by the first one after its end. [`held`] is the token
//! in the folder of the device that the gateway is.

mod held;
mod line;
mod renewal;

use std::fmt;
use std::time::Duration;

use tessera_runtime::clock::SharedClock;
use tessera_runtime::random::SharedRandom;
use tessera_runtime::stop::Stop;
use tessera_token::refusal::RefusalCode;
use tessera_token::trust::UplinkAsk;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::config::UplinkConfig;
use crate::limits::UPLINK_CALLS;
use crate::validator::Validator;

use line::Line;

/// Why a call has no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum UplinkFault {
    /// The service or the broker refuses the call.
    Refused(RefusalCode),
    /// The broker does not let this gateway in, or its token does not open the topic.
    NotAllowed,
    /// There is no way to the broker.
    Away,
    /// The certificate of the broker is not believed.
    NotBelieved,
    /// No answer came in time.
    Timeout,
    /// The parts of the answer do not fit together, or are larger than any answer.
    Broken,
    /// The connection ended.
    Lost,
}

impl fmt::Display for UplinkFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(code) => write!(f, "{code}: {}", code.words()),
            Self::NotAllowed => f.write_str(
                "the broker does not let this gateway in, or its role does not name $tessera/trust",
            ),
            Self::Away => f.write_str("the broker cannot be reached"),
            Self::NotBelieved => f.write_str("the certificate of the broker is not believed"),
            Self::Timeout => f.write_str("no answer in time"),
            Self::Broken => f.write_str("the parts of the answer do not fit together"),
            Self::Lost => f.write_str("the connection to the broker ended"),
        }
    }
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Given {
    pub(crate) bytes: Vec<u8>,
    /// Whether another reader of the feed has the name of this verifier.
    pub(crate) shared: bool,
}

/// A call that waits for the line.
struct Call {
    ask: UplinkAsk,
    /// Bytes of the answer, at most.
    most: usize,
    answer: oneshot::Sender<Result<Given, UplinkFault>>,
}

/// The uplink. Clones share the connection.
#[derive(Clone)]
pub(crate) struct Uplink {
    calls: mpsc::Sender<Call>,
}

impl Uplink {
    /// An uplink whose connection lasts until `stop`. Needs a running tokio.
    pub(crate) fn start(
        config: UplinkConfig,
        clock: SharedClock,
        random: SharedRandom,
        validator: Validator,
        stop: &Stop,
    ) -> Self {
        let (calls, asked) = mpsc::channel(UPLINK_CALLS);
        let line = Line::new(config, clock, random, validator, stop.clone());
        stop.spawn("agent uplink", line.run(asked));
        Self { calls }
    }

    /// Asks once.
    pub(crate) async fn ask(
        &self,
        ask: UplinkAsk,
        (most, within): (usize, Duration),
    ) -> Result<Given, UplinkFault> {
        let (answer, told) = oneshot::channel();
        let asking = async {
            let call = Call { ask, most, answer };
            self.calls.send(call).await.map_err(|_| UplinkFault::Lost)?;
            told.await.map_err(|_| UplinkFault::Lost)?
        };
        timeout(within, asking).await.map_err(|_| UplinkFault::Timeout)?
    }
}
