//! The name by which connect proofs are made for this verifier.

use tessera_runtime::random::{self, Random};
use tessera_runtime::store::{Batch, Store};
use tessera_token::ids::{Audience, VerifierName};

use crate::error::AgentError;

const TABLE: &str = "verifier";
const NAME: &[u8] = b"name";

/// Which name a verifier has. Verifiers of one name must share a replay ledger, which no two processes do yet.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Verifier {
    /// Its audience: the one broker of a feed.
    #[default]
    Audience,
    /// A name that its devices are told.
    Named(VerifierName),
    /// A name of its own, drawn at the first start and kept in its store: `gw-` and 16 hexadecimal digits.
    Own,
}

impl Verifier {
    /// The name, which is durable before this returns.
    pub(crate) fn name(
        &self,
        audience: &Audience,
        store: &Store,
        random: &dyn Random,
    ) -> Result<VerifierName, AgentError> {
        match self {
            Self::Audience => Ok(audience.into()),
            Self::Named(name) => Ok(name.clone()),
            Self::Own => own(store, random),
        }
    }
}

fn own(store: &Store, random: &dyn Random) -> Result<VerifierName, AgentError> {
    let table = store.table(TABLE)?;
    let kept = table.get(NAME)?.and_then(|name| String::from_utf8(name).ok());
    if let Some(name) = kept.and_then(|name| VerifierName::parse(&name).ok()) {
        return Ok(name);
    }
    let drawn: [u8; 8] = random::bytes(random).map_err(AgentError::Random)?;
    let name = format!("gw-{:016x}", u64::from_be_bytes(drawn));
    let name = VerifierName::parse(&name).map_err(AgentError::Name)?;
    let mut batch = Batch::new();
    batch.put(&table, NAME, name.as_str());
    store.commit_blocking(batch)?;
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tessera_runtime::random::SystemRandom;

    #[test]
    fn a_name_of_its_own_is_drawn_once_and_kept() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let audience = Audience::parse("mqtt").unwrap();
        let name = |folder: &tempfile::TempDir, which: &Verifier| {
            let store = Store::open(folder.path()).unwrap();
            let name = which.name(&audience, &store, &SystemRandom).unwrap();
            store.close().unwrap();
            name
        };
        let first = name(&one, &Verifier::Own);
        assert!(first.as_str().starts_with("gw-") && first.as_str().len() == 19, "{first}");
        assert_eq!(name(&one, &Verifier::Own), first);
        assert_ne!(name(&two, &Verifier::Own), first);
        assert_eq!(name(&one, &Verifier::Audience).as_str(), "mqtt");
        let told = VerifierName::parse("line-3:west").unwrap();
        assert_eq!(name(&one, &Verifier::Named(told.clone())), told);
    }
}
