use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use tessera_token::ids::VerifierName;

use super::device::{FolderArgs, TlsArgs};
use super::LogArgs;

/// Where clients of this machine connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Listen {
    /// A port of the loopback interface.
    Loopback(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return match path.is_empty() {
                true => Err("the path of the socket is missing: use unix:PATH".to_owned()),
                false => Ok(Self::Unix(path.into())),
            };
        }
        let address: SocketAddr = text.parse().map_err(|_| {
            format!("{text:?} is no address: use 127.0.0.1:PORT, [::1]:PORT or unix:PATH")
        })?;
        match address.ip().is_loopback() {
            true => Ok(Self::Loopback(address)),
            false => Err(format!(
                "{address} is not loopback: every machine that reaches it could act as the device; use \
                 127.0.0.1:PORT, [::1]:PORT or unix:PATH"
            )),
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loopback(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[derive(Args)]
#[command(after_help = "Examples:
  tessera device proxy --dir d-17 --broker mqtts://broker.example:8883
  mosquitto_sub -t d/d-17/cmd                       # on the same machine: no user name, no password
  mosquitto_pub -t d/d-17/telemetry -m 21.5

  tessera device proxy --dir d-17 --broker mqtts://broker.example:8883 --listen unix:/run/d-17/mqtt.sock
  mosquitto_sub --unix /run/d-17/mqtt.sock -t d/d-17/cmd

It takes the CONNECT of a client, puts the device's client id, token and proof into it, and passes
everything else on, byte for byte. It renews the token while clients stay connected, and keeps it
in the folder. The first client is d-17; further ones are d-17~2, d-17~3, or d-17~garage for a
client whose id ends with ~garage.

Every process that reaches the port or the socket acts as the device. So it listens on loopback,
or on a socket that its owner alone can open, and nowhere else. docs/proxy.md has the rest.")]
pub(crate) struct DeviceProxyArgs {
    #[command(flatten)]
    pub(crate) folder: FolderArgs,
    /// The broker: host:port, or a URL that begins with mqtt://, mqtts://, ws:// or wss://.
    #[arg(long, visible_alias = "broker", value_name = "ADDR")]
    pub(crate) mqtt: String,
    /// The verifier behind it, when it has a name of its own (default: the audience of the token).
    #[arg(long, value_name = "NAME")]
    pub(crate) verifier: Option<VerifierName>,
    #[command(flatten)]
    pub(crate) tls: TlsArgs,
    /// Where clients of this machine connect: an address of the loopback interface (port 0 takes a free one), or
    /// unix:PATH.
    #[arg(long, value_name = "ADDR|unix:PATH", default_value = "127.0.0.1:1883")]
    pub(crate) listen: Listen,
    /// Clients at once.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) clients: u16,
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_can_reach_the_proxy() {
        for good in ["127.0.0.1:1883", "127.9.9.9:0", "[::1]:1883", "unix:/run/x.sock", "unix:x"] {
            assert_eq!(good.parse::<Listen>().unwrap().to_string(), good);
        }
        let others = ["0.0.0.0:1883", "[::]:1883", "192.168.1.2:1883", "[::ffff:127.0.0.1]:1883"];
        for other in others {
            let told = other.parse::<Listen>().unwrap_err();
            assert!(told.contains("not loopback"), "{told}");
        }
        for bad in ["", "1883", "localhost:1883", "unix:", "127.0.0.1"] {
            assert!(bad.parse::<Listen>().is_err(), "{bad}");
        }
    }
}
