use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::Mutex;
use tessera_token::ids::{DeviceId, TenantId};
use tessera_token::standing::Standing;
use tessera_token::time::UnixSeconds;

use crate::keep::Row;
use crate::rights::Rights;

/// Under which rights each device last published something that is retained: when they end, so does what is kept, also
/// when the device is not connected. Bounded by the number of retained messages, and shared with the sessions.
#[derive(Default)]
pub(crate) struct Publishers {
    rights: Mutex<HashMap<(TenantId, DeviceId), Arc<Rights>>>,
}

impl Publishers {
    /// Notes a retained publish under these rights; gives what must be written down when they are other ones.
    pub(crate) fn note(&self, rights: Arc<Rights>) -> Option<(Row, Standing)> {
        let grant = rights.grant();
        let device = (grant.tenant().clone(), grant.device().clone());
        let token = grant.token_hash();
        let written = (Row::Publisher(device.0.clone(), device.1.clone()), Standing::of(grant));
        let old = self.rights.lock().insert(device, rights);
        let same = old.is_some_and(|old| old.grant().token_hash() == token);
        (!same).then_some(written)
    }

    /// Takes out those that `lost` names.
    pub(crate) fn without(&self, lost: impl Fn(&Rights) -> bool) -> Vec<Arc<Rights>> {
        self.rights.lock().extract_if(|_, rights| lost(rights)).map(|(_, rights)| rights).collect()
    }

    /// Forgets those whose token has expired: nothing of theirs is retained any more. Names them.
    pub(crate) fn sweep(&self, now: UnixSeconds) -> Vec<(TenantId, DeviceId)> {
        let mut known = self.rights.lock();
        known.extract_if(|_, rights| rights.alive(now).is_err()).map(|(key, _)| key).collect()
    }
}
