use tessera_runtime::sql::{Key, Record, Table, Value};
use tessera_runtime::store::StoreError;
use tessera_token::ids::TenantId;

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

impl<R: Record> Page<(String, R)> {
    /// A page of the rows of a tenant, each with its name, behind the row `after`.
    pub(crate) async fn in_tenant(
        table: &Table<R>,
        tenant: &TenantId,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Self, StoreError> {
        let tenant: Value = tenant.as_str().into();
        let after: Option<Key> = after.map(|name| vec![tenant.clone(), name.into()]);
        let rows = table.scan(&[tenant], after.as_deref(), limit + 1).await?;
        Ok(Self::named(rows, limit))
    }

    /// A page of rows by the last value of their keys, a name.
    pub(crate) fn named(rows: Vec<(Key, R)>, limit: usize) -> Self {
        let named = rows.into_iter().filter_map(|(mut key, record)| match key.pop() {
            Some(Value::Text(name)) => Some((name, record)),
            _ => None,
        });
        Self::of(named.collect(), limit, |(name, _)| name.clone())
    }
}
