//! A password that was given: whose it is, what its proof is for, and whether it is still good.

use std::path::Path;

use tessera_runtime::secret::{read_secret_file, SecretFileError};
use tessera_token::claims::Claims;
use tessera_token::encoding::{base64url, hex};
use tessera_token::key::PublicKey;
use tessera_token::limits::PROOF_WINDOW_SECONDS;
use tessera_token::proof::{ConnectProof, Credential, DerivationId, Derived, PopKey, SymmetricKey};
use tessera_token::time::UnixSeconds;

use super::token;
use super::trouble::{Bearer, ProofFault, Trouble};

/// How the raw bytes of each password begin, written as hexadecimal.
const HEX_START: &str = "d83dd284";
/// Further client ids of a device that are tried on a proof: `device~1` up to this number.
const SUFFIXES: u32 = 32;

/// A password, taken apart.
pub(super) struct Shown {
    pub(super) credential: Credential,
    pub(super) claims: Claims,
    /// Whether it was given as hexadecimal, which no broker reads.
    pub(super) hex: bool,
}

impl Shown {
    /// As a client sends it.
    pub(super) fn text(&self) -> String {
        base64url(&self.credential.to_password())
    }
}

/// Takes `TEXT` or the content of `@FILE` apart.
pub(super) fn read(given: &str) -> Result<Shown, Trouble> {
    let content = match given.strip_prefix('@') {
        None => given.as_bytes().to_vec(),
        Some(path) => {
            let read = read_secret_file(Path::new(path)).map_err(|error| match error {
                SecretFileError::Open(path, mode) => {
                    Trouble::Open(path.display().to_string(), mode)
                }
                other => Trouble::PasswordFile(other.to_string()),
            });
            read?.expose().clone()
        }
    };
    take_apart(&content)
}

fn take_apart(content: &[u8]) -> Result<Shown, Trouble> {
    // Raw bytes are taken as they are: they may begin or end like white space.
    let text = std::str::from_utf8(content).map(str::trim).ok();
    let raw = text.filter(|text| text.starts_with(HEX_START)).and_then(hex::decode);
    let hex = raw.is_some();
    let password = match (raw, text) {
        (Some(raw), _) => raw,
        (None, Some(text)) => text.as_bytes().to_vec(),
        (None, None) => content.to_vec(),
    };
    let credential = Credential::from_password(&password).map_err(Trouble::PasswordForm)?;
    let claims = token::read(&credential.token);
    let claims = claims.map_err(|fault| Trouble::Token(Bearer::Password, fault))?;
    if credential.proof.is_none() && claims.confirmation.is_some() {
        return Err(Trouble::PasswordUnproved);
    }
    Ok(Shown { credential, claims, hex })
}

/// Purpose of a proof, and the keys that may have made it.
pub(super) struct Meant<'a> {
    pub(super) client_id: &'a str,
    pub(super) verifier: &'a str,
    /// The key of the folder.
    pub(super) own: &'a PublicKey,
    /// The symmetric key of this very token, when the folder has it.
    pub(super) symmetric: Option<&'a SymmetricKey>,
    pub(super) now: UnixSeconds,
}

/// The verdict on the proof.
pub(super) enum Proved {
    /// The key of the token made it for what it is meant for.
    Yes,
    /// A MAC, by a key or secret that is not here.
    NotHere,
    No(ProofFault),
}

