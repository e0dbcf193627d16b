//! Bytes of the bad connects. Tokens and ids are those of the honest devices: the attacker has seen them.

use std::time::Duration;

use super::super::super::crowd::{Crowd, Member};
use super::super::super::limits;
use super::super::super::packet::{self, Qos};
use super::super::refused::{bad_proof, bad_token, garbage, stale_proof, unknown_kid};

/// One bad connect.
pub(super) struct Shot {
    /// The bytes; nothing for a silent one.
    pub(super) bytes: Vec<u8>,
    /// How long the attacker keeps the socket.
    pub(super) keep: Duration,
}

/// Equal shares of eight kinds, in turn.
pub(super) fn mix(crowd: &Crowd, victims: &[Member]) -> Vec<Shot> {
    victims.iter().flat_map(|victim| one_of_each(crowd, victim)).collect()
}

fn one_of_each(crowd: &Crowd, victim: &Member) -> [Shot; 8] {
    let with = |password: Vec<u8>| loud(packet::connect(&victim.id, Some((&victim.id, &password))));
    [
        loud(vec![0x55; 64]),
        with(garbage(crowd, victim)),
        with(unknown_kid(crowd, victim)),
        with(stale_proof(crowd, victim)),
        with(bad_token(crowd, victim)),
        with(bad_proof(crowd, victim)),
        loud(packet::publish(&victim.command_topic(), Qos::Zero, 0, &[b'w'; limits::PAYLOAD])),
        Shot { bytes: Vec::new(), keep: limits::SILENT },
    ]
}

fn loud(bytes: Vec<u8>) -> Shot {
    Shot { bytes, keep: limits::LOUD }
}
