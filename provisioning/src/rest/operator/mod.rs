//! Resources of operators: JSON. One file per resource.

pub(crate) mod api_tokens;
pub(crate) mod audit;
pub(crate) mod claims;
pub(crate) mod devices;
pub(crate) mod events;
pub(crate) mod groups;
pub(crate) mod history;
pub(crate) mod imports;
pub(crate) mod keys;
pub(crate) mod operators;
pub(crate) mod partners;
pub(crate) mod reason;
pub(crate) mod rekeys;
pub(crate) mod revoked;
pub(crate) mod roles;
pub(crate) mod status;
pub(crate) mod suspension;
pub(crate) mod tenants;
pub(crate) mod tokens;
pub(crate) mod verifiers;
pub(crate) mod ways;
pub(crate) mod webhooks;
