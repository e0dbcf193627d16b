use std::collections::HashMap;
use std::ops::Range;

use tessera_runtime::sql::Batch;
use tessera_runtime::store::StoreError;
use tessera_token::claims::{Claims, ConfirmationForm, Serial};
use tessera_token::ids::TenantId;
use tessera_token::issue::{issue_as, issue_symmetric};
use tessera_token::key::{Algorithm, KeyId, SecretKey, Signer};
use tessera_token::proof::DerivationKey;
use tessera_token::refusal::RefusalCode;
use tessera_token::time::UnixSeconds;

use super::unsigned::{Made, Unsigned};
use super::{Binding, Issued, Order};
use crate::keys::issuers::{IssuerKeys, SigningKey};
use crate::keys::signing;
use crate::limits::SERIAL_BLOCK;
use crate::records::keys::KeyRecord;
use crate::refused::Refused;
use crate::tables::Tables;

pub(crate) const SERIALS: &str = "serials";

/// No serial that was given out is above it.
pub(crate) async fn highest_serial(tables: &Tables) -> Result<u64, StoreError> {
    Ok(tables.marks.get::<u64>(SERIALS).await?.map_or(0, |next| next.saturating_sub(1)))
}

/// The state of issuing.
pub(crate) struct Issuer {
    tables: Tables,
    issuer_keys: IssuerKeys,
    algorithm: Algorithm,
    keys: HashMap<KeyId, SigningKey>,
    serials: Range<u64>,
}

/// A durable reservation on its way: commit `batch`, then hand `serials` to [`Issuer::reserved`].
pub(crate) struct Reservation {
    pub(crate) batch: Batch,
    pub(crate) serials: Range<u64>,
}

/// Leaves out `by` serials, and all below `floor`: for a service that may have given out more than it knows. The issuer
/// must forget its reservation when the batch is written ([`Issuer::forget_serials`]).
pub(crate) async fn jump(
    tables: &Tables,
    batch: &mut Batch,
    by: u64,
    floor: u64,
) -> Result<(), StoreError> {
    let before = tables.marks.get::<u64>(SERIALS).await?;
    tables.marks.expect_same(batch, SERIALS, before.as_ref());
    let next = before.unwrap_or(1).saturating_add(by).max(floor);
    tables.marks.put(batch, SERIALS, &next);
    Ok(())
}

fn claims_of(
    order: Order,
    serial: u64,
    now: UnixSeconds,
) -> (Claims, ConfirmationForm, Option<DerivationKey>) {
    let (confirmation, form, by) = match order.binding {
        Binding::None => (None, ConfirmationForm::default(), None),
        Binding::Key(key, form) => (Some(key), form, None),
        Binding::Derived(by) => (None, ConfirmationForm::default(), Some(by)),
    };
    let claims = Claims {
        tenant: order.tenant,
        device: order.device,
        audience: order.audience,
        expires: order.latest.map_or(now.plus(order.life), |end| end.min(now.plus(order.life))),
        not_before: None,
        issued: now,
        serial: Serial::from_counter(serial),
        confirmation,
        scope: order.scope,
        epochs: order.epochs,
    };
    (claims, form, by)
}

/// Bytes of the token that an order would become with this serial. `key` is any key of the issuer's kind: no token of it
/// leaves this function.
///
/// # Errors
/// As [`issue_as`].
pub(crate) fn measure(
    order: Order,
    serial: u64,
    now: UnixSeconds,
    (algorithm, key): (Algorithm, &SecretKey),
) -> Result<usize, RefusalCode> {
    let (claims, form, by) = claims_of(order, serial, now);
    signed((&claims, form, by.as_ref()), algorithm, key).map(|token| token.len())
}

/// The token of these claims.
pub(super) fn signed(
    (claims, form, by): (&Claims, ConfirmationForm, Option<&DerivationKey>),
    algorithm: Algorithm,
    key: &dyn Signer,
) -> Result<Vec<u8>, RefusalCode> {
    match by {
        None => issue_as(claims, form, algorithm, key),
        Some(by) => issue_symmetric(claims, by, algorithm, key),
    }
}

