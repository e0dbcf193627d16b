//! Slow readers with persistent sessions: they stall, leave, come back, also over kills. Messages that their queues
//! hold come in order, QoS 2 once and QoS 1 at least once. Messages that no longer fit are refused or counted, and not
//! before the queue is full.

use tessera_broker::codec::{QoS, Version};

use super::peer::{Heard, Peer, Sender, Taken};
use super::{seeds, Chance};
use crate::restart::Bed;
use crate::world::{scope, world_with, World};

const STEPS: usize = 250;
/// Deliveries that a client lets us have open.
const WINDOW: usize = 4;
const NAMES: [&str; 3] = ["r-1", "r-2", "r-3"];
const QOS: [QoS; 2] = [QoS::AtLeastOnce, QoS::ExactlyOnce];

/// One publisher, and readers of whom each has the topics of its own: so an answer to a publish speaks of one queue.
struct Stage {
    hub: Peer,
    readers: Vec<Peer>,
    queue: usize,
}

fn topic(reader: &str, qos: QoS) -> String {
    format!("d/{reader}/cmd/{}", qos as u8)
}

/// The stream of the publisher that goes to this reader.
fn stream(reader: usize, qos: QoS) -> usize {
    2 * reader + usize::from(qos == QoS::ExactlyOnce)
}

impl Stage {
    async fn set(world: &World, queue: usize, chance: &mut Chance) -> Self {
        let mut senders = Vec::new();
        for (number, name) in NAMES.into_iter().enumerate() {
            for qos in QOS {
                let first = u16::try_from(100 * (1 + stream(number, qos))).unwrap();
                senders.push(Sender::new(&topic(name, qos), qos, first));
            }
        }
        let mut hub = Peer::new("hub", scope(&[("pub", "d/+/cmd/+")]), Version::V5, senders);
        hub.may_be_refused = true;
        hub.connect(world).await;
        let mut readers = Vec::new();
        for name in NAMES {
            let rights = scope(&[("sub", &format!("d/{name}/cmd/+"))]);
            let mut reader = Peer::new(name, rights, Version::V5, Vec::new());
            reader.window = Some(WINDOW);
            reader.may_miss = true;
            reader.connect(world).await;
            let wildcard = format!("d/{name}/cmd/+");
            let filters = match chance.below(2) {
                0 => QOS.map(|qos| topic(name, qos)).to_vec(),
                _ => vec![wildcard],
            };
            println!("  {filters:?}");
            for filter in filters {
                let line = reader.line.as_mut().unwrap();
                assert!(!line.subscribe(&filter, QoS::ExactlyOnce).await.is_error());
            }
            readers.push(reader);
        }
        Self { hub, readers, queue }
    }

    /// Messages that were published to a reader and have not come to it: those in its queue, and up to a window under
    /// way.
    fn waits(&self, reader: usize, lost: usize) -> usize {
        let of = |qos: QoS| {
            let sender = &self.hub.senders[stream(reader, qos)];
            let taken = self.readers[reader].taken.get(&topic(NAMES[reader], qos));
            sender.last as usize - sender.refused.len() - taken.map_or(0, Taken::count)
        };
        of(QoS::AtLeastOnce) + of(QoS::ExactlyOnce) - lost
    }

    /// A reader that has a connection takes what came, and answers some of it.
    async fn sip(&mut self, reader: usize, most: usize) {
        let one = &mut self.readers[reader];
        if one.line.is_some() {
            assert_eq!(one.sync().await, Heard::Pong, "{} is cut off", one.name);
            one.answer(most).await;
        }
    }

    /// All come back and take everything.
    async fn drain(&mut self, world: &World) {
        for reader in 0..NAMES.len() {
            self.drain_one(world, reader).await;
        }
    }

    async fn drain_one(&mut self, world: &World, reader: usize) {
        if self.readers[reader].line.is_none() {
            self.readers[reader].connect(world).await;
        }
        loop {
            self.sip(reader, usize::MAX).await;
            // Whatever is still to come is on its way before the answer to the second ping.
            assert_eq!(self.readers[reader].sync().await, Heard::Pong);
            if !self.readers[reader].owes() {
                break;
            }
        }
    }

    fn got(&self, reader: usize, qos: QoS) -> (u32, Vec<u32>) {
        let last = self.hub.senders[stream(reader, qos)].last;
        match self.readers[reader].taken.get(&topic(NAMES[reader], qos)) {
            Some(taken) => {
                let missed = taken.missed.iter().copied().chain(taken.last + 1..=last).collect();
                (last, missed)
            }
            None => (last, (1..=last).collect()),
        }
    }
}

