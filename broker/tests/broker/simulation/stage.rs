//! A hub that stays connected and a device that does not, with QoS 1 and 2 both ways between them.

use std::time::Duration;

use tessera_broker::codec::{QoS, ReasonCode, Version};

use super::peer::{Heard, Peer, Sender};
use super::Chance;
use crate::world::{scope, World};

pub const DEVICE: &str = "d-1";

/// Only a broken broker lets it pass.
const PATIENCE: Duration = Duration::from_secs(20);

pub const UP: [&str; 2] = ["d/d-1/once-or-more", "d/d-1/exactly-once"];
const DOWN: [&str; 2] = ["d/d-1/cmd/once-or-more", "d/d-1/cmd/exactly-once"];

pub struct Stage {
    pub hub: Peer,
    pub device: Peer,
}

fn senders(topics: [&str; 2]) -> Vec<Sender> {
    vec![
        Sender::new(topics[0], QoS::AtLeastOnce, 100),
        Sender::new(topics[1], QoS::ExactlyOnce, 200),
    ]
}

impl Stage {
    /// Both connected and subscribed: the device by exact filters or by a wildcard, as the draw has it.
    pub async fn set(world: &World, version: Version, chance: &mut Chance) -> Self {
        let rights = scope(&[("pub", UP[0]), ("pub", UP[1]), ("sub", "d/d-1/cmd/+")]);
        let mut device = Peer::new(DEVICE, rights, version, senders(UP));
        let rights = scope(&[("pub", "d/+/cmd/+"), ("sub", "d/+/+")]);
        let mut hub = Peer::new("hub", rights, version, senders(DOWN));
        hub.publishers_resend = true;
        hub.connect(world).await;
        device.connect(world).await;
        let line = hub.line.as_mut().unwrap();
        assert_eq!(line.subscribe("d/+/+", QoS::ExactlyOnce).await, ReasonCode::GRANTED_QOS_2);
        let line = device.line.as_mut().unwrap();
        let filters = if chance.below(2) == 0 { &DOWN[..] } else { &["d/d-1/cmd/+"] };
        for filter in filters {
            assert_eq!(line.subscribe(filter, QoS::ExactlyOnce).await, ReasonCode::GRANTED_QOS_2);
        }
        Self { hub, device }
    }

    /// One thing that the two do, if it is not the device's connection that changes; the end of that when it shows.
    pub async fn traffic(&mut self, chance: &mut Chance) -> Option<Heard> {
        match chance.below(9) {
            0..=2 => drop(self.hub.offer(chance.below(2)).await),
            3..=4 => drop(self.device.offer(chance.below(2)).await),
            5..=6 if self.device.line.is_some() => match self.device.sync().await {
                Heard::Pong => {}
                ended => return Some(ended),
            },
            7 => self.device.answer(chance.between(1, 4)).await,
            _ => {
                self.hub.answer(8).await;
                assert_eq!(self.hub.sync().await, Heard::Pong, "the hub is cut off");
            }
        }
        None
    }

    /// Until all that was begun is done, both ways; then nothing more comes.
    pub async fn settle(&mut self) {
        let settled = async {
            while !self.is_settled() {
                for peer in [&mut self.hub, &mut self.device] {
                    assert_eq!(peer.sync().await, Heard::Pong, "{}", peer.name);
                    peer.answer(usize::MAX).await;
                }
            }
        };
        if tokio::time::timeout(PATIENCE, settled).await.is_err() {
            panic!("never settles: {}", self.told());
        }
    }

    fn is_settled(&self) -> bool {
        let all = |from: &Peer, to: &Peer, topics: [&str; 2]| {
            let got = |topic: &str| to.taken.get(topic).map_or(0, |taken| taken.last);
            from.is_done()
                && !to.owes()
                && from.senders.iter().zip(topics).all(|(one, topic)| one.last == got(topic))
        };
        all(&self.hub, &self.device, DOWN) && all(&self.device, &self.hub, UP)
    }

    /// Counts of messages published and received, as text.
    pub fn told(&self) -> String {
        let of = |from: &Peer, to: &Peer, topics: [&str; 2]| {
            let counts = from.senders.iter().zip(topics).map(|(sender, topic)| {
                let (got, again) = to.taken.get(topic).map_or((0, 0), |t| (t.last, t.again));
                format!("{}/{}/{got}+{again}", sender.last, sender.done)
            });
            counts.collect::<Vec<_>>().join(" ")
        };
        let (down, up) = (of(&self.hub, &self.device, DOWN), of(&self.device, &self.hub, UP));
        format!("published/acknowledged/received+again to the device {down}, from it {up}")
    }
}
