//! The command line of `tessera-agent`: the flags of `tessera agent`, each with one value. A flag goes before the settings
//! file.

use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tessera_agent::config::UplinkConfig;
use tessera_agent::daemon::DaemonConfig;
use tessera_agent::verifier::Verifier;
use tessera_agent::AgentConfig;
use tessera_runtime::http::Server;
use tessera_runtime::log::Format;
use tessera_runtime::secret::{read_public_text, read_secret_text};
use tessera_runtime::tls::Trust;
use tessera_token::encoding::{from_base64url, hex};
use tessera_token::ids::{Audience, TenantId, VerifierName};
use tessera_token::key::Thumbprint;
use tessera_token::trust::TenantSet;

use super::file::File;

/// The words for `--help`.
pub(crate) const HELP: &str = "\
The agent on a gateway: decides for other programs, online or offline (docs/agent.md).

Usage: tessera-agent --provisioning URL --feed-token FILE --root THUMBPRINT|FILE [flags]
       tessera-agent --uplink URL --device DIR --root THUMBPRINT|FILE [flags]

  --config FILE         a TOML file with settings (docs/settings.md); flags override it
  --check               read the settings, say whether they are good, and end
  --data DIR            the folder of the agent's state (default: ./tessera-agent)
  --http ADDR           where to answer over loopback HTTP (default: 127.0.0.1:9465)
  --socket PATH         a Unix socket to answer on as well
  --provisioning URL    provisioning: https://, or http:// on this machine
  --cafile FILE         the authorities that may sign the certificate of provisioning
  --feed-token FILE     the token for the trust feed
  --feed-tenant ID      a tenant of that token's account; several times for several
  --uplink URL          a broker over which trust comes in the place of provisioning: mqtts://host:port
  --device DIR          the folder of the device that the gateway is there
  --root T|FILE         the thumbprint of the root key
  --offline-root T|FILE the thumbprint of the offline root key
  --audience NAME       the audience that tokens must name (default: mqtt)
  --verifier NAME       the name that connect proofs must be made for (default: drawn at the first start)
  --log LEVEL           error, warn, info, debug, or target=level,… (default: info)
  --accept-loss         go on with a store that holds less than it should
";

/// Loopback, the port of `tessera agent`.
const HTTP: ([u8; 4], u16) = ([127, 0, 0, 1], 9465);
/// Seconds for the parts to end.
const DRAIN: u64 = 10;

/// A flag that is missing, unknown or without a usable value.
#[derive(Debug)]
pub(crate) struct Wrong(String);

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The flags, checked.
pub(crate) struct Settings {
    pub(crate) data: PathBuf,
    pub(crate) daemon: DaemonConfig,
    pub(crate) log: String,
    pub(crate) format: Format,
    pub(crate) drain: Duration,
    /// Whether to say that they are good, and to end.
    pub(crate) is_check: bool,
}

#[derive(Default)]
struct Raw {
    config: Option<PathBuf>,
    check: bool,
    uplink: Option<String>,
    device: Option<PathBuf>,
    data: Option<PathBuf>,
    http: Option<SocketAddr>,
    socket: Option<PathBuf>,
    provisioning: Option<String>,
    cafile: Option<PathBuf>,
    feed_token: Option<PathBuf>,
    tenants: Vec<TenantId>,
    root: Option<Thumbprint>,
    offline_root: Option<Thumbprint>,
    audience: Option<Audience>,
    verifier: Option<VerifierName>,
    log: Option<String>,
    accept_loss: bool,
}

impl Settings {
    /// Reads the flags. `None` is a question for help.
    pub(crate) fn read(flags: impl IntoIterator<Item = String>) -> Result<Option<Self>, Wrong> {
        let mut raw = Raw::default();
        let mut flags = flags.into_iter();
        while let Some(flag) = flags.next() {
            match flag.as_str() {
                "--help" | "-h" => return Ok(None),
                "--accept-loss" => raw.accept_loss = true,
                "--check" => raw.check = true,
                name => raw.take(name, flags.next())?,
            }
        }
        raw.settings().map(Some)
    }
}

