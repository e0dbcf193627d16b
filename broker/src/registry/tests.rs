use super::index::Index;
use crate::message::SubscriberId;

fn ids(index: &Index<&'static str>, key: &'static str) -> Vec<u64> {
    let mut ids: Vec<u64> = index.get(&key).map(|id| id.0).collect();
    ids.sort_unstable();
    ids
}

#[test]
fn an_index_keeps_one_and_many() {
    let mut index = Index::default();
    index.add("a", SubscriberId(1));
    index.add("a", SubscriberId(1));
    assert_eq!(ids(&index, "a"), [1]);
    index.add("a", SubscriberId(2));
    index.add("b", SubscriberId(3));
    assert_eq!(ids(&index, "a"), [1, 2]);
    index.remove(&"a", SubscriberId(9));
    index.remove(&"a", SubscriberId(1));
    index.remove(&"a", SubscriberId(2));
    assert!(ids(&index, "a").is_empty());
    index.remove(&"b", SubscriberId(4));
    assert_eq!(ids(&index, "b"), [3]);
}