impl Issuer {
    pub(crate) fn new(tables: Tables, issuer_keys: IssuerKeys, algorithm: Algorithm) -> Self {
        Self { tables, issuer_keys, algorithm, keys: HashMap::new(), serials: 0..0 }
    }

    /// The reservation that must be committed before the next token; `None` while serials are left.
    pub(crate) async fn reservation(&self) -> Result<Option<Reservation>, StoreError> {
        if !self.serials.is_empty() {
            return Ok(None);
        }
        let before = self.tables.marks.get::<u64>(SERIALS).await?;
        let first = before.unwrap_or(1);
        let end = first.saturating_add(SERIAL_BLOCK);
        let mut batch = Batch::new();
        self.tables.marks.expect_same(&mut batch, SERIALS, before.as_ref());
        self.tables.marks.put(&mut batch, SERIALS, &end);
        Ok(Some(Reservation { batch, serials: first..end }))
    }

    pub(crate) fn reserved(&mut self, serials: Range<u64>) {
        self.serials = serials;
    }

    /// Forgets the serials that were reserved: they may have been given out before.
    pub(crate) fn forget_serials(&mut self) {
        self.serials = 0..0;
    }

    /// The token by this key, which was the active one of the tenant when the order was made, or all that its signature in a
    /// security module needs. Each call uses up one serial, also when it fails.
    pub(crate) async fn issue(
        &mut self,
        order: Order,
        key: (KeyId, KeyRecord),
        now: UnixSeconds,
    ) -> Result<Made, Refused> {
        let serial = self.serials.next().ok_or(RefusalCode::NotReady)?;
        let key_id = self.signing_key(&order.tenant, key).await?;
        let (claims, form, by) = claims_of(order, serial, now);
        let key = self.keys.get(&key_id).ok_or(RefusalCode::Internal)?;
        let draft = Issued {
            token: Vec::new(),
            kid: by.as_ref().map(|by| by.kid_of(&claims.serial)).unwrap_or_default(),
            serial,
            key_id,
            epochs: claims.epochs,
            issued: now,
            expires: claims.expires,
        };
        let algorithm = self.algorithm;
        match key {
            SigningKey::Seed(key) => {
                let token = signed((&claims, form, by.as_ref()), algorithm, key)?;
                Ok(Made::Signed(Issued { token, ..draft }))
            }
            SigningKey::InModule(module, key) => {
                let (module, key) = (module.clone(), key.clone());
                let unsigned = Unsigned { draft, claims, form, by, algorithm, module, key };
                Ok(Made::Unsigned(Box::new(unsigned)))
            }
        }
    }

    /// The id of the key that signs, loaded. A rotation may remove the seed between the look for `id` and the load: then the
    /// next look finds its successor.
    async fn signing_key(
        &mut self,
        tenant: &TenantId,
        (mut id, mut record): (KeyId, KeyRecord),
    ) -> Result<KeyId, Refused> {
        loop {
            let Err(refused) = self.load(id, &record).await else { return Ok(id) };
            let (now, present) = signing(&self.tables, tenant).await?;
            if now == id {
                tracing::error!(%tenant, key = %id, "the active issuer key is not readable");
                return Err(refused);
            }
            (id, record) = (now, present);
        }
    }

    async fn load(&mut self, id: KeyId, record: &KeyRecord) -> Result<(), Refused> {
        if self.keys.contains_key(&id) {
            return Ok(());
        }
        let key = self.issuer_keys.load(id, record).await.map_err(|error| {
            tracing::debug!(%error, key = %id, "an issuer key is not readable");
            Refused::from(RefusalCode::Internal)
        })?;
        self.keys.insert(id, key);
        Ok(())
    }

    /// Forgets keys that do not sign any more; called when keys moved.
    pub(crate) fn forget_keys(&mut self) {
        self.keys.clear();
    }
}
