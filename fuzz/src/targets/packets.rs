//! Packets of every kind as seeds: those of the unit tests of the codec.

use tessera_broker::codec::{self, Packet, Peer, Version};

#[path = "../../../broker/src/codec/tests/samples.rs"]
mod samples;

/// The packets.
pub fn all() -> Vec<(Packet, Version, Peer)> {
    samples::all()
}
