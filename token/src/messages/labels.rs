//! Labels of RFC 9200 section 8.10 and our private ones (below -65536).

pub(super) const ACCESS_TOKEN: i64 = 1;
pub(super) const EXPIRES_IN: i64 = 2;
pub(super) const REQ_CNF: i64 = 4;
pub(super) const AUDIENCE: i64 = 5;
pub(super) const CNF: i64 = 8;
pub(super) const SCOPE: i64 = 9;
/// `token` of RFC 9200 introspection.
pub(super) const TOKEN: i64 = 11;
pub(super) const CLIENT_ID: i64 = 24;
pub(super) const ERROR: i64 = 30;
pub(super) const ERROR_DESCRIPTION: i64 = 31;
pub(super) const GRANT_TYPE: i64 = 33;
pub(super) const TOKEN_TYPE: i64 = 34;
pub(super) const REFRESH_TOKEN: i64 = 37;
pub(super) const ACE_PROFILE: i64 = 38;
pub(super) const CNONCE: i64 = 39;
pub(super) const TENANT: i64 = -65540;
pub(super) const IAT: i64 = -65541;
pub(super) const NONCE: i64 = -65542;
pub(super) const SIGNATURE: i64 = -65543;
pub(super) const SERVER_TIME: i64 = -65544;
pub(super) const CODE: i64 = -65545;
pub(super) const CLAIM: i64 = -65547;
pub(super) const POP_KEY: i64 = -65548;
pub(super) const ANSWER_KEY: i64 = -65549;
pub(super) const SEALED_CNF: i64 = -65550;
pub(super) const WANT_REFRESH_TOKEN: i64 = -65560;
pub(super) const FORMER_THUMBPRINT: i64 = -65562;
pub(super) const FORMER_SIGNATURE: i64 = -65561;
pub(super) const WAY: i64 = -65563;
pub(super) const SECRET_MAC: i64 = -65564;
pub(super) const CERTIFICATES: i64 = -65565;
pub(super) const CERTIFICATE_SIGNATURE: i64 = -65566;

/// `grant_type` client_credentials.
pub(super) const CLIENT_CREDENTIALS: u64 = 2;
/// `token_type` Bearer and PoP.
pub(super) const BEARER: u64 = 1;
pub(super) const POP: u64 = 2;
/// The COSE_Key member of `cnf` and `req_cnf`.
pub(super) const COSE_KEY: i64 = 1;
