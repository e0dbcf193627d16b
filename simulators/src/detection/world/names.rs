//! Names and topics, kept once in one text.

/// A topic, by its place in the table of names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Topic(u32);

const SUFFIXES: [&str; 7] = ["telemetry", "state", "event", "log", "cmd", "cfg", "debug/dump"];
/// Topics of one device: those of the table, and one with its former name.
const EACH: u32 = 8;
/// Topics of no device.
const COMMON: [&str; 6] =
    ["d/+/cmd", "d/#", "#", "+/+/telemetry", "$SYS/broker/clients/total", "$SYS/#"];
const FIRST_COMMON: u32 = u32::MAX - COMMON.len() as u32;

impl Topic {
    /// One of the up to four topics to which the device publishes.
    pub(crate) const fn data(device: u32, number: u32) -> Self {
        Self(device * EACH + number)
    }

    /// The topic of its commands.
    pub(crate) const fn command(device: u32) -> Self {
        Self(device * EACH + 4)
    }

    /// The topic of its settings.
    pub(crate) const fn settings(device: u32) -> Self {
        Self(device * EACH + 5)
    }

    /// A topic with its name that its scope does not have.
    pub(crate) const fn mistake(device: u32) -> Self {
        Self(device * EACH + 6)
    }

    /// A topic with the name that the device had formerly.
    pub(crate) const fn former(device: u32) -> Self {
        Self(device * EACH + 7)
    }

    /// A filter or topic of no device: 0 is the filter of services, 1 to 3 are wide, 4 and 5 belong to the system.
    pub(crate) const fn common(number: u32) -> Self {
        Self(FIRST_COMMON + number)
    }

    /// The device in the topic, and whether by its former name.
    pub(crate) const fn owner(self) -> Option<(u32, bool)> {
        match self.0 < FIRST_COMMON {
            true => Some((self.0 / EACH, self.0 % EACH == 7)),
            false => None,
        }
    }
}

/// The table.
#[derive(Debug)]
pub(crate) struct Names {
    text: String,
    /// For each device: the ends of its name, of its former name and of its topics.
    ends: Vec<u32>,
}

const PER_DEVICE: usize = 2 + EACH as usize;

impl Names {
    pub(super) const fn new() -> Self {
        Self { text: String::new(), ends: Vec::new() }
    }

    pub(super) fn add(&mut self, device: u32) {
        let name = format!("dev-{device:06}");
        let former = format!("old-{device:06}");
        self.push(&name);
        self.push(&former);
        for suffix in SUFFIXES {
            self.push(&format!("d/{name}/{suffix}"));
        }
        self.push(&format!("d/{former}/telemetry"));
    }

    fn push(&mut self, text: &str) {
        self.text.push_str(text);
        self.ends.push(self.text.len() as u32);
    }

    fn entry(&self, place: usize) -> &str {
        let begin = match place.checked_sub(1) {
            Some(before) => self.ends.get(before).copied().unwrap_or(0),
            None => 0,
        };
        let end = self.ends.get(place).copied().unwrap_or(begin);
        self.text.get(begin as usize..end as usize).unwrap_or("")
    }

    /// The name of a device.
    pub(crate) fn device(&self, device: u32) -> &str {
        self.entry(device as usize * PER_DEVICE)
    }

    /// The name that it had formerly.
    pub(crate) fn former(&self, device: u32) -> &str {
        self.entry(device as usize * PER_DEVICE + 1)
    }

    /// The text of a topic.
    pub(crate) fn topic(&self, topic: Topic) -> &str {
        match topic.0.checked_sub(FIRST_COMMON) {
            Some(number) => COMMON.get(number as usize).copied().unwrap_or("#"),
            None => {
                let (device, number) = (topic.0 / EACH, topic.0 % EACH);
                self.entry(device as usize * PER_DEVICE + 2 + number as usize)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_topics_are_found_again() {
        let mut names = Names::new();
        for device in 0..3 {
            names.add(device);
        }
        assert_eq!(names.device(0), "dev-000000");
        assert_eq!(names.former(2), "old-000002");
        assert_eq!(names.topic(Topic::data(1, 0)), "d/dev-000001/telemetry");
        assert_eq!(names.topic(Topic::command(2)), "d/dev-000002/cmd");
        assert_eq!(names.topic(Topic::former(1)), "d/old-000001/telemetry");
        assert_eq!(names.topic(Topic::common(2)), "#");
        assert_eq!(
            (Topic::mistake(2).owner(), Topic::former(2).owner()),
            (Some((2, false)), Some((2, true)))
        );
        assert_eq!(Topic::common(5).owner(), None);
    }
}
