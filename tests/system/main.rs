//! The whole system from outside: the started binary, real clients, and the shape of the code.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "this crate is tests: a panic is how it tells"
)]

mod answers;
mod architecture;
mod backup;
mod bench;
mod cbor_peers;
mod commands;
mod connecting;
mod demo;
mod deploy;
mod device_lines;
mod device_page;
mod device_proxy;
mod devices;
mod doctor;
mod enrol_mqtt;
mod fleet;
mod gateway;
mod https;
mod imports;
mod independent;
mod inventory;
mod judges;
mod kills;
mod life;
mod load;
mod logs;
mod modules;
mod mosquitto;
mod mqttjs;
mod packaging;
mod pages;
mod paho;
mod partners;
mod pauses;
mod play;
mod proxies;
mod push;
mod readme;
mod refresh_tokens;
mod revocations;
mod roots;
mod rumqttc;
mod schemathesis;
mod scripts;
mod secrets;
mod stubborn;
mod symmetric;
mod tenants;
mod times;
mod tls;
mod two_processes;
mod uplink;
mod ways;
mod webhooks;
