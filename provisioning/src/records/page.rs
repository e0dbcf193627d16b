/// One page of a list.
pub(crate) struct Page<T> {
    pub(crate) items: Vec<T>,
    /// The cursor to ask for next; `None` at the end.
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
