//! Recovery of a service whose store came back from an older copy ([`crate::trust::restored`] is the jump itself):
//! [`adopt`] takes in what readers show, [`lift`] revokes once more what this process revoked below a lost epoch.

pub(crate) mod adopt;
pub(crate) mod lift;
