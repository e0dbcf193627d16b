//! Topic aliases that we set (MQTT 5 section 3.3.2.3.4): the first topics of a connection get one, as many as the
//! client takes. They end with the connection.

use hashbrown::HashMap;
use tessera_token::topic::TopicName;

use crate::limits::TOPIC_ALIASES_OUT;

pub(super) struct Aliases {
    most: u16,
    of: HashMap<TopicName, u16>,
}

impl Aliases {
    /// For a client with this Topic Alias Maximum; `None` when it takes none.
    pub(super) fn up_to(most: u16) -> Option<Box<Self>> {
        let most = most.min(TOPIC_ALIASES_OUT);
        (most > 0).then(|| Box::new(Self { most, of: HashMap::new() }))
    }

    /// The alias of a topic, and whether the client knows it already.
    pub(super) fn of(&self, topic: &TopicName) -> Option<(u16, bool)> {
        if let Some(alias) = self.of.get(topic) {
            return Some((*alias, true));
        }
        let next = u16::try_from(self.of.len()).ok()?.checked_add(1)?;
        (next <= self.most).then_some((next, false))
    }

    /// The client knows it.
    pub(super) fn told(&mut self, topic: &TopicName, alias: u16) {
        self.of.insert(topic.clone(), alias);
    }
}
