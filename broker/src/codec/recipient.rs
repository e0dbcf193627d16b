//! Packets for one client: in its version, and never larger than it takes.

use super::connect::Connect;
use super::error::Result;
use super::packet::{Packet, Version};
use super::properties::{Properties, PropertyId};
use bytes::BytesMut;

/// The packets that a client takes, as its CONNECT declared: protocol version and Maximum Packet Size. Every packet to
/// a client is written by way of this.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Recipient {
    version: Version,
    most: u32,
}

impl Recipient {
    /// A client that has set no maximum, or has not been understood so far.
    pub const fn any(version: Version) -> Self {
        Self { version, most: u32::MAX }
    }

    /// The client of this CONNECT (MQTT 5 section 3.1.2.11.4).
    pub fn of(connect: &Connect) -> Self {
        let most = connect.properties.number(PropertyId::MaximumPacketSize);
        Self { version: connect.version, most: most.unwrap_or(u32::MAX) }
    }

    /// The version of the connection.
    pub const fn version(self) -> Version {
        self.version
    }

    /// Whether it takes packets of any size.
    pub const fn takes_all(self) -> bool {
        self.most == u32::MAX
    }

    /// Whether it takes a packet of so many bytes in all [MQTT-3.1.2-24].
    pub const fn takes(self, bytes: usize) -> bool {
        bytes <= self.most as usize
    }

    /// Appends one packet to `out`. A packet that is too large is written without its Reason String and User Properties
    /// ([MQTT-3.2.2-19], [MQTT-3.4.2-2] and their like). Returns false when it is still too large; `out` is then as it
    /// was, and the packet counts as sent.
    ///
    /// # Errors
    /// As [`super::encode`]; `out` is as it was.
    pub fn write(self, packet: &Packet, out: &mut BytesMut) -> Result<bool> {
        Ok(self.append(packet, out)?
            || match without_words(packet) {
                Some(shorter) => self.append(&shorter, out)?,
                None => false,
            })
    }

    /// Whether [`Self::write`] would write it.
    pub fn can_be_told(self, packet: &Packet) -> bool {
        self.takes_all() || self.write(packet, &mut BytesMut::new()).unwrap_or(false)
    }

    fn append(self, packet: &Packet, out: &mut BytesMut) -> Result<bool> {
        let start = out.len();
        super::encode(packet, self.version, out)?;
        let fits = self.takes(out.len() - start);
        if !fits {
            out.truncate(start);
        }
        Ok(fits)
    }
}

/// A packet of ours without what may be left out. Nothing of a PUBLISH may.
fn without_words(packet: &Packet) -> Option<Packet> {
    let mut shorter = packet.clone();
    let properties: &mut Properties = match &mut shorter {
        Packet::ConnAck(ack) => &mut ack.properties,
        Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack) => {
            &mut ack.properties
        }
        Packet::SubAck(ack) | Packet::UnsubAck(ack) => &mut ack.properties,
        Packet::Disconnect(bye) => &mut bye.properties,
        Packet::Auth(auth) => &mut auth.properties,
        _ => return None,
    };
    *properties = properties.without(&[PropertyId::ReasonString, PropertyId::UserProperty]);
    Some(shorter)
}
