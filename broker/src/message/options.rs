//! The options of a subscription that matter at delivery.

use std::num::NonZeroU32;

use crate::codec::QoS;

/// The options of a subscription that matter at delivery.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Options {
    /// Highest QoS to deliver with.
    pub qos: QoS,
    /// Not what this session published itself.
    pub no_local: bool,
    /// Keep the publisher's retain flag.
    pub retain_as_published: bool,
    /// Subscription identifier.
    pub id: Option<NonZeroU32>,
}
