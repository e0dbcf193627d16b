//! The folder, its key and its counter.

use tessera_token::ids::ClientId;
use tessera_token::key::SecretKey;

use super::super::folder::{Card, Folder};
use super::trouble::Trouble;
use super::visit::Visit;
use crate::error::Fault;

/// The trouble of a file that cannot be used.
pub(super) fn of_fault(fault: &Fault, otherwise: &str) -> Trouble {
    let remedy = fault.what_next().unwrap_or(otherwise);
    Trouble::Folder(fault.words().to_owned(), remedy.to_owned())
}

/// The key, when it can be used, and what the folder says about its files.
pub(super) fn key(visit: &mut Visit, folder: &Folder) -> Option<SecretKey> {
    if let Some((path, mode)) = folder.open_to_others() {
        visit.bad("key", Trouble::Open(path.display().to_string(), mode));
        return None;
    }
    match folder.key() {
        Ok(key) => {
            let thumbprint = key.public().thumbprint();
            visit.good("key", format!("readable by you alone, thumbprint {thumbprint:?}"));
            Some(key)
        }
        Err(fault) => {
            let otherwise = "bring the key of the device back, or enrol again into a new folder: \
                tessera device enrol --help";
            visit.bad("key", of_fault(&fault, otherwise));
            None
        }
    }
}

/// Whether the counter file was lost.
pub(super) fn counter(visit: &mut Visit, folder: &Folder) -> bool {
    match folder.counter() {
        Ok(Some(last)) => {
            visit.good("counter", format!("the last proof had {last}"));
            false
        }
        Ok(None) => {
            let words = "the file of the proof counter is lost or broken: it goes on from the time";
            visit.note("counter", words);
            true
        }
        Err(fault) => {
            visit.bad("counter", of_fault(&fault, "make the file readable for you alone"));
            false
        }
    }
}

/// Whether the client id that is tried is one of `owner`: of the device, or of the one that a password names.
pub(super) fn client_id(visit: &mut Visit, owner: &str) {
    let text = visit.ward.client_id.clone();
    match ClientId::parse(&text) {
        Err(_) => visit.bad("client id", Trouble::ClientIdBad),
        Ok(id) if id.subject() != owner => {
            visit.bad("client id", Trouble::ClientIdForeign(owner.to_owned()));
        }
        Ok(_) => visit.good("client id", format!("{text} is one of {owner}")),
    }
}

/// Identity of the device, in words.
pub(super) fn who(card: &Card) -> String {
    format!("{} of tenant {} at {}", card.device, card.tenant, card.http)
}
