//! All targets. Each module has `target`, which libFuzzer calls too, and `seeds`, from which its corpus is written.

pub mod cbor;
pub mod codec;
pub mod codec_client;
pub mod codec_server;
pub mod config;
pub mod messages;
pub mod packets;
pub mod password;
pub mod proxy;
pub mod roots;
pub mod rules;
pub mod scope;
pub mod session;
pub mod token;
pub mod trust;
pub mod views;
mod world;

/// One target as the driver knows it.
pub struct Target {
    /// Its name, which is also that of its folders.
    pub name: &'static str,
    /// Its function over an input; panics when an invariant does not hold.
    pub run: fn(&[u8]),
    /// Inputs to begin with, by file name.
    pub seeds: fn() -> Vec<(String, Vec<u8>)>,
    /// Executions of a run that names no number: about ten seconds.
    pub runs: u64,
    /// Outcomes that such a run must reach, or the target has gone blind.
    pub least: usize,
}

macro_rules! targets {
    ($($name:ident: $runs:literal runs, $least:literal outcomes;)*) => {
        /// Every target.
        pub const ALL: &[Target] = &[$(Target {
            name: stringify!($name),
            run: $name::target,
            seeds: $name::seeds,
            runs: $runs,
            least: $least,
        },)*];
    };
}

targets! {
    codec_client: 500000 runs, 70 outcomes;
    codec_server: 500000 runs, 50 outcomes;
    session: 45000 runs, 90 outcomes;
    token: 18000 runs, 55 outcomes;
    password: 300000 runs, 60 outcomes;
    messages: 300000 runs, 9000 outcomes;
    trust: 12000 runs, 95 outcomes;
    views: 1500 runs, 100 outcomes;
    roots: 700 runs, 200 outcomes;
    scope: 120000 runs, 1000 outcomes;
    rules: 150000 runs, 35 outcomes;
    cbor: 1000000 runs, 2500 outcomes;
    config: 300000 runs, 1000 outcomes;
    proxy: 2000000 runs, 1000 outcomes;
}

/// Numbered seeds.
pub(crate) fn numbered(inputs: impl IntoIterator<Item = Vec<u8>>) -> Vec<(String, Vec<u8>)> {
    inputs.into_iter().enumerate().map(|(at, input)| (format!("{at:03}"), input)).collect()
}
