//! Packets of a client, both versions: see [`super::codec`].

use tessera_broker::codec::Peer;

use super::codec;

/// Runs one input.
pub fn target(data: &[u8]) {
    codec::check(data, Peer::Client);
}

/// One packet of every kind and shape.
pub fn seeds() -> Vec<(String, Vec<u8>)> {
    codec::seeds(Peer::Client)
}
