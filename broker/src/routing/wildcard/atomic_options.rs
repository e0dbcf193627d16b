use crate::codec::QoS;
use crate::message::Options;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};

/// The options of a subscription, which may change while others publish to it. Read without a lock.
///
/// From the lowest bit: QoS (2), No Local, Retain As Published; from bit 32 the subscription identifier, 0 for none.
pub(super) struct AtomicOptions(AtomicU64);

const NO_LOCAL: u64 = 1 << 2;
const RETAIN_AS_PUBLISHED: u64 = 1 << 3;

impl AtomicOptions {
    pub(super) fn new(options: Options) -> Self {
        Self(AtomicU64::new(pack(options)))
    }

    pub(super) fn set(&self, options: Options) {
        self.0.store(pack(options), Ordering::Release);
    }

    pub(super) fn get(&self) -> Options {
        let bits = self.0.load(Ordering::Acquire);
        Options {
            qos: QoS::from_bits(bits as u8 & 0b11).unwrap_or_default(),
            no_local: bits & NO_LOCAL != 0,
            retain_as_published: bits & RETAIN_AS_PUBLISHED != 0,
            id: NonZeroU32::new((bits >> 32) as u32),
        }
    }
}

fn pack(options: Options) -> u64 {
    let Options { qos, no_local, retain_as_published, id } = options;
    let flag = |set: bool, bit: u64| if set { bit } else { 0 };
    qos as u64
        | flag(no_local, NO_LOCAL)
        | flag(retain_as_published, RETAIN_AS_PUBLISHED)
        | u64::from(id.map_or(0, NonZeroU32::get)) << 32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wished_comes_back() {
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            for (no_local, retain_as_published) in [(false, true), (true, false), (true, true)] {
                for id in [None, NonZeroU32::new(1), NonZeroU32::new(268_435_455)] {
                    let options = Options { qos, no_local, retain_as_published, id };
                    let stored = AtomicOptions::new(Options::default());
                    assert_eq!(stored.get(), Options::default());
                    stored.set(options);
                    assert_eq!(stored.get(), options);
                }
            }
        }
    }
}
