//! What is registered: tenants, their roles and groups, the claims that entitle to enrol, and the enrolled devices.

pub(crate) mod claims;
pub(crate) mod code;
pub(crate) mod devices;
pub(crate) mod groups;
pub(crate) mod records;
pub(crate) mod roles;
pub(crate) mod templates;
pub(crate) mod tenants;
#[cfg(test)]
mod tests;

/// Whom a change is put down to in the audit log.
#[derive(Debug, Clone)]
pub(crate) struct Actor(pub(crate) String);

/// One page of a list.
pub(crate) struct Page<T> {
    pub(crate) items: Vec<T>,
    /// What to ask for next; `None` at the end.
    pub(crate) next: Option<String>,
}

impl<T> Page<T> {
    /// From rows read with one more than `limit`.
    pub(crate) fn of(mut items: Vec<T>, limit: usize, cursor: impl Fn(&T) -> String) -> Self {
        let more = items.len() > limit;
        items.truncate(limit);
        let next = match more {
            true => items.last().map(cursor),
            false => None,
        };
        Self { items, next }
    }
}
