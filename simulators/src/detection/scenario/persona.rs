//! Personas: how devices of a kind behave, in numbers alone.

use serde::Deserialize;

use super::number::{Between, Span};

/// A number that a persona may have.
#[derive(Clone, Copy, Debug)]
pub struct Number {
    /// The key in a file.
    pub key: &'static str,
    /// The meaning.
    pub words: &'static str,
    /// The lowest value.
    pub low: f64,
    /// The highest value.
    pub high: f64,
    /// The value where nothing is said.
    pub default: f64,
}

macro_rules! personas {
    ($(#[doc = $doc:literal] $field:ident: $low:literal to $high:literal, else $value:literal;)*) => {
        /// How devices of a kind behave. Each number is a range from which each group draws.
        #[derive(Clone, Debug)]
        pub struct Persona {
            /// The name.
            pub name: String,
            /// Whether a session is opened for each firing and ended after it.
            pub visits: bool,
            /// Whether it publishes to the command topics of devices, with a scope that has wildcards.
            pub service: bool,
            $(#[doc = $doc] pub $field: Span,)*
        }

        /// A persona as it is written.
        #[derive(Clone, Debug, Default, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub(super) struct Raw {
            /// The persona whose numbers hold where this one has none.
            pub(super) like: Option<String>,
            visits: Option<bool>,
            service: Option<bool>,
            $($field: Option<Between<$low, $high>>,)*
        }

        impl Default for Persona {
            fn default() -> Self {
                Self {
                    name: String::new(), visits: false, service: false,
                    $($field: Span::one($value),)*
                }
            }
        }

        impl Persona {
            /// This persona with other numbers where they are given.
            pub(super) fn with(&self, name: &str, raw: &Raw) -> Self {
                Self {
                    name: name.to_owned(),
                    visits: raw.visits.unwrap_or(self.visits),
                    service: raw.service.unwrap_or(self.service),
                    $($field: raw.$field.map_or(self.$field, |given| given.0),)*
                }
            }

            /// Each number that a persona may have.
            pub const NUMBERS: &'static [Number] = &[
                $(Number {
                    key: stringify!($field),
                    words: $doc,
                    low: $low as f64 / 1000.0,
                    high: $high as f64 / 1000.0,
                    default: $value,
                },)*
            ];
        }
    };
}

personas! {
    /// Seconds between two firings at its usual level.
    period_s: 100 to 604_800_000, else 60.0;
    /// How irregular the firings are: 0 by the clock, 1 at random.
    jitter: 0 to 1_000, else 0.0;
    /// Messages of one firing.
    burst: 1_000 to 500_000, else 1.0;
    /// Bytes of a message.
    bytes: 1_000 to 1_000_000_000, else 100.0;
    /// Deviation of the size of a message, as a share of its mean.
    size_cv: 0 to 5_000, else 0.1;
    /// Deviation of the logarithm of the mean size over days.
    size_mood: 0 to 2_000, else 0.0;
    /// Deviation of the logarithm of the rate over days.
    mood: 0 to 2_000, else 0.0;
    /// Hours for which a mood lasts.
    mood_h: 100 to 720_000, else 24.0;
    /// Deviation of the logarithm of the rate from five minutes to the next five.
    gust: 0 to 2_000, else 0.0;
    /// How much the rate follows the hour of day: 0 not, 1 nothing at the quietest hour, more: hours without any.
    day: 0 to 3_000, else 0.0;
    /// The busiest hour of day (UTC).
    peak_h: 0 to 24_000, else 14.0;
    /// The rate at weekends, as a share of the rate of other days.
    weekend: 10 to 10_000, else 1.0;
    /// Share of the days on which it is switched on for some hours; 0: it is always on.
    trip_days: 0 to 1_000, else 0.0;
    /// The hour at which it is switched on.
    trip_start_h: 0 to 24_000, else 8.0;
    /// Deviation of that hour.
    trip_start_sd: 0 to 12_000, else 1.5;
    /// Hours for which it is on.
    trip_h: 100 to 24_000, else 7.0;
    /// Deviation of those.
    trip_sd: 0 to 12_000, else 2.0;
    /// Topics that it publishes to, up to 4.
    topics: 1_000 to 4_000, else 4.0;
    /// How unsteady the shares of the topics are from hour to hour.
    topic_sway: 0 to 2_000, else 0.1;
    /// Share of the firings that do not happen.
    lost: 0 to 900, else 0.01;
    /// Seconds of keep-alive; 0: none.
    keep_alive_s: 0 to 65_535_000, else 60.0;
    /// Hours of a session that is kept open.
    session_h: 20 to 8_760_000, else 24.0;
    /// Share of the sessions that end with DISCONNECT.
    clean: 0 to 1_000, else 0.5;
    /// Subscriptions after each CONNECT, up to 2.
    subscribes: 0 to 2_000, else 1.0;
    /// How often services send commands to it, beside others.
    commanded: 0 to 1_000, else 0.1;
    /// Devices to which a service sends commands.
    reach: 1_000 to 100_000_000, else 25.0;
    /// Hours of a token after which the session is opened anew; 0: it is renewed on the session.
    token_h: 0 to 8_760_000, else 0.0;
    /// Messages that it keeps while it has no network.
    backlog: 0 to 100_000_000, else 1_000.0;
    /// Deviation of the logarithm of rate and size between the devices of one group.
    spread: 0 to 2_000, else 0.25;
    /// Days between two flat batteries, which lose the counter of proofs; 0: never.
    battery_days: 0 to 100_000_000, else 0.0;
    /// Days until a device uses a name that it had formerly; 0: never.
    renamed_days: 0 to 100_000_000, else 1_500.0;
    /// Days between two mistakes with an own topic; 0: never.
    mistake_days: 0 to 100_000_000, else 300.0;
    /// Days between two wrong clocks; 0: never.
    clock_days: 0 to 100_000_000, else 200.0;
    /// Days between two CONNECTs with a token that has expired; 0: never.
    expired_days: 0 to 100_000_000, else 100.0;
    /// Days between two broken packets; 0: never.
    malformed_days: 0 to 100_000_000, else 1_000.0;
}
