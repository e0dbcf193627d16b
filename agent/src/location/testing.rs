//! Writes small files in the MaxMind format, for tests.

#![allow(clippy::indexing_slicing, reason = "tests alone use it, and the numbers are its own")]

use std::net::Ipv4Addr;

/// A value of a record.
#[derive(Clone, Debug)]
pub enum Value {
    /// Text.
    Text(&'static str),
    /// A number of 16 bits.
    Short(u16),
    /// A number of 32 bits.
    Number(u32),
    /// A number of 64 bits.
    Long(u64),
    /// A floating number.
    Double(f64),
    /// Yes or no.
    Flag(bool),
    /// A list of texts.
    Texts(Vec<&'static str>),
    /// Names with values.
    Map(Vec<(&'static str, Value)>),
}

impl Value {
    fn write(&self, out: &mut Vec<u8>) {
        let mut head = |kind: u8, len: usize| {
            let (first, more) = if len < 29 { (len as u8, None) } else { (29, Some(len - 29)) };
            match kind {
                0..=7 => out.push(kind << 5 | first),
                _ => out.extend([first, kind - 7]),
            }
            out.extend(more.map(|more| more as u8));
        };
        match self {
            Self::Text(text) => {
                head(2, text.len());
                out.extend(text.as_bytes());
            }
            Self::Double(number) => {
                head(3, 8);
                out.extend(number.to_be_bytes());
            }
            Self::Short(number) => {
                head(5, 2);
                out.extend(number.to_be_bytes());
            }
            Self::Number(number) => {
                head(6, 4);
                out.extend(number.to_be_bytes());
            }
            Self::Long(number) => {
                head(9, 8);
                out.extend(number.to_be_bytes());
            }
            Self::Flag(flag) => head(14, usize::from(*flag)),
            Self::Texts(texts) => {
                head(11, texts.len());
                texts.iter().for_each(|text| Self::Text(text).write(out));
            }
            Self::Map(entries) => {
                head(7, entries.len());
                for (name, value) in entries {
                    Self::Text(name).write(out);
                    value.write(out);
                }
            }
        }
    }
}

/// A record of a file of places.
pub fn city(country: &'static str, (north, east): (f64, f64), radius_km: Option<u16>) -> Value {
    let mut location = vec![("latitude", Value::Double(north)), ("longitude", Value::Double(east))];
    location.extend(radius_km.map(|radius| ("accuracy_radius", Value::Short(radius))));
    Value::Map(vec![
        ("country", Value::Map(vec![("iso_code", Value::Text(country))])),
        ("location", Value::Map(location)),
    ])
}

/// A record of a file of autonomous systems.
pub fn asn(number: u32) -> Value {
    Value::Map(vec![("autonomous_system_number", Value::Number(number))])
}

/// A file with a record for each of these IPv4 networks, of so many bits.
pub fn file(kind: &'static str, built: u64, networks: &[(Ipv4Addr, u32, Value)]) -> Vec<u8> {
    /// Nothing is known below.
    const NONE: usize = usize::MAX;
    /// From here on, a record is a number of a value.
    const VALUES: usize = 1 << 32;
    let mut nodes = vec![[NONE, NONE]];
    for (number, (address, bits, _)) in networks.iter().enumerate() {
        let mut at = 0;
        for depth in 0..*bits {
            let side = (address.to_bits() >> (31 - depth) & 1) as usize;
            if depth + 1 == *bits {
                nodes[at][side] = VALUES + number;
            } else if nodes[at][side] == NONE {
                nodes.push([NONE, NONE]);
                nodes[at][side] = nodes.len() - 1;
                at = nodes.len() - 1;
            } else {
                at = nodes[at][side];
            }
        }
    }
    let mut data = Vec::new();
    let mut offsets = Vec::new();
    for (_, _, value) in networks {
        offsets.push(data.len());
        value.write(&mut data);
    }
    let count = nodes.len();
    let mut out = Vec::new();
    for record in nodes.iter().flatten() {
        let number = match *record {
            NONE => count,
            value if value >= VALUES => count + 16 + offsets[value - VALUES],
            node => node,
        };
        out.extend(&(number as u32).to_be_bytes()[1..]);
    }
    out.extend([0; 16]);
    out.extend(data);
    out.extend(b"\xab\xcd\xefMaxMind.com");
    Value::Map(vec![
        ("binary_format_major_version", Value::Short(2)),
        ("binary_format_minor_version", Value::Short(0)),
        ("build_epoch", Value::Long(built)),
        ("database_type", Value::Text(kind)),
        ("description", Value::Map(vec![("en", Value::Text("a file of a test"))])),
        ("ip_version", Value::Short(4)),
        ("languages", Value::Texts(vec!["en"])),
        ("node_count", Value::Number(count as u32)),
        ("record_size", Value::Short(24)),
    ])
    .write(&mut out);
    out
}
