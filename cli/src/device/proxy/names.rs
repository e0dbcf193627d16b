//! Client ids at the broker: each local client has one of its own for as long as it is connected.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tessera_token::ids::ClientId;

use super::limits::REMEMBERED;

/// The client ids of a device.
#[derive(Clone)]
pub(super) struct Names {
    device: String,
    table: Arc<Mutex<Table>>,
}

#[derive(Default)]
struct Table {
    /// Of each client id in use: the local client id, and its connections. There are two for the moment in which the later
    /// one takes the session over.
    used: HashMap<String, (String, usize)>,
    /// Local client ids, and the client id that each had.
    remembered: VecDeque<(String, String)>,
}

/// A client id in use, until it is dropped.
pub(super) struct Name {
    client_id: String,
    names: Names,
}

/// The suffix that the client names is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct BadSuffix;

impl Names {
    pub(super) fn of(device: &str) -> Self {
        Self { device: device.to_owned(), table: Arc::default() }
    }

    /// The client id for a client that has this one for itself: with the suffix that it names behind `~`, else the one that
    /// it had before, else the first that is free.
    pub(super) fn take(&self, local: &str) -> Result<Name, BadSuffix> {
        let mut table = self.table();
        let client_id = match local.split_once('~') {
            Some((_, suffix)) => format!("{}~{suffix}", self.device),
            None => table.name_of(local).unwrap_or_else(|| self.free(&table)),
        };
        ClientId::parse(&client_id).map_err(|_| BadSuffix)?;
        table.used.entry(client_id.clone()).or_insert_with(|| (local.to_owned(), 0)).1 += 1;
        table.remember(local, &client_id);
        Ok(Name { client_id, names: self.clone() })
    }

    fn free(&self, table: &Table) -> String {
        if !table.used.contains_key(&self.device) {
            return self.device.clone();
        }
        let mut numbered = (2..).map(|number: u64| format!("{}~{number}", self.device));
        numbered.find(|name| !table.used.contains_key(name)).unwrap_or_default()
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn name_of(&self, local: &str) -> Option<String> {
        let had = |(of, _): &&(String, String)| !local.is_empty() && of == local;
        let (_, name) = self.remembered.iter().find(had)?;
        let is_taken = self.used.get(name).is_some_and(|(by, _)| by != local);
        (!is_taken).then(|| name.clone())
    }

    fn remember(&mut self, local: &str, client_id: &str) {
        if local.is_empty() {
            return;
        }
        self.remembered.retain(|(of, _)| of != local);
        self.remembered.push_front((local.to_owned(), client_id.to_owned()));
        self.remembered.truncate(REMEMBERED);
    }
}

impl Name {
    pub(super) fn as_str(&self) -> &str {
        &self.client_id
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        let mut table = self.names.table();
        if let Some((_, connections)) = table.used.get_mut(&self.client_id) {
            *connections -= 1;
            if *connections == 0 {
                table.used.remove(&self.client_id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(names: &[&Name]) -> Vec<String> {
        names.iter().map(|name| name.as_str().to_owned()).collect()
    }

    #[test]
    fn clients_at_once_have_client_ids_of_their_own() {
        let names = Names::of("d-17");
        let one = names.take("").unwrap();
        let two = names.take("").unwrap();
        let three = names.take("panel").unwrap();
        assert_eq!(all(&[&one, &two, &three]), ["d-17", "d-17~2", "d-17~3"]);
        drop(two);
        assert_eq!(names.take("").unwrap().as_str(), "d-17~2");
        drop(one);
        assert_eq!(names.take("other").unwrap().as_str(), "d-17");
    }

    #[test]
    fn a_client_that_comes_again_has_the_client_id_that_it_had() {
        let names = Names::of("d-17");
        let one = names.take("one").unwrap();
        let two = names.take("two").unwrap();
        // The old connection may not be known to be gone: the session is taken over.
        let again = names.take("two").unwrap();
        assert_eq!(all(&[&two, &again]), ["d-17~2", "d-17~2"]);
        drop((one, two));
        assert_eq!(names.take("three").unwrap().as_str(), "d-17");
        drop(again);
        assert_eq!(names.take("two").unwrap().as_str(), "d-17~2");
        let new = names.take("new").unwrap();
        assert_eq!((new.as_str(), names.take("one").unwrap().as_str()), ("d-17", "d-17~2"));
    }

    #[test]
    fn a_suffix_is_taken_as_the_client_names_it() {
        let names = Names::of("d-17");
        for (local, client_id) in
            [("d-17~garage", "d-17~garage"), ("~7", "d-17~7"), ("d-18~x", "d-17~x")]
        {
            assert_eq!(names.take(local).unwrap().as_str(), client_id);
        }
        for bad in ["~", "d-17~a/b", "~a~b", "~123456789012345678901234"] {
            assert!(names.take(bad).is_err(), "{bad}");
        }
        let named = names.take("~2").unwrap();
        let (one, two) = (names.take("").unwrap(), names.take("").unwrap());
        assert_eq!(all(&[&named, &one, &two]), ["d-17~2", "d-17", "d-17~3"]);
    }

    #[test]
    fn remembered_clients_are_bounded() {
        let names = Names::of("d-17");
        for number in 0..2 * REMEMBERED {
            drop(names.take(&format!("c-{number}")).unwrap());
        }
        assert_eq!(names.table().remembered.len(), REMEMBERED);
        assert!(names.table().used.is_empty());
    }
}
