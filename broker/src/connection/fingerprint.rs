//! A mark of the client software of a CONNECT.

use crate::codec::{Connect, PropertyId, Version};

/// A mark of the parts of a CONNECT that client software does not change from one connection to the next; never 0. Clean
/// Start is none of them, since many clients set it in their first CONNECT alone, and neither is the way in which the
/// credential is carried.
pub(super) fn of(connect: &Connect) -> u32 {
    let mut mark = Mark(0x811c_9dc5);
    mark.add(match connect.version {
        Version::V311 => 4,
        Version::V5 => 5,
    });
    mark.add(connect.keep_alive.into());
    mark.add(connect.will.as_ref().map_or(0, |will| 1 + will.qos as u32));
    for (id, _) in connect.properties.iter() {
        if !matches!(id, PropertyId::AuthMethod | PropertyId::AuthData | PropertyId::UserProperty) {
            mark.add(0x100 | id as u32);
        }
    }
    for id in [PropertyId::ReceiveMaximum, PropertyId::MaximumPacketSize] {
        mark.add(connect.properties.number(id).unwrap_or(0));
    }
    mark.0 | 1
}

/// FNV-1a over whole numbers.
struct Mark(u32);

impl Mark {
    fn add(&mut self, number: u32) {
        for byte in number.to_le_bytes() {
            self.0 = (self.0 ^ u32::from(byte)).wrapping_mul(0x0100_0193);
        }
    }
}
