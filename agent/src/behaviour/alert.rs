use serde_json::{json, Value};
use tessera_token::ids::{DeviceId, TenantId};
use tessera_token::time::UnixSeconds;

macro_rules! names {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// Topic of a signal.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum SignalName { $($(#[$doc])* $variant,)* }

        impl SignalName {
            /// Every name.
            pub const ALL: &'static [SignalName] = &[$(Self::$variant,)*];

            /// The stable name, in alert, log and metric.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

names! {
    /// The token was presented without its key, or with another.
    StolenToken = "stolen_token",
    /// A proof was presented again.
    ReplayedProof = "replayed_proof",
    /// The device tried to be another.
    Impersonation = "impersonation",
    /// Many refused topics.
    ScopeProbe = "scope_probe",
    /// Many refused requests for tokens.
    RefusedRequests = "refused_requests",
    /// Far more messages than ever.
    PublishFlood = "publish_flood",
    /// Far more bytes than ever.
    DataVolume = "data_volume",
    /// Topics never used before.
    NewTopics = "new_topics",
    /// Several networks within a short time.
    Networks = "networks",
    /// One key at work in two networks at once.
    SharedKey = "shared_key",
    /// Connects again and again.
    Flapping = "flapping",
    /// A rhythm unlike its own.
    Cadence = "cadence",
    /// Active at an hour at which it never was.
    OddHour = "odd_hour",
    /// The proof counter jumped.
    CounterGap = "counter_gap",
    /// Proofs from a wrong clock.
    WrongClock = "wrong_clock",
}

impl SignalName {
    /// Its place in a set of 32.
    pub(super) const fn bit(self) -> u32 {
        1 << self as u32
    }
}

/// One reason, with its numbers in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signal {
    /// Its topic.
    pub name: SignalName,
    /// The numbers, for people.
    pub words: String,
    /// Its part of the score.
    pub weight: u32,
}

/// A device that does not behave as itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// The tenant.
    pub tenant: TenantId,
    /// The device.
    pub device: DeviceId,
    /// 0 to 100.
    pub score: u32,
    /// Why, heaviest first.
    pub signals: Vec<Signal>,
    /// When.
    pub at: UnixSeconds,
}

impl Alert {
    /// The reasons in one line.
    pub fn words(&self) -> String {
        let words: Vec<&str> = self.signals.iter().map(|signal| signal.words.as_str()).collect();
        words.join("; ")
    }

    /// The JSON that is published on `$tessera/alerts`.
    pub fn to_json(&self) -> Value {
        let signals: Vec<Value> = self
            .signals
            .iter()
            .map(|signal| {
                json!({
                    "name": signal.name.as_str(),
                    "words": signal.words,
                    "weight": signal.weight,
                })
            })
            .collect();
        json!({
            "tenant": self.tenant.as_str(),
            "device": self.device.as_str(),
            "score": self.score,
            "at": self.at.get(),
            "words": self.words(),
            "signals": signals,
        })
    }
}