impl Raw {
    fn take(&mut self, name: &str, value: Option<String>) -> Result<(), Wrong> {
        let value = || value.clone().ok_or_else(|| Wrong(format!("{name} needs a value")));
        match name {
            "--config" => self.config = Some(value()?.into()),
            "--uplink" => self.uplink = Some(value()?),
            "--device" => self.device = Some(value()?.into()),
            "--data" => self.data = Some(value()?.into()),
            "--http" => self.http = Some(parsed(name, &value()?)?),
            "--socket" => self.socket = Some(value()?.into()),
            "--provisioning" => self.provisioning = Some(value()?),
            "--cafile" => self.cafile = Some(value()?.into()),
            "--feed-token" => self.feed_token = Some(value()?.into()),
            "--feed-tenant" => self.tenants.push(named(name, &value()?, TenantId::parse)?),
            "--root" => self.root = Some(thumbprint(name, &value()?)?),
            "--offline-root" => self.offline_root = Some(thumbprint(name, &value()?)?),
            "--audience" => self.audience = Some(named(name, &value()?, Audience::parse)?),
            "--verifier" => self.verifier = Some(named(name, &value()?, VerifierName::parse)?),
            "--log" => self.log = Some(value()?),
            _ => return Err(Wrong(format!("{name}: no flag of tessera-agent; see --help"))),
        }
        Ok(())
    }

    fn settings(self) -> Result<Settings, Wrong> {
        let missing = |flag: &str| Wrong(format!("{flag} is missing; see --help"));
        let root = self.root.ok_or_else(|| missing("--root"))?;
        let file = self.config.as_deref().map(File::read).transpose().map_err(Wrong)?;
        let file = file.unwrap_or_default();
        let audience = match (self.audience, &file.audience) {
            (Some(audience), _) => audience,
            (None, Some(text)) => named("audience", text, Audience::parse)?,
            (None, None) => named("--audience", "mqtt", Audience::parse)?,
        };
        let verifier = match (self.verifier, &file.verifier) {
            (Some(name), _) => Verifier::Named(name),
            (None, Some(text)) => Verifier::Named(named("verifier", text, VerifierName::parse)?),
            (None, None) => Verifier::Own,
        };
        let data = self.data.or(file.data).unwrap_or_else(|| "./tessera-agent".into());
        let trust = Trust { cafile: self.cafile.or(file.cafile), ..Trust::default() };
        let agent = AgentConfig::new(data.join("agent"), audience, root);
        let http = [self.provisioning.is_some(), self.feed_token.is_some()];
        let mut agent = match (self.uplink, self.device) {
            (Some(_), _) if http.contains(&true) || !self.tenants.is_empty() => {
                return Err(Wrong(
                    "--uplink takes the place of --provisioning, --feed-token and --feed-tenant"
                        .into(),
                ));
            }
            (Some(broker), device) => {
                let device = device.ok_or_else(|| missing("--device"))?;
                let uplink = UplinkConfig::read(&broker, trust, &device);
                agent.with_uplink(uplink.map_err(|error| Wrong(format!("--uplink: {error}")))?)
            }
            (None, Some(_)) => return Err(missing("--uplink")),
            (None, None) => {
                let url = self.provisioning.ok_or_else(|| missing("--provisioning"))?;
                let token = self.feed_token.ok_or_else(|| missing("--feed-token"))?;
                let token = read_secret_text(&token).map_err(|error| Wrong(error.to_string()))?;
                agent.with_feed(Server::new(url.trim_end_matches('/'), trust), token)
            }
        };
        if !self.tenants.is_empty() {
            let tenants = TenantSet::new(self.tenants);
            let tenants = tenants.map_err(|_| Wrong("--feed-tenant: too many tenants".into()))?;
            agent = agent.of_tenants(tenants);
        }
        agent.offline_pin = self.offline_root;
        agent.accept_loss = self.accept_loss;
        agent.verifier = verifier;
        if let Some(seconds) = file.not_followed_seconds {
            agent.not_followed_seconds = within("not_followed_seconds", seconds, 10..=3600)?;
        }
        let behaviour = file.behaviour.validate();
        agent.behaviour = behaviour.map_err(|wrong| Wrong(wrong.words))?;
        agent.location = file.behaviour.location();
        let record = file.behaviour.record_bytes();
        agent.record_bytes = record.map_err(|wrong| Wrong(wrong.words))?;
        let mut daemon = DaemonConfig::new(agent);
        daemon.http = self.http.or(file.http).unwrap_or(HTTP.into());
        daemon.socket = self.socket;
        let log = self.log.or(file.log.level).unwrap_or_else(|| "info,actix_server=warn".into());
        let format = match file.log.format.as_deref() {
            None | Some("text") => Format::Text,
            Some("json") => Format::Json,
            Some(other) => {
                return Err(Wrong(format!("log.format = {other:?}: use \"text\" or \"json\"")))
            }
        };
        let drain = within("drain_seconds", file.drain_seconds.unwrap_or(DRAIN), 1..=600)?;
        let (drain, is_check) = (Duration::from_secs(drain), self.check);
        Ok(Settings { data, daemon, log, format, drain, is_check })
    }
}

