//! The command line of `tessera-agent`: the flags of `tessera agent`, each with one value, and no settings file.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tessera_agent::daemon::DaemonConfig;
use tessera_agent::verifier::Verifier;
use tessera_agent::AgentConfig;
use tessera_runtime::http::Server;
use tessera_runtime::secret::{read_public_text, read_secret_text};
use tessera_runtime::tls::Trust;
use tessera_token::encoding::{from_base64url, hex};
use tessera_token::ids::{Audience, TenantId, VerifierName};
use tessera_token::key::Thumbprint;
use tessera_token::trust::TenantSet;

/// The words for `--help`.
pub(crate) const HELP: &str = "\
The agent on a gateway: decides for other programs, online or offline (docs/agent.md).

Usage: tessera-agent --provisioning URL --feed-token FILE --root THUMBPRINT|FILE [flags]

  --data DIR            the folder of the agent's state (default: ./tessera-agent)
  --http ADDR           where to answer over loopback HTTP (default: 127.0.0.1:9465)
  --socket PATH         a Unix socket to answer on as well
  --provisioning URL    provisioning: https://, or http:// on this machine
  --cafile FILE         the authorities that may sign the certificate of provisioning
  --feed-token FILE     the token for the trust feed
  --feed-tenant ID      a tenant of that token's account; several times for several
  --root T|FILE         the thumbprint of the root key
  --offline-root T|FILE the thumbprint of the offline root key
  --audience NAME       the audience that tokens must name (default: mqtt)
  --verifier NAME       the name that connect proofs must be made for (default: drawn at the first start)
  --log LEVEL           error, warn, info, debug, or target=level,… (default: info)
  --accept-loss         go on with a store that holds less than it should
";

/// Loopback, the port of `tessera agent`.
const HTTP: ([u8; 4], u16) = ([127, 0, 0, 1], 9465);

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
}

#[derive(Default)]
struct Raw {
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
        let url = self.provisioning.ok_or_else(|| missing("--provisioning"))?;
        let token = self.feed_token.ok_or_else(|| missing("--feed-token"))?;
        let token = read_secret_text(&token).map_err(|error| Wrong(error.to_string()))?;
        let audience = match self.audience {
            Some(audience) => audience,
            None => named("--audience", "mqtt", Audience::parse)?,
        };
        let data = self.data.unwrap_or_else(|| "./tessera-agent".into());
        let trust = Trust { cafile: self.cafile, ..Trust::default() };
        let server = Server::new(url.trim_end_matches('/'), trust);
        let mut agent =
            AgentConfig::new(data.join("agent"), audience, root).with_feed(server, token);
        if !self.tenants.is_empty() {
            let tenants = TenantSet::new(self.tenants);
            let tenants = tenants.map_err(|_| Wrong("--feed-tenant: too many tenants".into()))?;
            agent = agent.of_tenants(tenants);
        }
        agent.offline_pin = self.offline_root;
        agent.accept_loss = self.accept_loss;
        agent.verifier = self.verifier.map_or(Verifier::Own, Verifier::Named);
        let mut daemon = DaemonConfig::new(agent);
        daemon.http = self.http.unwrap_or(HTTP.into());
        daemon.socket = self.socket;
        let log = self.log.unwrap_or_else(|| "info,actix_server=warn".into());
        Ok(Settings { data, daemon, log })
    }
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
}
