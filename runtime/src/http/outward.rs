//! The places that a server of ours may call when other people name them. A URL that a tenant gives must not lead into the
//! network of the server: its neighbours trust it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::proxy::{trusted, Source};

/// Characters of a URL that other people name.
pub const OUTWARD_URL_CHARS: usize = 1024;

/// The places that may be called. The settings of the server alone extend them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outward {
    /// The ports.
    pub ports: Vec<u16>,
    /// Networks that are not public and may be called all the same.
    pub networks: Vec<Source>,
    /// Whether `http://` may be called in those networks.
    pub in_clear: bool,
}

impl Default for Outward {
    /// Public addresses, over TLS on port 443.
    fn default() -> Self {
        Self { ports: vec![443], networks: Vec::new(), in_clear: false }
    }
}

impl Outward {
    /// Whether this address may be dialled.
    pub fn allows(&self, ip: IpAddr) -> bool {
        is_public(ip) || trusted(&self.networks, ip)
    }

    /// Checks all that the text of a URL tells: scheme, port, no name and password, no fragment, and its address where it
    /// has one. A name is checked when it is resolved.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub(super) fn check(&self, url: &reqwest::Url) -> Result<(), String> {
        if url.as_str().len() > OUTWARD_URL_CHARS {
            return Err(format!("a URL has at most {OUTWARD_URL_CHARS} characters"));
        }
        match url.scheme() {
            "https" => {}
            "http" if self.in_clear => {}
            _ => return Err("use https://".to_owned()),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("a URL has no name and no password in it".to_owned());
        }
        if url.fragment().is_some() {
            return Err("a URL has no fragment".to_owned());
        }
        let port = url.port_or_known_default().unwrap_or_default();
        if !self.ports.contains(&port) {
            return Err(format!("port {port} is not among those that this server may call"));
        }
        match url.host_str().unwrap_or_default() {
            "" => Err("a URL has a host".to_owned()),
            host => match host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
                Ok(ip) => self.address(ip, url.scheme()),
                Err(_) => Ok(()),
            },
        }
    }

    fn address(&self, ip: IpAddr, scheme: &str) -> Result<(), String> {
        if !self.allows(ip) {
            return Err(refusal(ip));
        }
        // In clear is for the own network alone.
        match scheme == "https" || trusted(&self.networks, ip) {
            true => Ok(()),
            false => Err("use https:// beyond the networks of the settings".to_owned()),
        }
    }
}

/// The words for an address that is not dialled.
pub(super) fn refusal(ip: IpAddr) -> String {
    format!("{ip} is no public address, and the settings of this server do not allow it")
}

/// Whether an address belongs to no network of its own: those of the IANA special-purpose registries do not count, nor
/// addresses that carry another one in them (NAT64, 6to4, Teredo).
pub fn is_public(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    let is_special = matches!(
        (a, b, c),
        (0 | 10 | 127, ..)
            | (100, 64..=127, _)
            | (169, 254, _)
            | (172, 16..=31, _)
            | (192, 0, 0 | 2)
            | (192, 31, 196)
            | (192, 52, 193)
            | (192, 88, 99)
            | (192, 168, _)
            | (192, 175, 48)
            | (198, 18 | 19, _)
            | (198, 51, 100)
            | (203, 0, 113)
            | (224.., ..)
    );
    !is_special
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    let [a, b, c, ..] = ip.segments();
    // 2000::/3 is all that was given out.
    let is_given = (0x2000..=0x3fff).contains(&a);
    let is_special = matches!(
        (a, b),
        // 2001::/23 (Teredo, ORCHID, benchmarks), 2001:db8::/32, 6to4, 3fff::/20, 2620:4f:8000::/48.
        (0x2001, 0..=0x01ff | 0x0db8) | (0x2002, _) | (0x3fff, 0..=0x0fff)
    ) || (a, b, c) == (0x2620, 0x004f, 0x8000);
    is_given && !is_special
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(policy: &Outward, url: &str) -> Result<(), String> {
        policy.check(&reqwest::Url::parse(url).map_err(|error| error.to_string())?)
    }

    #[test]
    fn addresses_of_networks_of_their_own_are_not_public() {
        for own in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.51.100.7",
            "203.0.113.9",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!is_public(own.parse().unwrap()), "{own}");
        }
        for public in [
            "1.1.1.1",
            "100.63.255.255",
            "172.32.0.1",
            "192.0.1.1",
            "198.20.0.1",
            "223.255.255.255",
            "2001:4860:4860::8888",
            "2606:4700::1111",
            "2a00:1450::1",
        ] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
    }

    #[test]
    fn a_url_is_https_to_a_public_place_on_a_port_of_the_settings() {
        let usual = Outward::default();
        assert_eq!(check(&usual, "https://hooks.example.com/x?y=1"), Ok(()));
        assert_eq!(check(&usual, "https://1.1.1.1/"), Ok(()));
        let long = format!("https://example.com/{}", "x".repeat(OUTWARD_URL_CHARS));
        for bad in [
            "http://hooks.example.com/",
            "ftp://hooks.example.com/",
            "https://hooks.example.com:8443/",
            "https://user@hooks.example.com/",
            "https://user:secret@hooks.example.com/",
            "https://hooks.example.com/#part",
            // Forms of 127.0.0.1 that parsers of URLs know.
            "https://127.0.0.1/",
            "https://127.1/",
            "https://0x7f.1/",
            "https://0177.0.0.1/",
            "https://2130706433/",
            "https://0/",
            "https://[::1]/",
            "https://[::ffff:127.0.0.1]/",
            "https://[64:ff9b::127.0.0.1]/",
            "https://[fe80::1]/",
            "https://169.254.169.254/latest/meta-data",
            &long,
        ] {
            assert!(check(&usual, bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_settings_of_the_server_extend_it() {
        let own = Outward {
            ports: vec![443, 9000],
            networks: ["10.0.0.0/8", "fd00::/8"].map(|net| Source::parse(net).unwrap()).into(),
            in_clear: true,
        };
        for good in ["http://10.1.2.3:9000/", "https://10.1.2.3/", "https://[fd00::1]:9000/"] {
            assert_eq!(check(&own, good), Ok(()), "{good}");
        }
        for bad in ["http://1.1.1.1:9000/", "https://192.168.1.1/", "http://10.1.2.3/"] {
            assert!(check(&own, bad).is_err(), "{bad}");
        }
    }
}
