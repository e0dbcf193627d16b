//! The brokers to which tokens are pushed.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use tessera_runtime::mqtt::Address;
use tessera_runtime::tls::Trust;
use tessera_token::ids::{Audience, TenantId, VerifierName};

use crate::limits::{PUSH_PER_SECOND, PUSH_TENANTS};
use crate::start_error::StartError;

/// Push refresh, as an operator decided on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushSettings {
    /// The brokers; without one nothing is pushed.
    pub brokers: Vec<PushBroker>,
    /// Pushes to one broker in a second that are never exceeded.
    pub per_second: u32,
    /// Which brokers are believed.
    pub trust: Trust,
}

impl Default for PushSettings {
    fn default() -> Self {
        Self { brokers: Vec::new(), per_second: PUSH_PER_SECOND, trust: Trust::default() }
    }
}

/// A broker, and how it is reached.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PushBroker {
    tls: bool,
    host: String,
    port: u16,
    /// The name in connect proofs, when it is not the audience.
    verifier: Option<String>,
    /// The tenants whose devices it serves; `None` for all.
    tenants: Option<BTreeSet<TenantId>>,
}

impl PushBroker {
    /// Takes `mqtts://host:port` or `mqtt://host:port`; behind `?tenants=` the tenants that the broker serves, separated by
    /// commas, when it does not serve all; and behind `#` the broker's verifier name when it has one of its own.
    pub fn parse(text: &str) -> Option<Self> {
        let (place, verifier) = match text.split_once('#') {
            Some((place, name)) => (place, Some(VerifierName::parse(name).ok()?)),
            None => (text, None),
        };
        let (place, tenants) = match place.split_once('?') {
            Some((place, query)) => (place, Some(tenants(query)?)),
            None => (place, None),
        };
        let Address { tls, host, port } = Address::parse(place)?;
        let verifier = verifier.map(|name| name.as_str().to_owned());
        Some(Self { tls, host, port, verifier, tenants })
    }

    /// The broker of the same process, over TCP.
    pub fn here(address: std::net::SocketAddr, verifier: Option<&VerifierName>) -> Self {
        let host = match address.ip() {
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("[{ip}]"),
        };
        let verifier = verifier.map(|name| name.as_str().to_owned());
        Self { tls: false, host, port: address.port(), verifier, tenants: None }
    }

    pub(crate) fn is_tls(&self) -> bool {
        self.tls
    }

    /// Host and port to connect to.
    pub(crate) fn place(&self) -> (&str, u16) {
        (self.host.trim_start_matches('[').trim_end_matches(']'), self.port)
    }

    /// Its name in connect proofs, where verifiers without a name of their own have that of the audience.
    pub(crate) fn verifier<'a>(&'a self, audience: &'a Audience) -> &'a str {
        self.verifier.as_deref().unwrap_or(audience.as_str())
    }

    /// Whether devices of this tenant may be pushed tokens through it.
    pub(crate) fn serves(&self, tenant: &TenantId) -> bool {
        self.tenants.as_ref().is_none_or(|these| these.contains(tenant))
    }

    /// Whether others could read what is sent to it.
    fn is_in_clear_beyond_this_machine(&self) -> bool {
        let (host, _) = self.place();
        let is_here = host == "localhost"
            || host.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback());
        !self.tls && !is_here
    }
}

/// `tenants=acme,other`.
fn tenants(query: &str) -> Option<BTreeSet<TenantId>> {
    let names = query.strip_prefix("tenants=")?.split(',');
    let these: BTreeSet<TenantId> =
        names.map(|name| TenantId::parse(name).ok()).collect::<Option<_>>()?;
    (these.len() <= PUSH_TENANTS).then_some(these)
}

impl fmt::Display for PushBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "mqtts" } else { "mqtt" };
        write!(f, "{scheme}://{}:{}", self.host, self.port)
    }
}

impl PushSettings {
    pub(crate) fn check(&self, audience: &Audience) -> Result<(), StartError> {
        if !(1..=100_000).contains(&self.per_second) {
            return Err(StartError::Config("push.per_second must be 1 to 100,000"));
        }
        let in_clear = self.brokers.iter().any(PushBroker::is_in_clear_beyond_this_machine);
        if in_clear && !self.trust.in_clear {
            return Err(StartError::Config(
                "push.brokers names a broker on another machine in clear: use mqtts://, or set push.in_clear",
            ));
        }
        for (at, one) in self.brokers.iter().enumerate() {
            self.brokers.iter().skip(at + 1).try_for_each(|other| apart(one, other, audience))?;
        }
        Ok(())
    }

    /// Whether this broker can be pushed to beside those of the settings.
    pub(crate) fn check_with(
        &self,
        later: &PushBroker,
        audience: &Audience,
    ) -> Result<(), StartError> {
        self.brokers.iter().try_for_each(|one| apart(one, later, audience))
    }
}

