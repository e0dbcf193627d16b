//! Groups of which an operator announced a change.

use std::sync::Arc;

use hashbrown::HashMap;
use tessera_token::ids::TenantId;
use tessera_token::time::UnixSeconds;

/// Groups, by tenant and number, and until when a change of them is announced.
pub(crate) type Announced = Arc<HashMap<(TenantId, u64), UnixSeconds>>;
