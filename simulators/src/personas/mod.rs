//! Roles of the virtual devices: honest duties, and hostile ones that hold something valid.

pub mod backend;
pub mod flooder;
pub mod prober;
pub mod revoked;
pub mod sensor;
pub mod thief;

pub use crate::device::Duty;
pub use backend::Backend;
pub use flooder::Flooder;
pub use sensor::Sensor;
