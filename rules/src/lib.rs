//! Hot rules: small expressions over what a device does, bounded and checked before they are accepted.
//!
//! The language is a typed subset of CEL (`docs/rules.md`). A text is scanned, parsed, checked against the attributes of
//! its event and compiled to a small tree; that tree terminates, allocates nothing and cannot fail. This crate has no
//! I/O, no clock and no runtime: events and times are arguments.
//!
//! Reading order: [`attributes`], [`language`], [`rule`], [`set`], [`dry_run`].

pub mod limits;

pub mod attributes;

pub mod language;

pub mod rule;

pub mod set;

pub mod dry_run;
