//! The statements of a group of batches, in their order. No connection.
//!
//! A row that is demanded, and that no batch of the group writes, is looked at once for all of them, and other transactions
//! may demand it at the same time: a tenant is in the batch of each of its devices.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::sql::batch::{Batch, Expect, Statement};
use crate::sql::value::Value;

/// A statement, and the batches that are refused when it fails: none stands for all.
pub(super) struct Step<'a> {
    /// In their order, each once.
    pub(super) batches: Vec<usize>,
    pub(super) statement: Cow<'a, Statement>,
}

impl<'a> Step<'a> {
    /// One that is for all batches.
    pub(super) fn of_all(statement: Statement) -> Self {
        Self { batches: Vec::new(), statement: Cow::Owned(statement) }
    }
}

/// The statements that make `group`.
pub(super) fn of<'a>(group: &[&'a Batch]) -> Vec<Step<'a>> {
    let written: HashSet<&str> =
        group.iter().flat_map(|batch| &batch.writes).map(|write| write.table).collect();
    let mut steps: Vec<Step<'a>> = Vec::new();
    let mut demanded: HashMap<(Arc<str>, Vec<Value>), usize> = HashMap::new();
    for (number, batch) in group.iter().enumerate() {
        for expect in &batch.expects {
            let is_written = written.contains(expect.query.table);
            let demand = demand(expect, is_written);
            if !is_written {
                let asked = (Arc::clone(&demand.sql), demand.values.clone());
                let step = *demanded.entry(asked).or_insert(steps.len());
                if let Some(step) = steps.get_mut(step) {
                    if step.batches.last() != Some(&number) {
                        step.batches.push(number);
                    }
                    continue;
                }
            }
            steps.push(Step { batches: vec![number], statement: Cow::Owned(demand) });
        }
        steps.extend(
            batch
                .writes
                .iter()
                .map(|write| Step { batches: vec![number], statement: Cow::Borrowed(write) }),
        );
    }
    steps
}

/// Raises an error of the server when it does not hold. The row that it finds is as it is until the end of the transaction,
/// but for one that is not held.
fn demand(expect: &Expect, is_written: bool) -> Statement {
    let Statement { table, sql, values } = expect.query.clone();
    let count = if expect.finds { "count(*)" } else { "(1 - count(*))" };
    let hold = match (expect.holds, is_written) {
        (false, _) => "",
        // Two that hold a row together and then write it would wait for each other.
        (true, true) => " FOR UPDATE",
        (true, false) => " FOR SHARE",
    };
    let sql = format!("SELECT 1 / {count} FROM ({sql}{hold}) AS found").into();
    Statement { table, sql, values }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement(table: &'static str, sql: &str, value: i64) -> Statement {
        Statement { table, sql: sql.into(), values: vec![Value::Int(value)] }
    }

    fn batch(expects: &[(&'static str, i64)], writes: &[(&'static str, i64)]) -> Batch {
        let demand = |(table, value): &(&'static str, i64)| Expect {
            query: statement(table, "SELECT", *value),
            finds: true,
            holds: true,
        };
        let mut batch = Batch::new();
        batch.expects = expects.iter().map(demand).collect();
        batch.writes =
            writes.iter().map(|(table, value)| statement(table, "INSERT", *value)).collect();
        batch
    }

    fn told(steps: &[Step<'_>]) -> Vec<(String, i64, Vec<usize>)> {
        let one = |step: &Step<'_>| {
            let Some(Value::Int(value)) = step.statement.values.first() else { unreachable!() };
            let words: Vec<&str> = step.statement.sql.split(' ').collect();
            let lock = words.iter().skip_while(|word| **word != "FOR").nth(1);
            let sql = lock.map_or(words[0].to_owned(), |lock| lock.replace(')', ""));
            (format!("{} {sql}", step.statement.table), *value, step.batches.clone())
        };
        steps.iter().map(one).collect()
    }

    #[test]
    fn a_row_that_is_not_written_is_demanded_once_for_all() {
        let [first, second] = [7, 8]
            .map(|device| batch(&[("tenants", 1), ("devices", device)], &[("tokens", device)]));
        let wanted = [
            ("tenants SHARE", 1, vec![0, 1]),
            ("devices SHARE", 7, vec![0]),
            ("tokens INSERT", 7, vec![0]),
            ("devices SHARE", 8, vec![1]),
            ("tokens INSERT", 8, vec![1]),
        ];
        let wanted: Vec<_> =
            wanted.map(|(sql, value, batches)| (sql.to_owned(), value, batches)).into();
        assert_eq!(told(&of(&[&first, &second])), wanted);
    }

    #[test]
    fn a_batch_that_demands_a_row_twice_is_named_once() {
        let twice = batch(&[("roles", 1), ("roles", 1)], &[]);
        assert_eq!(told(&of(&[&twice])), [("roles SHARE".to_owned(), 1, vec![0])]);
    }

    /// The second batch must see what the first one wrote.
    #[test]
    fn a_row_of_a_table_that_is_written_is_demanded_by_each_in_its_place() {
        let each = batch(&[("serials", 1)], &[("serials", 2)]);
        let wanted = [
            ("serials UPDATE", 1, vec![0]),
            ("serials INSERT", 2, vec![0]),
            ("serials UPDATE", 1, vec![1]),
            ("serials INSERT", 2, vec![1]),
        ];
        let wanted: Vec<_> =
            wanted.map(|(sql, value, batches)| (sql.to_owned(), value, batches)).into();
        assert_eq!(told(&of(&[&each, &each])), wanted);
    }
}
