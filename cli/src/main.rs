//! One binary for all of Tessera.
fn main() {}
