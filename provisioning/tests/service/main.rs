//! The service as its users meet it: over HTTP, on a real store.

#![allow(unreachable_pub, reason = "modules of a test binary share by pub")]
#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the helpers of tests are tests; a test that cannot go on panics"
)]

mod postgres;
mod world;

mod alerts;
mod announce;
mod api_tokens;
mod attributes;
mod audit;
mod bound;
mod certificates;
mod claim_imports;
mod clock;
mod devices;
mod doors;
mod enrol;
mod epochs;
mod etags;
mod events;
mod families;
mod feed;
mod history;
mod imports;
mod introspect;
mod inventory;
mod keys;
mod killed;
mod killed_together;
mod matrix;
mod modules;
mod moving;
mod once;
mod open_claims;
mod operators;
mod partners;
mod push;
mod push_bounds;
mod rates;
mod refresh;
mod refusals;
mod registry;
mod rekey;
mod restart;
mod restored;
mod restraints;
mod revoke;
mod roles;
mod room;
mod roots;
mod roots_lost;
mod rotation;
mod rules;
mod secrets;
mod several;
mod shares;
mod shown;
mod strangers;
mod suspend;
mod sweep;
mod symmetric;
mod taken;
mod token;
mod trl;
mod ways;
mod webhooks;
mod wire;
