use std::sync::Arc;

use super::disk::Watch;
use super::loss::Loss;

/// How a store is opened.
#[derive(Clone, Default)]
pub struct StoreOptions {
    /// Go on with what is left of a store that holds less than it should. [`Opened::accepted`] names the loss.
    pub accept_loss: bool,
    /// Look through all of it at the open, however large it is: a SQL database.
    pub check_all: bool,
    /// A file beside the store says that there was one: an empty folder is a loss, and not a new store.
    pub must_exist: bool,
    /// Sees what the store asks of the disk: for tests and simulations.
    pub watch: Option<Arc<dyn Watch>>,
}

/// Findings of opening a store.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Opened {
    /// There was no store: this one is new.
    pub founded: bool,
    /// The last process that wrote it had closed it. False for a new one, after a crash, and for a copy.
    pub clean: bool,
    /// It began as a copy, or with a loss that was accepted, and no process has closed it since: something that was
    /// written may not be in it.
    pub copied: bool,
    /// The loss that was accepted.
    pub accepted: Option<Loss>,
}
