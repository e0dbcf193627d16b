//! Sessions: the input is a schedule of two devices with three client ids, and of an operator.
//!
//! Real: the state machine, [`Session`], [`Registry`], outboxes, grants and `still_holds`. Written here once more,
//! because the broker keeps it private: the order in which a connection uses them (`connection/connect.rs`, `connection/open_session.rs`,
//! `revocation/mod.rs`, `hub.rs`), and routing, by the brute force of [`super::scope::matches`]. A [`model::Model`]
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

/// Schedules that reach each kind of step from sessions in use.
pub fn seeds() -> Vec<(String, Vec<u8>)> {
    let connect = |slot: u8| vec![0, slot, 0, 1, 3, 60, 0, 0, 0, 0];
    let with_will = |slot: u8| vec![0, slot, 0, 1, 3, 60, 0, 0, 2, 0, 5, 0];
    let subscribe = |conn: u8, filter: u8| vec![1, filter, 2, 0, conn];
    let outside = |topic: u8, qos: u8| vec![2, topic, qos, 0];
    let publish = |conn: u8, id: u8| vec![10, 0, 2, id, conn];
    let release = |conn: u8, id: u8| vec![15, id, conn];
    let pump = |conn: u8| vec![3, conn];
    let answer = |conn: u8| vec![4, conn, 1, 0, 0, 0, 0];
    let used = [
        with_will(0),
        subscribe(0, 3),
        connect(2),
        subscribe(1, 2),
        outside(0, 1),
        outside(1, 2),
        outside(0, 0),
        pump(0),
    ]
    .concat();
    let exactly_once = [publish(0, 0), release(0, 0), release(0, 0), pump(1), answer(1), answer(1)];
    let mut inputs = vec![Vec::new(), used.clone(), [used.clone(), exactly_once.concat()].concat()];
    for step in 0..16u8 {
        for value in 0..4u8 {
            let then =
                [vec![step, value, 0, value, 1], connect(0), pump(0), outside(0, 1), pump(1)];
            inputs.push([used.clone(), then.concat()].concat());
        }
    }
    super::numbered(inputs)
}
