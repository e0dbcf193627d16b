//! The device side for people: a folder per device.

use crate::args::DeviceCommand;
use crate::error::Outcome;

mod connect;
mod doctor;
mod end;
mod enrol;
mod folder;
mod holding;
mod key;
mod means;
mod password;
mod proxy;
mod refresh_token;
mod rekey;
#[cfg(test)]
mod testing;
mod token;

/// The payload of a test message.
const TEST_MESSAGE: &[u8] = b"{\"test\":true}";

/// Carries out one verb.
pub(crate) async fn run(command: DeviceCommand) -> Outcome {
    match command {
        DeviceCommand::Enrol(args) => enrol::run(args).await,
        DeviceCommand::Key(args) => key::run(&args),
        DeviceCommand::Token(args) => token::run(args).await,
        DeviceCommand::RefreshToken(args) => refresh_token::run(args).await,
        DeviceCommand::Rekey(args) => rekey::run(args).await,
        DeviceCommand::Password(args) => password::run(args).await,
        DeviceCommand::Connect(args) => connect::run(args).await,
        DeviceCommand::Doctor(args) => doctor::run(args).await,
        DeviceCommand::Proxy(args) => proxy::run(args).await,
    }
}
