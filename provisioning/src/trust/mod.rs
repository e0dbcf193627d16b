//! The trust feed: what verifiers must know, in one order, signed by the root key.
//!
//! [`ledger`] is the pure step (head and changes in, rows out), [`actor`] runs it one publication after the other,
//! [`snapshot`] is the state at one sequence number, [`whole`] makes that of all tenants, [`waiters`] wakes the readers that wait, [`readers`] notices two
//! verifiers of one name, [`mod@line`] has the root keys of before, [`confirmed`] keeps the event that each verifier has, [`held`] runs what takes long. [`bound`] and [`bells`] are the same for the readers of some
//! tenants. [`restored`] is the jump of a store that came back from an older copy. The answers to readers are in
//! [`crate::feed`], the rest of a recovery in [`crate::recovery`].

pub(crate) mod actor;
pub(crate) mod bells;
pub(crate) mod bound;
pub(crate) mod confirmed;
pub(crate) mod follow;
pub(crate) mod held;
pub(crate) mod ledger;
pub(crate) mod line;
pub(crate) mod readers;
pub(crate) mod restored;
pub(crate) mod snapshot;
#[cfg(test)]
mod tests;
pub(crate) mod waiters;
pub(crate) mod waiting;
pub(crate) mod whole;
