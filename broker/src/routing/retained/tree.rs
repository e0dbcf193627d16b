//! Topics by level: finds those that match a filter without looking at the rest.

use crate::message::Message;
use hashbrown::HashMap;
use std::sync::Arc;
use tessera_token::topic::{TopicFilter, TopicName};

/// The retained messages of one tenant.
#[derive(Default)]
pub(super) struct TopicTree {
    root: Node,
}

#[derive(Default)]
struct Node {
    below: HashMap<Box<str>, Node>,
    message: Option<Arc<Message>>,
}

impl TopicTree {
    pub(super) fn is_empty(&self) -> bool {
        self.root.is_empty()
    }

    pub(super) fn get(&self, topic: &TopicName) -> Option<&Arc<Message>> {
        let mut node = &self.root;
        for level in topic.as_str().split('/') {
            node = node.below.get(level)?;
        }
        node.message.as_ref()
    }

    pub(super) fn put(&mut self, message: Arc<Message>) {
        let mut node = &mut self.root;
        for level in message.topic.clone().as_str().split('/') {
            node = node.below.entry_ref(level).or_default();
        }
        node.message = Some(message);
    }

    /// The walk goes as deep as the topic, at most 32 levels.
    pub(super) fn remove(&mut self, topic: &TopicName) -> Option<Arc<Message>> {
        self.root.remove(topic.as_str().split('/'))
    }

    /// Calls `found` for every message whose topic matches, until it says no or `visits` nodes were seen. False when
    /// the walk was cut short.
    pub(super) fn matching(
        &self,
        filter: &TopicFilter,
        mut visits: usize,
        mut found: impl FnMut(&Arc<Message>) -> bool,
    ) -> bool {
        let mut open: Vec<(&Node, Option<&str>, bool)> =
            vec![(&self.root, Some(filter.as_str()), true)];
        while let Some((node, left, is_root)) = open.pop() {
            let Some(fewer) = visits.checked_sub(1) else { return false };
            visits = fewer;
            let (level, next) = match left {
                None => {
                    if !node.message.iter().all(&mut found) {
                        return false;
                    }
                    continue;
                }
                Some(left) => split(left),
            };
            match level {
                "#" => {
                    if !node.message.iter().all(&mut found) {
                        return false;
                    }
                    open.extend(node.children(is_root).map(|child| (child, left, false)));
                }
                "+" => open.extend(node.children(is_root).map(|child| (child, next, false))),
                _ => open.extend(node.below.get(level).map(|child| (child, next, false))),
            }
        }
        true
    }

    /// Calls `found` for every message.
    pub(super) fn all(&self, mut found: impl FnMut(&Arc<Message>)) {
        let mut open = vec![&self.root];
        while let Some(node) = open.pop() {
            node.message.iter().for_each(&mut found);
            open.extend(node.below.values());
        }
    }
}

fn split(left: &str) -> (&str, Option<&str>) {
    match left.split_once('/') {
        Some((level, next)) => (level, Some(next)),
        None => (left, None),
    }
}

impl Node {
    fn is_empty(&self) -> bool {
        self.message.is_none() && self.below.is_empty()
    }

    /// Children that a wildcard reaches: in the first level not those that begin with `$` (MQTT-4.7.2-1).
    fn children(&self, is_root: bool) -> impl Iterator<Item = &Node> {
        self.below
            .iter()
            .filter(move |(level, _)| !(is_root && level.starts_with('$')))
            .map(|(_, child)| child)
    }

    fn remove<'a>(&mut self, mut levels: impl Iterator<Item = &'a str>) -> Option<Arc<Message>> {
        let Some(level) = levels.next() else { return self.message.take() };
        let child = self.below.get_mut(level)?;
        let removed = child.remove(levels);
        if child.is_empty() {
            self.below.remove(level);
        }
        removed
    }
}
