//! The limits as a file has them (`[provisioning.limits]`), and what holds.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use crate::config::ProvisioningConfig;
use crate::limits::{
    AdmissionLimits, Rate, CONNECTIONS, CONNECTIONS_PER_ADDRESS, OPEN_CLAIMS, OPEN_CLAIMS_MOST,
    RATES,
};
use crate::start_error::StartError;

const RATE: RangeInclusive<u32> = 1..=1_000_000;
const BURST: RangeInclusive<u32> = 1..=100_000_000;
const PLACES: RangeInclusive<usize> = 16..=1_000_000;

macro_rules! rates {
    ($($rate:ident: $per_second:ident $burst:ident,)*) => {
        /// The limits that can be configured. See [`AdmissionLimits`] for what each rate is of.
        #[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
        #[serde(deny_unknown_fields, default)]
        #[allow(missing_docs, reason = "the names are those of the rates")]
        pub struct RawLimits {
            pub connections: usize,
            pub connections_per_address: usize,
            pub open_claims: u64,
            $(pub $per_second: u32, pub $burst: u32,)*
        }

        impl Default for RawLimits {
            fn default() -> Self {
                Self {
                    connections: CONNECTIONS,
                    connections_per_address: CONNECTIONS_PER_ADDRESS,
                    open_claims: OPEN_CLAIMS,
                    $($per_second: RATES.$rate.per_second, $burst: RATES.$rate.burst,)*
                }
            }
        }

        impl RawLimits {
            fn rates(&self) -> Result<AdmissionLimits, StartError> {
                Ok(AdmissionLimits {
                    $($rate: Rate {
                        per_second: within(self.$per_second, RATE, concat!(
                            "limits.", stringify!($per_second), " must be 1 to 1,000,000"
                        ))?,
                        burst: within(self.$burst, BURST, concat!(
                            "limits.", stringify!($burst), " must be 1 to 100,000,000"
                        ))?,
                    },)*
                })
            }
        }
    };
}

rates! {
    proved: proved_per_second proved_burst,
    proved_total: proved_total_per_second proved_total_burst,
    anonymous: anonymous_per_second anonymous_burst,
    anonymous_total: anonymous_total_per_second anonymous_total_burst,
    wrong: wrong_per_second wrong_burst,
    relayed: relayed_per_second relayed_burst,
    device: device_per_second device_burst,
}

impl RawLimits {
    /// Puts them into a configuration.
    ///
    /// # Errors
    /// The first that cannot hold, by its name.
    pub fn apply(&self, config: &mut ProvisioningConfig) -> Result<(), StartError> {
        config.admission = self.rates()?;
        let what = "limits.connections must be 16 to 1,000,000";
        config.connections = within(self.connections, PLACES, what)?;
        let what = "limits.connections_per_address must be 16 to 1,000,000";
        config.connections_per_address = within(self.connections_per_address, PLACES, what)?;
        let what = "limits.open_claims must be 1 to 10,000,000";
        config.open_claims = within(self.open_claims, 1..=OPEN_CLAIMS_MOST, what)?;
        Ok(())
    }
}

fn within<T: PartialOrd>(
    value: T,
    range: RangeInclusive<T>,
    what: &'static str,
) -> Result<T, StartError> {
    match range.contains(&value) {
        true => Ok(value),
        false => Err(StartError::Config(what)),
    }
}