/// The password that provisioning shows to a broker would pass at another one of the same name, which would take the first
/// one for provisioning.
fn apart(one: &PushBroker, other: &PushBroker, audience: &Audience) -> Result<(), StartError> {
    if (&one.host, one.port) == (&other.host, other.port) {
        return Err(StartError::PushTwice(one.to_string()));
    }
    let name = one.verifier(audience);
    match name == other.verifier(audience) {
        true => Err(StartError::PushName {
            name: name.to_owned(),
            brokers: [one.to_string(), other.to_string()],
        }),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_is_scheme_host_port_and_a_name() {
        let shown = |text: &str| PushBroker::parse(text).map(|one| one.to_string());
        assert_eq!(shown("mqtts://b1.example.com").unwrap(), "mqtts://b1.example.com:8883");
        assert_eq!(shown("mqtt://127.0.0.1:1#b1").unwrap(), "mqtt://127.0.0.1:1");
        assert_eq!(shown("mqtt://[::1]").unwrap(), "mqtt://[::1]:1883");
        let audience = Audience::parse("fleet").unwrap();
        let name = |text: &str| PushBroker::parse(text).unwrap().verifier(&audience).to_owned();
        assert_eq!((name("mqtt://h:1#b1"), name("mqtt://h:1")), ("b1".into(), "fleet".into()));
        assert_eq!(PushBroker::parse("mqtt://[::1]:7").unwrap().place(), ("::1", 7));
        for wrong in [
            "",
            "h:1",
            "http://h",
            "mqtt://",
            "mqtt://h:0",
            "mqtt://h:x",
            "mqtt://u@h",
            "mqtt://h/p",
            "mqtt://h#",
            "mqtt://h#~",
            "mqtt://h?",
            "mqtt://h?tenants=",
            "mqtt://h?tenants=a,",
            "mqtt://h?tenants=a,~",
            "mqtt://h?tenant=a",
            "mqtt://h?tenants=a&tenants=b",
        ] {
            assert_eq!(shown(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_broker_serves_all_tenants_or_those_that_are_named() {
        let serves = |text: &str, tenant: &str| {
            PushBroker::parse(text).unwrap().serves(&TenantId::parse(tenant).unwrap())
        };
        assert!(serves("mqtt://h:1#b1", "acme"));
        let two = "mqtts://h:1?tenants=acme,other#b1";
        assert!(serves(two, "acme") && serves(two, "other") && !serves(two, "third"));
        assert_eq!(PushBroker::parse(two).unwrap().to_string(), "mqtts://h:1");
    }

    #[test]
    fn brokers_that_could_be_taken_for_each_other_are_refused() {
        let audience = Audience::parse("fleet").unwrap();
        let with = |all: &[&str]| {
            let brokers = all.iter().map(|text| PushBroker::parse(text).unwrap()).collect();
            PushSettings { brokers, ..PushSettings::default() }
        };
        let check = |all: &[&str]| with(all).check(&audience).map_err(|error| error.to_string());
        assert_eq!(check(&["mqtts://a#a", "mqtts://b#b", "mqtts://c"]), Ok(()));
        for (two, name) in [
            (["mqtts://a#b1", "mqtts://b#b1"], "b1"),
            (["mqtts://a", "mqtts://b"], "fleet"),
            (["mqtts://a", "mqtts://b#fleet"], "fleet"),
        ] {
            let told = check(&two).unwrap_err();
            assert!(
                told.contains(name) && told.contains("//a:") && told.contains("//b:"),
                "{told}"
            );
        }
        assert!(check(&["mqtts://a:1#a", "mqtts://a:1#b"]).unwrap_err().contains("//a:1"), "twice");
        let later = |text: &str| {
            let later = PushBroker::parse(text).unwrap();
            with(&["mqtts://a#a"]).check_with(&later, &audience).is_ok()
        };
        assert!(later("mqtt://127.0.0.1") && !later("mqtt://127.0.0.1#a"));
    }

    #[test]
    fn another_machine_in_clear_must_be_meant() {
        let brokers = |text: &str| vec![PushBroker::parse(text).unwrap()];
        let with = |text: &str, in_clear| {
            let trust = Trust { cafile: None, in_clear };
            PushSettings { brokers: brokers(text), trust, ..PushSettings::default() }
                .check(&Audience::parse("fleet").unwrap())
                .is_ok()
        };
        assert!(with("mqtt://127.0.0.1", false) && with("mqtt://[::1]", false));
        assert!(with("mqtts://b.example.com", false) && with("mqtt://10.0.0.1", true));
        assert!(!with("mqtt://10.0.0.1", false) && !with("mqtt://b.example.com", false));
    }
}
