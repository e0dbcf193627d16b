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
pub mod proof;
pub mod standing;

pub mod chain;
pub mod messages;
pub mod text;
pub mod trust;

pub mod head;
