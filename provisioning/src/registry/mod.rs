//! The registry: tenants, their roles and groups, the claims that entitle to enrol, and the enrolled devices.

pub(crate) mod announcement;
pub(crate) mod attributes;
pub(crate) mod claim_uses;
pub(crate) mod claims;
pub(crate) mod code;
pub(crate) mod departure;
pub(crate) mod device_keys;
pub(crate) mod devices;
pub(crate) mod groups;
pub(crate) mod history;
pub(crate) mod imports;
pub(crate) mod open_claims;
pub(crate) mod open_rows;
pub(crate) mod pattern;
pub(crate) mod reach;
pub(crate) mod rekeys;
pub(crate) mod rights;
pub(crate) mod roles;
pub(crate) mod standing;
pub(crate) mod suspension;
pub(crate) mod templates;
pub(crate) mod tenants;
#[cfg(test)]
mod tests;
pub(crate) mod ways;
