//! A connect proof is good once, also over `kill -9`, and the next one a few seconds later is good.

use tessera_broker::codec::{Connect, Packet, Password, ReasonCode, Version};
use tessera_token::proof::{ConnectProof, Credential};

use crate::client::{plan, Client};
use crate::restart::Bed;
use crate::world::{device_key, device_scope, AUDIENCE};

const KILLS: u8 = 20;

async fn answer(bed: &Bed, connect: &Connect) -> ReasonCode {
    let mut client = Client::raw(&bed.world, connect.version).await;
    client.send(&Packet::Connect(Box::new(connect.clone()))).await;
    match client.next().await {
        Some(Packet::ConnAck(ack)) => ack.reason,
        other => panic!("expected CONNACK, got {other:?}"),
    }
}

fn with_proof(bed: &Bed, device: &str, client_id: &str, version: Version) -> Connect {
    let mut connect = plan(&bed.world, device, version).client_id(client_id).connect;
    let token = bed.world.token(device, device_scope(device));
    let password = bed.world.password(device, client_id, token);
    connect.password = Some(Password::new(password.into()));
    connect
}

fn by_a_clock_ahead(bed: &Bed, device: &str) -> Connect {
    let mut connect = plan(&bed.world, device, Version::V5).connect;
    let (world, token) = (&bed.world, bed.world.token(device, device_scope(device)));
    let (time, counter) = (world.agent.validator().now().plus(20), world.next_counter());
    let proof = ConnectProof::make(&device_key(device), AUDIENCE, device, &token, time, counter);
    let password = Credential { token, proof: Some(proof) }.to_password();
    connect.password = Some(Password::new(password.into()));
    connect
}

#[tokio::test(flavor = "multi_thread")]
async fn no_proof_is_good_again_over_kills_and_the_next_one_is_good() {
    let bed = Bed::new().await;
    let mut used: Vec<Connect> = Vec::new();
    for round in 0..KILLS {
        let process = bed.start();
        // Those before them are too old by now.
        for connect in used.iter().rev().take(15) {
            let version = connect.version;
            let refused = answer(&bed, connect).await;
            // Replayed, too old, or not known any more: then it may try again.
            let told = [ReasonCode::NOT_AUTHORIZED, ReasonCode::SERVER_UNAVAILABLE];
            assert!(told.contains(&refused), "round {round}, {version:?}: {refused:?}");
        }
        for version in [Version::V311, Version::V5] {
            for client_id in ["d-1", "d-1~a", "d-1~b"] {
                let connect = with_proof(&bed, "d-1", client_id, version);
                assert_eq!(answer(&bed, &connect).await, ReasonCode::SUCCESS, "round {round}");
                used.push(connect);
            }
        }
        // Its clock is ahead: it has a row of its own.
        if round.is_multiple_of(3) {
            let ahead = by_a_clock_ahead(&bed, "d-2");
            assert_eq!(answer(&bed, &ahead).await, ReasonCode::SUCCESS, "round {round}");
            used.push(ahead);
        }
        match round % 4 {
            3 => process.stop(),
            _ => process.kill(),
        }
    }
}
