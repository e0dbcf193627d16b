//! The chain against a table of tokens that must be refused, each with its own code.

mod budget;
mod derived;
mod limits;
mod proofs;
mod references;
mod refusals;
mod vectors;
mod world;