fn within(name: &str, seconds: u64, good: RangeInclusive<u64>) -> Result<u64, Wrong> {
    if good.contains(&seconds) {
        return Ok(seconds);
    }
    let (least, most) = (good.start(), good.end());
    Err(Wrong(format!("{name} = {seconds}: use {least} to {most}")))
}

fn parsed<T: std::str::FromStr>(flag: &str, text: &str) -> Result<T, Wrong>
where
    T::Err: fmt::Display,
{
    text.parse().map_err(|error| Wrong(format!("{flag} {text:?}: {error}")))
}

fn named<T, E: fmt::Display>(
    flag: &str,
    text: &str,
    parse: impl Fn(&str) -> Result<T, E>,
) -> Result<T, Wrong> {
    parse(text).map_err(|error| Wrong(format!("{flag} {text:?}: {error}")))
}

/// A thumbprint, or the one in a file of this name.
fn thumbprint(flag: &str, given: &str) -> Result<Thumbprint, Wrong> {
    let text = match Path::new(given).is_file() {
        true => read_public_text(Path::new(given)).map_err(|error| Wrong(error.to_string()))?,
        false => given.to_owned(),
    };
    let bytes = if text.len() == 64 { hex::decode(&text) } else { from_base64url(&text) };
    let bytes = bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    let none = || Wrong(format!("{flag} {given:?}: neither a thumbprint nor a file with one"));
    bytes.map(Thumbprint::from_bytes).ok_or_else(none)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(flags: &[&str]) -> Result<Option<Settings>, Wrong> {
        Settings::read(flags.iter().map(|flag| (*flag).to_owned()))
    }

    #[test]
    fn flags_are_read_and_a_wrong_one_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let token = folder.path().join("feed.token");
        tessera_runtime::secret::write_secret_file(&token, b"tsr_op_x").unwrap();
        let (token, root) = (token.to_str().unwrap(), "0".repeat(64));
        let needed =
            ["--provisioning", "https://p.example", "--feed-token", token, "--root", &root];
        let settings = read(&needed).unwrap().unwrap();
        assert_eq!(settings.daemon.http, HTTP.into());
        assert!(settings.daemon.agent.gateway && !settings.daemon.not_only_loopback);
        assert_eq!(settings.daemon.agent.verifier, Verifier::Own);
        assert!(read(&["--help"]).unwrap().is_none());
        for (more, named) in [
            (&["--http", "here"][..], "--http"),
            (&["--data"], "--data"),
            (&["--fly", "1"], "--fly"),
            (&["--root", "short"], "--root"),
            (&["--audience", ""], "--audience"),
        ] {
            let flags: Vec<&str> = needed.iter().chain(more).copied().collect();
            let wrong = read(&flags).err().unwrap().to_string();
            assert!(wrong.contains(named), "{wrong}");
        }
        for missing in ["--provisioning", "--feed-token", "--root"] {
            let place = needed.iter().position(|flag| *flag == missing).unwrap();
            let mut flags = needed.to_vec();
            flags.drain(place..place + 2);
            assert!(read(&flags).err().unwrap().to_string().contains(missing));
        }
    }

    #[test]
    fn the_file_has_the_names_of_the_large_agent_and_flags_go_before_it() {
        let folder = tempfile::tempdir().unwrap();
        let (token, config) = (folder.path().join("feed.token"), folder.path().join("a.toml"));
        tessera_runtime::secret::write_secret_file(&token, b"tsr_op_x").unwrap();
        let (token, root) = (token.to_str().unwrap(), "0".repeat(64));
        let with = |text: &str, more: &[&str]| {
            std::fs::write(&config, text).unwrap();
            let mut flags = vec!["--provisioning", "https://p", "--feed-token", token];
            flags.extend(["--root", &root, "--config", config.to_str().unwrap()]);
            flags.extend(more);
            read(&flags).map(Option::unwrap)
        };
        let text = "data = \"d\"\nhttp = \"127.0.0.1:1\"\naudience = \"b1\"\nverifier = \"gw\"\ndrain_seconds = 3\nnot_followed_seconds = 20\n[log]\nlevel = \"warn\"\nformat = \"json\"\n[behaviour]\ndevices = 200\n[behaviour.policies.acme]\nshadow = true\n";
        let all = with(text, &[]).unwrap();
        assert_eq!((all.data.to_str(), all.daemon.http.port()), (Some("d"), 1));
        assert_eq!((all.log.as_str(), all.format), ("warn", Format::Json));
        assert_eq!((all.drain, all.is_check), (Duration::from_secs(3), false));
        let agent = &all.daemon.agent;
        assert_eq!((agent.audience.as_str(), agent.not_followed_seconds), ("b1", 20));
        assert_eq!(agent.verifier, Verifier::Named(VerifierName::parse("gw").unwrap()));
        assert_eq!(agent.behaviour.most_devices, 200);
        assert!(agent.behaviour.policy("acme", 1).shadow);
        let more = ["--data", "e", "--audience", "b2", "--log", "error", "--check"];
        let flags = with(text, &more).unwrap();
        let shown = (flags.data.to_str(), flags.daemon.agent.audience.as_str());
        assert_eq!((shown, flags.log.as_str(), flags.is_check), ((Some("e"), "b2"), "error", true));
        for (text, told) in [
            ("audience = \"b1\"\nverifer = \"gw\"", "line 2"),
            ("[log]\nlevle = \"info\"", "levle"),
            ("[behaviour]\nbudget = 0.0", "budget"),
            ("drain_seconds = 0", "drain_seconds"),
            ("not_followed_seconds = 1", "not_followed_seconds"),
            ("[log]\nformat = \"xml\"", "log.format"),
            ("verifier = \"a b\"", "verifier"),
        ] {
            let wrong = with(text, &[]).err().unwrap().to_string();
            assert!(wrong.contains(told), "{text}: {wrong}");
        }
    }

    #[test]
    fn an_uplink_takes_the_place_of_the_feed() {
        let folder = tempfile::tempdir().unwrap();
        let (dir, root) = (folder.path().to_str().unwrap(), "0".repeat(64));
        let card = r#"{"http":"http://p","tenant":"acme","device":"gw-1"}"#;
        let with = |broker: &str, more: &[&str]| {
            let mut flags = vec!["--root", &root, "--uplink", broker];
            flags.extend(more);
            read(&flags).map(Option::unwrap).map_err(|wrong| wrong.to_string())
        };
        let device = ["--device", dir];
        assert!(with("mqtts://b", &device).err().unwrap().contains("device.json"));
        std::fs::write(folder.path().join("device.json"), card).unwrap();
        let agent = with("mqtts://b:8883#b-1", &device).unwrap().daemon.agent;
        assert!(agent.feed.is_none());
        assert_eq!(agent.uplink.unwrap().device().as_str(), "gw-1");
        assert!(with("mqtt://127.0.0.1", &device).is_ok());
        for (broker, more, told) in [
            ("mqtt://b", &device[..], "in clear"),
            ("https://b", &device, "no broker"),
            ("mqtts://b#a b", &device, "a b"),
            ("mqtts://b", &[], "--device"),
            ("mqtts://b", &["--device", dir, "--provisioning", "https://p"], "--uplink takes"),
        ] {
            let wrong = with(broker, more).err().unwrap();
            assert!(wrong.contains(told), "{wrong}");
        }
    }
}
