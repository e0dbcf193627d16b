use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::Mutex;
use tessera_token::ids::{DeviceId, TenantId};
use tessera_token::time::UnixSeconds;

use crate::rights::Rights;

/// Under which rights each device last published something that is retained: when they end, so does what is kept, also
/// when the device is not connected. Bounded by the number of retained messages, and shared with the sessions.
#[derive(Default)]
pub(crate) struct Publishers {
    rights: Mutex<HashMap<(TenantId, DeviceId), Arc<Rights>>>,
}

impl Publishers {
    /// Notes a retained publish under these rights.
    pub(crate) fn note(&self, rights: Arc<Rights>) {
        let grant = rights.grant();
        let device = (grant.tenant().clone(), grant.device().clone());
        self.rights.lock().insert(device, rights);
    }

    /// Takes out those that `lost` names.
    pub(crate) fn without(&self, lost: impl Fn(&Rights) -> bool) -> Vec<Arc<Rights>> {
        self.rights.lock().extract_if(|_, rights| lost(rights)).map(|(_, rights)| rights).collect()
    }

    /// Forgets those whose token has expired: nothing of theirs is retained any more.
    pub(crate) fn sweep(&self, now: UnixSeconds) {
        self.rights.lock().retain(|_, rights| rights.alive(now).is_ok());
    }
}
