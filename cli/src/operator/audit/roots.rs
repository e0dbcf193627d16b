//! The root keys whose heads count: the pinned one, and those of the line of links that it stands in.

use std::path::Path;

use tessera_token::head::ServiceHead;
use tessera_token::key::Thumbprint;
use tessera_token::trust::{root_beside, RootLink, RootSet, TrustError};

use crate::error::Fault;
use crate::secrets::{read_root_request, read_thumbprint};

/// Where `tessera up` puts the thumbprint, and the links.
const ROOT_FILE: &str = "tessera-data/root.thumbprint";
const LINKS_FILE: &str = "tessera-data/root.links";

/// The root keys of a service.
pub(super) struct Pins {
    roots: Vec<Thumbprint>,
    /// Those that a link withdrew because they may be in other hands.
    stolen: Vec<Thumbprint>,
}

impl Pins {
    /// The pinned root key, with those of the links in a file; `None` when neither is given nor in its place.
    pub(super) fn read(root: Option<&str>, links: Option<&Path>) -> Result<Option<Self>, Fault> {
        let (root, links) = match root {
            Some(root) => (read_thumbprint(root)?, links),
            None if Path::new(ROOT_FILE).is_file() => {
                let own = Some(Path::new(LINKS_FILE)).filter(|file| file.is_file());
                (read_thumbprint(ROOT_FILE)?, links.or(own))
            }
            None if links.is_some() => {
                return Err(Fault::new("links lead from a root key that is pinned")
                    .hint("give --root THUMBPRINT|FILE"))
            }
            None => return Ok(None),
        };
        let Some(file) = links else { return Ok(Some(Self::pinned(root))) };
        let request = read_root_request(file)?;
        let mut links = request.links;
        links.push(request.link.to_cbor());
        let pins = Self::of_line(root, &links);
        pins.map(Some).map_err(|error| Fault::new(format!("{}: {error}", file.display())))
    }

    /// This root key alone.
    pub(super) fn pinned(root: Thumbprint) -> Self {
        Self { roots: vec![root], stolen: Vec::new() }
    }

    /// The online roots of a line in which this one stands.
    fn of_line(root: Thumbprint, links: &[Vec<u8>]) -> Result<Self, TrustError> {
        let mut pins = Self { roots: Vec::new(), stolen: Vec::new() };
        let mut set = None;
        for link in links {
            let link = RootLink::from_cbor(link)?;
            let step = *link.step();
            set = Some(set.unwrap_or_else(|| RootSet::pinned(step.from)).step(&link)?);
            pins.roots.extend([step.from.online, step.to.online]);
            if step.compromised && step.from.online != step.to.online {
                pins.stolen.push(step.from.online);
            }
        }
        match pins.roots.contains(&root) {
            true => Ok(pins),
            false => Err(TrustError::Root),
        }
    }

    /// Opens a head that one of them signed.
    pub(super) fn open(&self, signed: &[u8]) -> Result<ServiceHead, TrustError> {
        let root = self.signer(signed)?;
        ServiceHead::open(signed, &root)
    }

    /// A warning when a root key that may be in other hands signed this head.
    pub(super) fn warning(&self, signed: &[u8]) -> Option<&'static str> {
        let root = self.signer(signed).ok()?;
        self.stolen.contains(&root).then_some(
            "  signed by a root key that was withdrawn as stolen: it is worth what the place is where it was kept",
        )
    }

    fn signer(&self, signed: &[u8]) -> Result<Thumbprint, TrustError> {
        let root = root_beside(signed)?.thumbprint();
        match self.roots.contains(&root) {
            true => Ok(root),
            false => Err(TrustError::Root),
        }
    }
}

#[cfg(test)]
mod tests {
    use tessera_token::key::SecretKey;
    use tessera_token::time::UnixSeconds;
    use tessera_token::trust::{RootRequest, Roots};

    use super::*;

    fn key(seed: u8) -> SecretKey {
        SecretKey::from_seed(&[seed; 32])
    }

    fn name(seed: u8) -> String {
        tessera_token::encoding::hex::encode(key(seed).public().thumbprint().as_bytes())
    }

    fn head(by: u8) -> Vec<u8> {
        let time = UnixSeconds::new(1_800_000_000);
        let zero = [0; 32];
        let head =
            ServiceHead { audit: 1, audit_hash: zero, trust: 1, trust_hash: zero, serial: 1, time };
        head.sign(&key(by)).unwrap()
    }

    /// From the root 1 to 2, and after a theft to 3.
    fn line() -> RootRequest {
        let alone = |seed| Roots { online: key(seed).public().thumbprint(), offline: None };
        let (mut set, mut links) = (RootSet::pinned(alone(1)), Vec::new());
        for (seed, stolen) in [(2, false), (3, true)] {
            let mut link = RootLink::new(set.next(alone(seed), UnixSeconds::new(1), stolen));
            assert!(link.sign(&key(seed)) && link.sign(&key(seed - 1)));
            set = set.step(&link).unwrap();
            links.push(link);
        }
        let link = links.pop().unwrap();
        RootRequest { links: links.iter().map(RootLink::to_cbor).collect(), link }
    }

    #[test]
    fn a_head_of_before_a_change_of_the_root_is_good_with_the_links() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("root.links");
        std::fs::write(&file, line().to_cbor()).unwrap();
        let pins = |seed, links| Pins::read(Some(&name(seed)), links).map(Option::unwrap);
        let alone = pins(3, None).ok().unwrap();
        assert!(alone.open(&head(3)).is_ok());
        assert_eq!(alone.open(&head(1)), Err(TrustError::Root));
        for pinned in [1, 2, 3] {
            let whole = pins(pinned, Some(file.as_path())).ok().unwrap();
            for by in [1, 2, 3] {
                assert!(whole.open(&head(by)).is_ok(), "{pinned} {by}");
                assert_eq!(whole.warning(&head(by)).is_some(), by == 2);
            }
            assert_eq!(whole.open(&head(4)), Err(TrustError::Root));
        }
        // A line of others, links without a pin, and links that are not signed.
        assert!(pins(4, Some(file.as_path())).is_err());
        let asked = RootRequest { link: RootLink::new(*line().link.step()), ..line() };
        std::fs::write(&file, asked.to_cbor()).unwrap();
        assert!(pins(3, Some(file.as_path())).is_err());
        assert!(Pins::read(None, Some(file.as_path())).is_err());
    }
}
