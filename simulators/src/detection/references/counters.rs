//! Counts of each device in five minutes and in an hour: the input of the references.

use hashbrown::HashMap;
use tessera_behaviour::observation::{Event, Observation, UnixMillis};

/// Five minutes, and an hour.
pub(super) const FIVE: UnixMillis = 300_000;
pub(super) const HOUR: UnixMillis = 3_600_000;

/// Devices of one run: a bound, since names come from a file.
const DEVICES: usize = 1_000_000;

/// Counts in five minutes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Five {
    pub(super) sent: u32,
    pub(super) received: u32,
    pub(super) bytes: u64,
    /// Mean bytes of the messages of the observation with the largest, and with the smallest.
    pub(super) largest: u64,
    pub(super) smallest: u64,
    pub(super) denied: u32,
    pub(super) connects: u32,
    pub(super) ends: u32,
}

/// Counts in an hour.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Hour {
    pub(super) messages: u64,
    pub(super) bytes: u64,
    pub(super) most: u64,
    pub(super) connects: u32,
    pub(super) denied: u32,
    pub(super) outside: u32,
    pub(super) topics: [u32; 4],
}

#[derive(Debug)]
pub(super) struct Device {
    pub(super) tenant: Box<str>,
    pub(super) name: Box<str>,
    pub(super) group: u64,
    pub(super) five: Five,
    is_touched: bool,
    pub(super) hour: Hour,
}

/// All devices, by their place.
#[derive(Debug, Default)]
pub(super) struct Counters {
    places: HashMap<Box<str>, usize>,
    key: String,
    pub(super) devices: Vec<Device>,
    touched: Vec<usize>,
}

impl Counters {
    /// The place of the device of an observation; nothing for one that is about no device.
    pub(super) fn place(&mut self, seen: &Observation<'_>) -> Option<usize> {
        if seen.device.is_empty() {
            return None;
        }
        self.key.clear();
        self.key.push_str(seen.tenant);
        self.key.push('\0');
        self.key.push_str(seen.device);
        if let Some(place) = self.places.get(self.key.as_str()) {
            return Some(*place);
        }
        if self.devices.len() >= DEVICES {
            return None;
        }
        let place = self.devices.len();
        self.places.insert(self.key.as_str().into(), place);
        self.devices.push(Device {
            tenant: seen.tenant.into(),
            name: seen.device.into(),
            group: 0,
            five: Five::default(),
            is_touched: false,
            hour: Hour::default(),
        });
        Some(place)
    }

    pub(super) fn count(&mut self, place: usize, seen: &Observation<'_>) {
        let Some(device) = self.devices.get_mut(place) else { return };
        if !device.is_touched {
            device.is_touched = true;
            self.touched.push(place);
        }
        let (five, hour) = (&mut device.five, &mut device.hour);
        match seen.event {
            Event::Connected(connected) => {
                device.group = connected.group;
                five.connects += 1;
                hour.connects += 1;
            }
            Event::Disconnected { .. } => five.ends += 1,
            Event::Published(messages) => {
                five.sent += messages.count;
                five.bytes += messages.bytes;
                let each = messages.bytes / u64::from(messages.count.max(1));
                five.largest = five.largest.max(each);
                five.smallest = if five.smallest == 0 { each } else { five.smallest.min(each) };
                hour.messages += u64::from(messages.count);
                hour.bytes += messages.bytes;
                if let Some(count) = hour.topics.get_mut(class_of(messages.topic)) {
                    *count += messages.count;
                }
            }
            Event::Received(messages) => five.received += messages.count,
            Event::Refused { .. } => {
                five.denied += 1;
                hour.denied += 1;
            }
            Event::Outside { .. } => {
                five.denied += 1;
                five.connects += 1;
                hour.outside += 1;
            }
            _ => {}
        }
    }

    /// Ends five minutes: gives each device with activity, and forgets its counts.
    pub(super) fn close_five(&mut self, mut take: impl FnMut(usize, &Five)) {
        for place in self.touched.drain(..) {
            let Some(device) = self.devices.get_mut(place) else { continue };
            device.is_touched = false;
            let five = std::mem::take(&mut device.five);
            device.hour.most = device.hour.most.max(five.bytes);
            take(place, &five);
        }
    }
}

/// One of four classes of topics, by a sum over the last level.
fn class_of(topic: &str) -> usize {
    let last = topic.rsplit('/').next().unwrap_or("");
    let sum = last.bytes().fold(0_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    (sum % 4) as usize
}
