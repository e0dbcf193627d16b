//! Issuer keys, wherever their private halves are: with a seed ([`Seeds`]), or in a token of a security module. A key stays
//! where it was made; new ones are made in the module when the settings name one.

use std::collections::HashSet;
use std::sync::Arc;

use parking_lot::Mutex;
use tessera_runtime::pkcs11::{KeyKind, Module, ModuleError, ModuleKey, ObjectId};
use tessera_runtime::random::{self, Random};
use tessera_runtime::sql::Batch;
use tessera_token::key::{KeyId, PublicKey, SecretKey};

use super::files::draw;
use super::seeds::{InModuleKey, SeedError, Seeds, Survey};
use crate::limits::MODULE_KEYS_LEFT;
use crate::records::keys::{InModule, KeyRecord, State};
use crate::start_error::{LostSeed, StartError};
use crate::tables::Tables;

/// The label of the objects, for people who look into the token.
const LABEL: &str = "tessera issuer";

/// The issuer keys of the service.
#[derive(Clone)]
pub(crate) struct IssuerKeys {
    seeds: Seeds,
    module: Option<Module>,
    /// Objects of ended keys that the token did not destroy when it was asked to.
    left: Arc<Mutex<HashSet<ObjectId>>>,
    /// A key that was asked for lately: the one by which a look finds out whether the token signs.
    lately: Arc<Mutex<Option<ModuleKey>>>,
}

/// A key that signs.
#[derive(Clone)]
pub(crate) enum SigningKey {
    Seed(SecretKey),
    InModule(Module, ModuleKey),
}

impl IssuerKeys {
    pub(crate) fn of(seeds: Seeds, module: Option<Module>) -> Self {
        Self { seeds, module, left: Arc::default(), lately: Arc::default() }
    }

    /// Why the module does not answer; `None` when it does, or when there is none.
    pub(crate) fn fault(&self) -> Option<ModuleError> {
        self.module.as_ref()?.fault()
    }

    /// Asks the module whether it signs, and has it destroy what it did not before.
    pub(crate) async fn look(&self) {
        let Some(module) = &self.module else { return };
        let lately = self.lately.lock().clone();
        let answer = match lately {
            None => module.check().await,
            Some(key) => module.try_key(key).await,
        };
        // `Module::fault` has the outcome.
        match answer {
            Ok(()) => {}
            // It has ended: the next one that is asked for takes its place.
            Err(error) if error.is_of_a_key() => *self.lately.lock() = None,
            Err(_) => return,
        }
        let left: Vec<_> = self.left.lock().iter().copied().collect();
        for object in left {
            self.destroy(module, object).await;
        }
    }

    /// A new next key. A seed is kept before, or with, the batch that names it; a key in a module is there from now on.
    pub(crate) async fn make(
        &self,
        batch: &mut Batch,
        random: &dyn Random,
        now: u64,
    ) -> Result<(KeyId, KeyRecord), SeedError> {
        let no_randomness = |_| SeedError::Unfit("got no randomness");
        let Some(module) = &self.module else {
            let key = draw(random).map_err(no_randomness)?;
            let id = self.seeds.keep(batch, random, &key)?;
            return Ok((id, KeyRecord::next(key.public_bytes(), now)));
        };
        let object = ObjectId::from_bytes(random::bytes(random).map_err(no_randomness)?);
        let public = module.generate(KeyKind::Ed25519, object, LABEL).await?;
        let bytes = public.as_ed25519().ok_or(ModuleError::PublicKey(object))?;
        let place = InModule { token: module.token().to_owned(), object: *object.as_bytes() };
        Ok((public.key_id(), KeyRecord::next(*bytes, now).in_module(place)))
    }

    pub(crate) async fn load(
        &self,
        id: KeyId,
        record: &KeyRecord,
    ) -> Result<SigningKey, SeedError> {
        let Some(place) = &record.module else {
            return Ok(SigningKey::Seed(self.seeds.load(id).await?));
        };
        let module = self.of_token(place).map_err(SeedError::Unfit)?;
        let public = PublicKey::from_known_good(&record.public);
        let public = public.map_err(|_| SeedError::Unfit("names a key that is none"))?;
        let object = ObjectId::from_bytes(place.object);
        let key = ModuleKey { object, public };
        *self.lately.lock() = Some(key.clone());
        Ok(SigningKey::InModule(module.clone(), key))
    }

    /// Forgets a key that signs no more, or that was made for a change that was not written: its seed is removed, its object
    /// destroyed.
    pub(crate) async fn forget(&self, id: KeyId, record: &KeyRecord) {
        let Some(place) = &record.module else { return self.seeds.forget(id).await };
        match self.of_token(place) {
            Ok(module) => self.destroy(module, ObjectId::from_bytes(place.object)).await,
            Err(why) => {
                tracing::warn!(key = %id, token = place.token, "the object of an ended key is not destroyed: it {why}");
            }
        }
    }

    async fn destroy(&self, module: &Module, object: ObjectId) {
        let destroyed = module.destroy(object).await;
        let mut left = self.left.lock();
        match destroyed {
            Ok(_) => {
                left.remove(&object);
            }
            Err(error) => {
                if left.len() < MODULE_KEYS_LEFT && left.insert(object) {
                    tracing::warn!(%object, %error, "the object of an ended key is not destroyed yet");
                }
            }
        }
    }

    fn of_token(&self, place: &InModule) -> Result<&Module, &'static str> {
        match &self.module {
            None => Err("is in a token of a security module, and the settings name none"),
            Some(module) if module.token() == place.token => Ok(module),
            Some(_) => Err("is in another token than the settings name"),
        }
    }

    /// The keys in use, and those of them that cannot sign. Objects of ended keys that are left are destroyed.
    pub(crate) async fn survey(&self, tables: &Tables) -> Result<Survey, StartError> {
        let mut survey = self.seeds.survey(tables).await?;
        for key in std::mem::take(&mut survey.in_module) {
            let InModuleKey { tenant, id, state, place } = key;
            let object = ObjectId::from_bytes(place.object);
            let module = self.of_token(&place);
            if !matches!(state, State::Active | State::Next) {
                if let Ok(module) = module {
                    self.destroy(module, object).await;
                }
                continue;
            }
            let why = match module {
                Ok(module) if module.holds(object).await.map_err(StartError::Module)? => continue,
                Ok(_) => "is missing",
                Err(why) => why,
            };
            let place = format!("the object {object} in the token {:?}", place.token);
            survey.lost.push(LostSeed { tenant, id, state, place, why, in_module: true });
        }
        Ok(survey)
    }

    /// As [`Seeds::clear`]. Objects in a token that no row names stay: another copy of the database may name them.
    pub(crate) async fn clear(&self, named: &HashSet<KeyId>) -> Result<(), StartError> {
        self.seeds.clear(named).await
    }
}