impl Shown {
    /// Judges the proof. None for a token alone.
    pub(super) fn proved(&self, meant: &Meant<'_>) -> Option<Proved> {
        let proof = self.credential.proof.as_ref()?;
        let token = &self.credential.token;
        let bound = match (proof.has_mac(), meant.symmetric) {
            (false, _) => {
                PopKey::Public(self.claims.confirmation.as_ref().unwrap_or(meant.own).clone())
            }
            (true, Some(key)) => symmetric(key),
            (true, None) => {
                return Some(stale(proof, meant.now).map_or(Proved::NotHere, Proved::No))
            }
        };
        let by = |key: &PopKey, client: &str, verifier: &str| {
            proof.verifies_by(key, verifier, client, token)
        };
        let own = PopKey::Public(meant.own.clone());
        let found = match self.made_for(|client, verifier| by(&bound, client, verifier), meant) {
            Some((client, _)) if client != meant.client_id => {
                Proved::No(ProofFault::ClientId(client))
            }
            Some((_, verifier)) if verifier != meant.verifier => {
                Proved::No(ProofFault::Verifier(verifier))
            }
            Some(_) => stale(proof, meant.now).map_or(Proved::Yes, Proved::No),
            None if by(&own, meant.client_id, meant.verifier) => Proved::No(ProofFault::FolderKey),
            // A resumption secret makes MACs too, and is not here.
            None if proof.has_mac() => Proved::NotHere,
            None => Proved::No(ProofFault::Unknown),
        };
        Some(found)
    }

    /// The client id and verifier that the proof is for, of those that are likely.
    fn made_for(
        &self,
        is_for: impl Fn(&str, &str) -> bool,
        meant: &Meant<'_>,
    ) -> Option<(String, String)> {
        let device = self.claims.device.as_str();
        let suffixed = (1..=SUFFIXES).map(|number| format!("{device}~{number}"));
        let clients = [meant.client_id.to_owned(), device.to_owned()].into_iter().chain(suffixed);
        let verifiers = [meant.verifier, self.claims.audience.as_str()];
        let mut pairs = clients.flat_map(|client| verifiers.map(|one| (client.clone(), one)));
        let found = pairs.find(|(client, verifier)| is_for(client, verifier));
        found.map(|(client, verifier)| (client, verifier.to_owned()))
    }
}

fn symmetric(key: &SymmetricKey) -> PopKey {
    // The derivation key behind it is not known here, and says nothing about a proof.
    PopKey::Symmetric(Derived { key: key.clone(), by: DerivationId::from_bytes([0; 4]) })
}

fn stale(proof: &ConnectProof, now: UnixSeconds) -> Option<ProofFault> {
    let ago = i128::from(now.get()) - i128::from(proof.time.get());
    let fresh = ago.unsigned_abs() <= u128::from(PROOF_WINDOW_SECONDS);
    (!fresh).then(|| ProofFault::Stale(i64::try_from(ago).unwrap_or(i64::MAX)))
}

#[cfg(test)]
mod tests {
    use tessera_token::key::SecretKey;
    use tessera_token::refusal::RefusalCode;

    use super::super::super::testing;
    use super::*;

    const NOW: UnixSeconds = UnixSeconds::new(1_800_000_000);

    fn key() -> SecretKey {
        SecretKey::from_seed(&[1; 32])
    }

    fn token(confirmation: Option<PublicKey>) -> Vec<u8> {
        testing::token(&testing::claims(NOW, confirmation))
    }

    fn password(by: &SecretKey, verifier: &str, client: &str, time: UnixSeconds) -> Vec<u8> {
        let token = token(Some(key().public()));
        let proof = ConnectProof::make(by, verifier, client, &token, time, 7);
        Credential { token, proof: Some(proof) }.to_password()
    }

    fn fault(password: &[u8]) -> Option<ProofFault> {
        let own = SecretKey::from_seed(&[2; 32]).public();
        let meant =
            Meant { client_id: "d-1", verifier: "mqtt", own: &own, symmetric: None, now: NOW };
        match take_apart(password).unwrap().proved(&meant).unwrap() {
            Proved::Yes => None,
            Proved::NotHere => panic!("a signature"),
            Proved::No(fault) => Some(fault),
        }
    }

