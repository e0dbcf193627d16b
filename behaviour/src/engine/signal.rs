//! The signals: each has a name that does not change, a share of the budget, and words.

use crate::alert::Severity;

macro_rules! signals {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $evidence:literal, $severity:ident;)*) => {
        /// A reason for an alert.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum SignalName { $($(#[$doc])* $variant,)* }

        impl SignalName {
            /// Every signal.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The stable name.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Whether it speaks of an act that habits do not explain, so that no change of a group excuses it.
            pub const fn is_evidence(self) -> bool {
                match self { $(Self::$variant => $evidence,)* }
            }

            /// The severity of an alert that it opens.
            pub const fn severity(self) -> Severity {
                match self { $(Self::$variant => Severity::$severity,)* }
            }
        }
    };
}

signals! {
    /// The token was shown without the device's key.
    StolenToken = "stolen_token", true, High;
    /// A token was shown under the name of another device.
    Impersonation = "impersonation", true, High;
    /// A proof that was used before was shown.
    ReplayedProof = "replayed_proof", true, High;
    /// Topics of others, topics of the system or wide filters were asked for.
    ForeignTopics = "foreign_topics", true, High;
    /// Two programs take turns in the name of one device.
    TwoHolders = "two_holders", true, High;
    /// Two sessions of one device work at the same time.
    SharedCredential = "shared_credential", true, High;
    /// The device moves to and fro between networks.
    Alternation = "alternation", true, Moderate;
    /// It connects from a country that is new to its group, while it is elsewhere.
    ForeignPlace = "foreign_place", true, Moderate;
    /// Sessions break the protocol.
    ProtocolFaults = "protocol_faults", true, Moderate;
    /// Sessions that say nothing and are never to end.
    IdleSessions = "idle_sessions", true, Moderate;
    /// Requests are refused again and again.
    Refusals = "refusals", true, Moderate;
    /// A service commands devices that it never commanded, at an hour at which it never works.
    OddTargets = "odd_targets", true, High;
    /// A service commands more devices that it never commanded than it does usually.
    NewTargets = "new_targets", true, High;
    /// Many more messages in ten seconds than ever.
    Flood = "flood", false, High;
    /// Many more bytes in five minutes than ever.
    Burst = "burst", false, Moderate;
    /// Many more messages in five minutes than ever.
    BurstOfMessages = "burst_of_messages", false, Moderate;
    /// More bytes in an hour.
    Volume = "volume", false, Moderate;
    /// Larger messages.
    Size = "size", false, Moderate;
    /// More messages while it is active.
    Pace = "pace", false, Moderate;
    /// Other topics than usual.
    Mix = "topic_mix", false, Moderate;
    /// Topics that it never used.
    NewTopics = "new_topics", false, Moderate;
    /// More than it sent weeks ago.
    Drift = "drift", false, Moderate;
    /// More connects.
    Connects = "connects", false, Moderate;
    /// More subscriptions.
    Subscriptions = "subscriptions", false, Moderate;
    /// More than the role of a device allows that has no habits yet.
    Stranger = "above_group", false, Moderate;
    /// More bytes are sent to it.
    Received = "received", false, Moderate;
    /// A young device whose level is far from those of its group.
    Unlike = "unlike_group", false, Moderate;
}

impl SignalName {
    /// Its bit in a set of signals.
    pub(super) const fn bit(self) -> u32 {
        1 << self as u8
    }
}

/// A signal that passed its threshold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Alarm {
    pub(super) signal: SignalName,
    /// The natural logarithm of the evidence.
    pub(super) evidence: f32,
    /// Since when, in seconds of the engine's time.
    pub(super) since: u32,
    /// The number that was seen, and the one that was expected.
    pub(super) seen: f32,
    pub(super) usual: f32,
    /// Whether it is so large that it is told before peers are asked.
    pub(super) is_loud: bool,
}

impl Alarm {
    /// Whether a device without habits passed a ceiling: no change of a group explains that.
    pub(super) fn is_of_ceiling(&self) -> bool {
        matches!(self.signal, SignalName::Flood | SignalName::Burst) && self.usual <= 0.0
    }
}
