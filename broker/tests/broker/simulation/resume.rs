//! A persistent session whose connection breaks anywhere, with and without `kill -9` of the broker in between.

use tessera_broker::codec::{QoS, Version};

use super::peer::Heard;
use super::stage::Stage;
use super::{seeds, Chance};
use crate::client::VERSIONS;
use crate::restart::Bed;
use crate::world::{world, World};

const STEPS: usize = 300;

fn version(seed: u64) -> Version {
    VERSIONS[usize::try_from(seed % 2).unwrap()]
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_over_connections_that_break_anywhere() {
    for seed in seeds(&[11, 12, 13, 14, 15, 16]) {
        println!("simulation::resume seed {seed} {:?}", version(seed));
        let world = world().await;
        let mut chance = Chance::new(seed);
        let mut stage = Stage::set(&world, version(seed), &mut chance).await;
        let mut broken = 0;
        for _ in 0..STEPS {
            match (chance.below(8), stage.device.line.is_some()) {
                (0, true) => {
                    broken += 1;
                    drop(stage.device.lose());
                }
                (0..=2, false) => stage.device.connect(&world).await,
                _ => assert_eq!(stage.traffic(&mut chance).await, None),
            }
        }
        finish(&world, &mut stage).await;
        println!("  {broken} broken connections, {}", stage.told());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_over_kills_of_the_broker_anywhere() {
    for seed in seeds(&[21, 22]) {
        println!("simulation::resume, killed, seed {seed} {:?}", version(seed));
        let bed = Bed::new().await;
        let mut process = bed.start();
        let mut chance = Chance::new(seed);
        let mut stage = Stage::set(&bed.world, version(seed), &mut chance).await;
        // A killed broker may leave both publishers unanswered, so both send again.
        stage.device.publishers_resend = true;
        let mut kills = 0;
        for _ in 0..STEPS {
            match (chance.below(16), stage.device.line.is_some()) {
                (0, _) => {
                    kills += 1;
                    process.kill();
                    process = bed.start();
                    stage.hub.connect(&bed.world).await;
                    stage.device.connect(&bed.world).await;
                }
                (1, true) => drop(stage.device.lose()),
                (2..=5, false) => stage.device.connect(&bed.world).await,
                _ => assert_eq!(stage.traffic(&mut chance).await, None),
            }
        }
        finish(&bed.world, &mut stage).await;
        println!("  {kills} kills, {}", stage.told());
        process.kill();
    }
}

/// Every packet of every exchange is the last one before the connection breaks, once.
#[tokio::test(flavor = "multi_thread")]
async fn an_exchange_goes_on_after_each_of_its_packets() {
    for seed in seeds(&[31]) {
        println!("simulation::resume, each packet, seed {seed}");
        let mut chance = Chance::new(seed);
        let mut cuts = Vec::new();
        for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
            let packets = if qos == QoS::AtLeastOnce { 2 } else { 4 };
            cuts.extend((0..=packets).flat_map(|after| [(qos, after, false), (qos, after, true)]));
        }
        chance.shuffle(&mut cuts);
        for version in VERSIONS {
            let world = world().await;
            let mut stage = Stage::set(&world, version, &mut chance).await;
            for (qos, after, up) in &cuts {
                cut(&world, &mut stage, *qos, *after, *up).await;
            }
        }
        let bed = Bed::new().await;
        let mut process = bed.start();
        let mut stage = Stage::set(&bed.world, Version::V5, &mut chance).await;
        stage.device.publishers_resend = true;
        for (qos, after, up) in cuts {
            begin(&mut stage, qos, after, up).await;
            process.kill();
            process = bed.start();
            stage.hub.connect(&bed.world).await;
            finish(&bed.world, &mut stage).await;
        }
        process.kill();
    }
}

async fn cut(world: &World, stage: &mut Stage, qos: QoS, after: usize, up: bool) {
    begin(stage, qos, after, up).await;
    finish(world, stage).await;
}

/// The first `after` packets of an exchange, seen from the device, whose connection then breaks.
async fn begin(stage: &mut Stage, qos: QoS, after: usize, up: bool) {
    let stream = usize::from(qos == QoS::ExactlyOnce);
    let mut left = after;
    if !up {
        assert!(stage.hub.offer(stream).await);
        stage.hub.settle_own().await;
    } else if left > 0 {
        assert!(stage.device.offer(stream).await);
        left -= 1;
    }
    for _ in 0..left {
        if stage.device.owes() {
            stage.device.answer(1).await;
        } else {
            assert_eq!(stage.device.read().await, None);
        }
    }
    drop(stage.device.lose());
}

async fn finish(world: &World, stage: &mut Stage) {
    if stage.device.line.is_none() {
        stage.device.connect(world).await;
    }
    stage.settle().await;
    assert_eq!(stage.device.sync().await, Heard::Pong);
}
