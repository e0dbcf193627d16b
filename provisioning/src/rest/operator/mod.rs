//! Resources of operators: JSON. One file per resource.

use super::endpoint::Endpoint;

pub(crate) mod announcement;
pub(crate) mod answers;
pub(crate) mod api_tokens;
pub(crate) mod audit;
mod claim_line;
pub(crate) mod claims;
mod device_line;
pub(crate) mod devices;
pub(crate) mod events;
pub(crate) mod exports;
pub(crate) mod groups;
pub(crate) mod history;
pub(crate) mod imports;
pub(crate) mod inventory;
pub(crate) mod keys;
pub(crate) mod operators;
pub(crate) mod partners;
pub(crate) mod reason;
pub(crate) mod rekeys;
pub(crate) mod restraints;
pub(crate) mod revoked;
pub(crate) mod roles;
pub(crate) mod rules;
pub(crate) mod status;
pub(crate) mod suspension;
pub(crate) mod tenants;
pub(crate) mod tokens;
pub(crate) mod verifiers;
pub(crate) mod ways;
pub(crate) mod webhooks;

/// Their endpoints.
pub(super) fn table() -> Vec<Endpoint> {
    [
        api_tokens::table(),
        audit::table(),
        claims::table(),
        devices::table(),
        events::table(),
        exports::table(),
        groups::table(),
        history::table(),
        imports::table(),
        keys::table(),
        operators::table(),
        partners::table(),
        rekeys::table(),
        roles::table(),
        status::table(),
        announcement::table(),
        answers::table(),
        inventory::table(),
        restraints::table(),
        rules::table(),
        suspension::table(),
        tenants::table(),
        tokens::table(),
        verifiers::table(),
        ways::table(),
        webhooks::table(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
