//! Resources of devices: CBOR or JSON.

use tessera_token::refusal::RefusalCode;

pub(crate) mod ace;
mod ace_json;
pub(crate) mod endpoints;
mod json;

/// The codes of a refusal where a device proves a key and asks for a token.
const REFUSALS: &[RefusalCode] = &[
    RefusalCode::RateLimited,
    RefusalCode::OperatorNotAllowed,
    RefusalCode::ProofInvalid,
    RefusalCode::NonceInvalid,
    RefusalCode::DeviceRevoked,
    RefusalCode::DeviceSuspended,
    RefusalCode::GroupSuspended,
    RefusalCode::TenantSuspended,
    RefusalCode::RoleUnknown,
    RefusalCode::AttributeMissing,
    RefusalCode::RoleInvalid,
    RefusalCode::ConfirmationKey,
    RefusalCode::IssuerKeyMissing,
    RefusalCode::TokenTooLarge,
];
