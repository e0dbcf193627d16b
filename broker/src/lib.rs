//! The MQTT front: listeners, codec, sessions, the gate actor, the two lanes.

pub mod codec;
pub mod lanes;
pub mod limits;