    #[test]
    fn the_purpose_of_a_proof_is_found() {
        let key = key();
        let made = |verifier, client, time: u64| {
            fault(&password(&key, verifier, client, UnixSeconds::new(time)))
        };
        assert_eq!(made("mqtt", "d-1", NOW.get() - 60), None);
        assert_eq!(made("mqtt", "d-1", NOW.get() - 61), Some(ProofFault::Stale(61)));
        assert_eq!(made("mqtt", "d-1", NOW.get() + 99), Some(ProofFault::Stale(-99)));
        assert_eq!(made("mqtt", "d-1~3", NOW.get()), Some(ProofFault::ClientId("d-1~3".into())));
        assert_eq!(made("north", "d-1", NOW.get()), Some(ProofFault::Unknown));
        let own = SecretKey::from_seed(&[2; 32]);
        assert_eq!(fault(&password(&own, "mqtt", "d-1", NOW)), Some(ProofFault::FolderKey));
        let other = SecretKey::from_seed(&[3; 32]);
        assert_eq!(fault(&password(&other, "mqtt", "d-1", NOW)), Some(ProofFault::Unknown));
        // A broker with a name of its own, and a password for the audience.
        let own = key.public();
        let meant =
            Meant { client_id: "d-1", verifier: "north", own: &own, symmetric: None, now: NOW };
        let shown = take_apart(&password(&key, "mqtt", "d-1", NOW)).unwrap();
        assert!(
            matches!(shown.proved(&meant), Some(Proved::No(ProofFault::Verifier(name))) if name == "mqtt")
        );
    }

    #[test]
    fn a_symmetric_key_of_the_folder_is_asked_too() {
        let token = token(None);
        let (shared, own) = (SymmetricKey::from_bytes(&[5; 32]).unwrap(), key().public());
        let prove = |message: &[u8]| shared.prove(message);
        let proof = ConnectProof::make_by(prove, "mqtt", "d-1", &token, NOW, 7);
        let shown = take_apart(&Credential { token, proof: Some(proof) }.to_password()).unwrap();
        let proved = |client_id, symmetric| {
            let meant = Meant { client_id, verifier: "mqtt", own: &own, symmetric, now: NOW };
            shown.proved(&meant).unwrap()
        };
        assert!(matches!(proved("d-1", Some(&shared)), Proved::Yes));
        let Proved::No(fault) = proved("d-1~2", Some(&shared)) else { panic!("it is for d-1") };
        assert_eq!(fault, ProofFault::ClientId("d-1".into()));
        assert!(matches!(proved("d-1", None), Proved::NotHere));
    }

    #[test]
    fn each_form_of_a_password_is_read_and_what_is_none_is_named() {
        let raw = password(&key(), "mqtt", "d-1", NOW);
        for (text, is_hex) in [
            (base64url(&raw), false),
            (format!(" {}\n", base64url(&raw)), false),
            (hex::encode(&raw), true),
        ] {
            let shown = take_apart(text.as_bytes()).unwrap();
            assert_eq!((shown.credential.to_password(), shown.hex), (raw.clone(), is_hex));
        }
        assert!(!take_apart(&raw).unwrap().hex);
        let code = |content: &[u8]| take_apart(content).err().unwrap();
        assert_eq!(code(b""), Trouble::PasswordForm(RefusalCode::CredentialMissing));
        assert_eq!(code(b"\n"), Trouble::PasswordForm(RefusalCode::CredentialMissing));
        assert!(matches!(code(b"not a password"), Trouble::PasswordForm(_)));
        assert!(matches!(
            code(&raw[..raw.len() - 1]),
            Trouble::PasswordForm(RefusalCode::ProofMalformed)
        ));
        assert_eq!(code(&token(Some(key().public()))), Trouble::PasswordUnproved);
        assert!(take_apart(&token(None)).unwrap().credential.proof.is_none());
    }

    #[test]
    fn a_file_that_others_can_read_is_told_with_its_mode() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p");
        std::fs::write(&path, base64url(&password(&key(), "mqtt", "d-1", NOW))).unwrap();
        let given = format!("@{}", path.display());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(read(&given), Err(Trouble::Open(_, 0o644))));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert!(read(&given).is_ok());
        assert!(matches!(read("@/nowhere/at/all"), Err(Trouble::PasswordFile(_))));
    }
}
