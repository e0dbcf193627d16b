//! Filters by level: finds all filters that match a topic in one walk, without looking at the others.

use crate::routing::per_tenant::Empties;
use hashbrown::HashMap;
use tessera_token::topic::TopicFilter;

/// The filters of one tenant, each with a value.
pub(in crate::routing) struct FilterTree<T> {
    root: Node<T>,
    count: usize,
}

struct Node<T> {
    literal: HashMap<Box<str>, Node<T>>,
    plus: Option<Box<Node<T>>>,
    /// A filter that ends here.
    here: Option<T>,
    /// A filter that ends here with `#`.
    rest: Option<T>,
}

impl<T> Default for Node<T> {
    fn default() -> Self {
        Self { literal: HashMap::new(), plus: None, here: None, rest: None }
    }
}

impl<T> Default for FilterTree<T> {
    fn default() -> Self {
        Self { root: Node::default(), count: 0 }
    }
}

impl<T> Empties for FilterTree<T> {
    fn is_empty(&self) -> bool {
        self.count == 0
    }
}

impl<T> FilterTree<T> {
    /// Puts a value; returns an older one of the same filter.
    pub(in crate::routing) fn put(&mut self, filter: &TopicFilter, value: T) -> Option<T> {
        let mut node = &mut self.root;
        for level in filter.as_str().split('/') {
            node = match level {
                "#" => return replace(&mut node.rest, value, &mut self.count),
                "+" => node.plus.get_or_insert_default(),
                _ => node.literal.entry_ref(level).or_default(),
            };
        }
        replace(&mut node.here, value, &mut self.count)
    }

    /// Takes a value out and prunes what is empty then. The walk goes as deep as the filter, at most 32 levels.
    pub(in crate::routing) fn remove(&mut self, filter: &TopicFilter) -> Option<T> {
        let removed = self.root.remove(filter.as_str().split('/'));
        self.count -= usize::from(removed.is_some());
        removed
    }

    /// Calls `found` for every filter that matches. Each node is visited at most once.
    pub(in crate::routing) fn matching<'a>(&'a self, topic: &str, mut found: impl FnMut(&'a T)) {
        // Most walks have one way to go at a time: only a fork takes heap memory.
        let mut open: Vec<(&Node<T>, Option<&str>)> = Vec::new();
        let mut next = Some((&self.root, Some(topic)));
        // Wildcards in the first level do not match `$…` (MQTT-4.7.2-1).
        let mut wildcards = !topic.starts_with('$');
        while let Some((node, left)) = next.or_else(|| open.pop()) {
            next = None;
            if let (true, Some(rest)) = (wildcards, &node.rest) {
                found(rest);
            }
            let Some(left) = left else {
                node.here.iter().for_each(&mut found);
                continue;
            };
            let (level, deeper) = match left.split_once('/') {
                Some((level, deeper)) => (level, Some(deeper)),
                None => (left, None),
            };
            let plus = node.plus.as_deref().filter(|_| wildcards);
            // No lookup asks for the hash of a level where all filters have a wildcard.
            let literal = (!node.literal.is_empty()).then(|| node.literal.get(level)).flatten();
            if let (Some(plus), Some(_)) = (plus, literal) {
                open.push((plus, deeper));
            }
            next = literal.or(plus).map(|child| (child, deeper));
            wildcards = true;
        }
    }
}

fn replace<T>(place: &mut Option<T>, value: T, count: &mut usize) -> Option<T> {
    let old = place.replace(value);
    *count += usize::from(old.is_none());
    old
}

impl<T> Node<T> {
    fn remove<'a>(&mut self, mut levels: impl Iterator<Item = &'a str>) -> Option<T> {
        let Some(level) = levels.next() else { return self.here.take() };
        match level {
            "#" => self.rest.take(),
            "+" => {
                let plus = self.plus.as_mut()?;
                let removed = plus.remove(levels);
                if plus.is_empty() {
                    self.plus = None;
                }
                removed
            }
            _ => {
                let child = self.literal.get_mut(level)?;
                let removed = child.remove(levels);
                if child.is_empty() {
                    self.literal.remove(level);
                }
                removed
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.here.is_none() && self.rest.is_none() && self.plus.is_none() && self.literal.is_empty()
    }
}
