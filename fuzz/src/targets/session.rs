//! Sessions: the input is a schedule of two devices with three client ids, and of an operator.
//!
//! Real: the state machine, [`Session`], [`Registry`], outboxes, grants and `still_holds`. Written here once more,
//! because the broker keeps it private: the order in which a connection uses them (`connection/welcome.rs`,
//! `control/revoke.rs`, `hub.rs`), and routing, by the brute force of [`super::scope::matches`]. A [`model::Model`]
//! of each session predicts every PUBLISH that its client must see: which, in which order, with which QoS, packet id
//! and DUP.

mod grants;
mod model;
mod parts;
mod sim;
mod steps;

use crate::draw::Draw;
use sim::Sim;

/// Steps of one schedule at most.
const STEPS: usize = 200;

/// Runs one input.
pub fn target(data: &[u8]) {
    let mut draw = Draw::new(data);
    let mut sim = Sim::new();
    for _ in 0..STEPS {
        if draw.is_empty() {
            break;
        }
        steps::step(&mut sim, &mut draw);
        sim.check();
    }
    sim.drain();
}

/// Schedules that reach each kind of step from a session in use.
pub fn seeds() -> Vec<(String, Vec<u8>)> {
    let connect = |slot: u8| vec![0, slot, 0, 1, 0, 60, 9, 0, 0];
    let subscribe = |conn: u8, filter: u8| vec![1, conn, filter, 1];
    let publish = |topic: u8| vec![2, topic, 1, 0];
    let pump = |conn: u8| vec![3, conn];
    let mut inputs = vec![Vec::new()];
    for step in 0..16u8 {
        for value in 0..4u8 {
            let used = [
                connect(0),
                subscribe(0, 2),
                connect(2),
                subscribe(1, 3),
                publish(0),
                publish(1),
                pump(0),
            ];
            let then = [vec![step, value, 0, value, 1], connect(0), pump(0), publish(0), pump(1)];
            inputs.push([used.concat(), then.concat()].concat());
        }
    }
    super::numbered(inputs)
}