fn dropped(world: &World, qos: QoS) -> usize {
    let line = format!(r#"tessera_broker_dropped_total{{qos="{}",why="queue_full"}}"#, qos as u8);
    usize::try_from(world.metric(&line)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_their_queues_take_comes_and_what_they_do_not_is_counted() {
    for seed in seeds(&[61, 62, 63, 64]) {
        println!("simulation::slow_kept seed {seed}");
        let mut chance = Chance::new(seed);
        let queue = chance.between(6, 30);
        let world = world_with(|raw| raw.limits.queue_messages = queue).await;
        let mut stage = Stage::set(&world, queue, &mut chance).await;
        // A QoS 2 message that found no room is reported by the metric alone, so its reader is known by the topic.
        let mut lost = [0; NAMES.len()];
        for _ in 0..STEPS {
            let reader = chance.below(NAMES.len());
            match chance.below(8) {
                0 => drop(stage.readers[reader].lose()),
                1..=2 if stage.readers[reader].line.is_none() => {
                    stage.readers[reader].connect(&world).await;
                }
                3..=4 => stage.sip(reader, chance.below(6)).await,
                _ => {
                    for _ in 0..chance.between(1, 6) {
                        publish(&world, &mut stage, reader, QOS[chance.below(2)], &mut lost).await;
                    }
                }
            }
        }
        stage.drain(&world).await;
        let mut refused = 0;
        for (reader, lost) in lost.into_iter().enumerate() {
            let (_, missed) = stage.got(reader, QoS::AtLeastOnce);
            let told = &stage.hub.senders[stream(reader, QoS::AtLeastOnce)].refused;
            assert_eq!(missed, told.iter().copied().collect::<Vec<_>>(), "reader {reader}");
            refused += missed.len();
            let (last, missed) = stage.got(reader, QoS::ExactlyOnce);
            assert_eq!(missed.len(), lost, "reader {reader}, of {last}: {missed:?}");
        }
        assert_eq!(dropped(&world, QoS::AtLeastOnce), refused);
        let all: u32 = stage.hub.senders.iter().map(|one| one.last).sum();
        println!("  queues of {queue}: {all} published, {refused} refused, {lost:?} QoS 2 lost");
    }
}

/// Publishes one message and holds the broker to the bounds of its reader's queue.
async fn publish(
    world: &World,
    stage: &mut Stage,
    reader: usize,
    qos: QoS,
    lost: &mut [usize; NAMES.len()],
) {
    let before = (dropped(world, qos), stage.waits(reader, lost[reader]));
    assert!(stage.hub.offer(stream(reader, qos)).await);
    stage.hub.settle_own().await;
    let more = dropped(world, qos) - before.0;
    assert!(more <= 1, "one publish, {more} dropped");
    if more == 1 {
        assert!(before.1 >= stage.queue, "{qos:?} dropped with {} waiting", before.1);
    }
    if qos == QoS::ExactlyOnce {
        lost[reader] += more;
    }
    let waits = stage.waits(reader, lost[reader]);
    let most = stage.queue + WINDOW;
    assert!(waits <= most, "{waits} messages wait for {}, {most} may", NAMES[reader]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_their_queues_took_survives_kills() {
    for seed in seeds(&[71, 72]) {
        println!("simulation::slow_kept, killed, seed {seed}");
        let mut chance = Chance::new(seed);
        let queue = chance.between(10, 30);
        let bed = Bed::new().await;
        let start = || bed.start_with_queue(queue);
        let mut process = start();
        let mut stage = Stage::set(&bed.world, queue, &mut chance).await;
        let mut kills = 0;
        // A message acknowledged just before a kill may come once more, and holds its room until then. So from a kill
        // until its reader has taken everything it cannot be told from outside whether QoS 2 finds room.
        let mut sure = [true; NAMES.len()];
        for _ in 0..STEPS {
            let reader = chance.below(NAMES.len());
            match chance.below(16) {
                0 => {
                    kills += 1;
                    sure = [false; NAMES.len()];
                    process.kill();
                    process = start();
                    stage.hub.connect(&bed.world).await;
                    stage.hub.settle_own().await;
                    stage.readers.iter_mut().for_each(|one| drop(one.lose()));
                }
                1 => drop(stage.readers[reader].lose()),
                2..=5 if stage.readers[reader].line.is_none() => {
                    stage.readers[reader].connect(&bed.world).await;
                }
                6 if !sure[reader] => {
                    stage.drain_one(&bed.world, reader).await;
                    sure[reader] = true;
                }
                6..=8 => stage.sip(reader, chance.below(6)).await,
                _ => {
                    let qos = QOS[chance.below(2)];
                    // No answer would say that QoS 2 found no room; after a kill the queue also holds messages under
                    // way.
                    let fits = sure[reader] && stage.waits(reader, 0) + WINDOW < queue;
                    if qos == QoS::AtLeastOnce || fits {
                        stage.hub.offer(stream(reader, qos)).await;
                        // QoS 1 that is sent again after a kill would take room twice, unseen from outside.
                        if chance.below(4) > 0 || qos == QoS::AtLeastOnce {
                            stage.hub.settle_own().await;
                        }
                    }
                }
            }
        }
        stage.hub.settle_own().await;
        stage.drain(&bed.world).await;
        for reader in 0..NAMES.len() {
            let (_, missed) = stage.got(reader, QoS::AtLeastOnce);
            let told = &stage.hub.senders[stream(reader, QoS::AtLeastOnce)].refused;
            let lost: Vec<_> = missed.iter().filter(|number| !told.contains(number)).collect();
            assert!(lost.is_empty(), "reader {reader}: {lost:?} were accepted and never came");
            let (_, missed) = stage.got(reader, QoS::ExactlyOnce);
            assert!(missed.is_empty(), "reader {reader}: QoS 2 {missed:?}");
        }
        let refused: usize = stage.hub.senders.iter().map(|one| one.refused.len()).sum();
        println!("  queues of {queue}: {kills} kills, {refused} refused");
        process.kill();
    }
}
