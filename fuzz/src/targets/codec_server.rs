//! Packets of a server, both versions: see [`super::codec`].

use tessera_broker::codec::Peer;

use super::codec;

/// Runs one input.
pub fn target(data: &[u8]) {
    codec::check(data, Peer::Server);
}

/// One packet of every kind and shape.
pub fn seeds() -> Vec<(String, Vec<u8>)> {
    codec::seeds(Peer::Server)
}
