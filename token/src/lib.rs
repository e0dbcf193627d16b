//! Tokens of Tessera: layout, issuing, validation, and the messages around them.
//!
//! A token is a CWT (RFC 8392) in COSE_Sign1 (RFC 9052) that names a device, its rights as
//! AIF-MQTT (RFC 9237, RFC 9431) and the key that must prove possession of it (RFC 8747).
//! This crate encodes, issues, parses and judges tokens and the messages around them. It has no
//! I/O, no clock, no randomness and no runtime: time is an argument, and what a verifier knows
//! comes in through [`chain::TrustView`]. It builds with `no_std + alloc`, so devices can use it.
//!
//! It is not a general COSE library: one token form, and a peer's bytes that differ are refused.
//!
//! Read in this order: [`ids`], [`topic`], [`scope`], [`key`], [`claims`], [`issue`], [`proof`],
//! [`ace`], [`chain`], [`messages`], [`trust`].
//!
//! # A verifier that judges a token
//!
//! It answers from data that it has verified and stored:
//!
//! ```
//! use tessera_token::chain::{self, IssuerKey, KeyState, StalenessBudget, TenantTrust, TrustView};
//! use tessera_token::claims::{Claims, Epochs, Serial};
//! use tessera_token::hash::TokenHash;
//! use tessera_token::ids::{Audience, DeviceId, TenantId};
//! use tessera_token::key::{Algorithm, KeyId, SecretKey};
//! use tessera_token::refusal::RefusalCode;
//! use tessera_token::scope::{Permission, Scope, ScopeEntry};
//! use tessera_token::time::UnixSeconds;
//! use tessera_token::topic::{TopicFilter, TopicName};
//!
//! struct Known {
//!     audience: Audience,
//!     keys: Vec<IssuerKey>,
//!     tenant: TenantTrust,
//!     confirmed: UnixSeconds,
//! }
//!
//! impl TrustView for Known {
//!     fn audience(&self) -> &Audience {
//!         &self.audience
//!     }
//!     fn issuer_keys(&self, kid: KeyId) -> &[IssuerKey] {
//!         if self.keys[0].key.key_id() == kid { &self.keys } else { &[] }
//!     }
//!     fn tenant(&self, tenant: &str) -> Option<&TenantTrust> {
//!         (self.tenant.tenant.as_str() == tenant).then_some(&self.tenant)
//!     }
//!     fn group_epoch(&self, _: &TenantId, _: u64) -> u64 {
//!         0
//!     }
//!     fn device_epoch(&self, _: &TenantId, _: &str) -> u64 {
//!         0
//!     }
//!     fn token_revoked(&self, _: &TokenHash) -> bool {
//!         false
//!     }
//!     fn trusted_at(&self) -> Option<UnixSeconds> {
//!         Some(self.confirmed)
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let now = UnixSeconds::new(1_790_000_000);
//! let issuer = SecretKey::from_seed(&[1; 32]);
//! let tenant = TenantId::parse("acme")?;
//! let known = Known {
//!     audience: Audience::parse("mqtt")?,
//!     keys: vec![IssuerKey {
//!         tenant: tenant.clone(),
//!         key: issuer.public(),
//!         not_before: now.minus(86_400),
//!         not_after: now.plus(86_400),
//!         state: KeyState::Active,
//!     }],
//!     tenant: TenantTrust {
//!         tenant: tenant.clone(),
//!         epoch: 0,
//!         suspended: false,
//!         bearer: false,
//!         staleness: StalenessBudget::default(),
//!     },
//!     confirmed: now,
//! };
//!
//! // Provisioning issues:
//! let telemetry = TopicFilter::parse("d/d-17/telemetry")?;
//! let claims = Claims {
//!     tenant,
//!     device: DeviceId::parse("d-17")?,
//!     audience: Audience::parse("mqtt")?,
//!     expires: now.plus(3_600),
//!     not_before: None,
//!     issued: now,
//!     serial: Serial::from_counter(1),
//!     confirmation: Some(SecretKey::from_seed(&[3; 32]).public()),
//!     scope: Scope::new(vec![ScopeEntry { filter: telemetry, permission: Permission::Publish }])?,
//!     epochs: Epochs::default(),
//! };
//! let token = tessera_token::issue::issue(&claims, Algorithm::Ed25519, &issuer)?;
//!
//! // The verifier checks, without a network:
//! let verified = chain::verify(&token, &known, now).map_err(|refusal| refusal.code)?;
//! assert!(verified.claims().scope.may_publish(&TopicName::parse("d/d-17/telemetry")?));
//!
//! let late = chain::verify(&token, &known, now.plus(3_601));
//! assert_eq!(late.err().map(|refusal| refusal.code), Some(RefusalCode::TokenExpired));
//! # Ok(())
//! # }
//! ```
#![cfg_attr(not(test), no_std)]

extern crate alloc;

pub mod limits;

pub mod ids;
pub mod refusal;
pub mod time;
pub mod topic;

pub mod cbor;
mod cose;
pub mod hash;
pub mod key;
pub mod pop;
pub mod scope;
pub mod seal;

pub mod ace;
pub mod claims;
pub mod grant;
pub mod issue;
pub mod presented;
pub mod proof;
pub mod status_list;
pub mod token_identity;

pub mod chain;
pub mod encoding;
pub mod messages;
pub mod trust;

pub mod head;
