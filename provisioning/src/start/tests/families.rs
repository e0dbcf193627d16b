//! The end of a family by its holder (RFC 7009).

use tessera_runtime::sql::Batch;

use super::*;
use crate::audit::Actor;
use crate::families::{self, Beginning};
use crate::records::families::LiveToken;
use crate::records::DeviceRecord;
use crate::tables::pair;

#[test]
fn a_family_is_revoked_once_with_its_access_tokens() {
    actix_rt::System::new().block_on(revoke());
}

async fn revoke() {
    let dir = tempfile::tempdir().unwrap();
    let (service, _) = built(dir.path(), ManualClock::at(NOW)).await;
    let (tenant, device) = (TenantId::parse("default").unwrap(), DeviceId::parse("a").unwrap());
    let record = DeviceRecord {
        role: "sensor".to_owned(),
        group: "default".to_owned(),
        key: SecretKey::from_seed(&[1; 32]).public().as_bytes().to_vec(),
        epoch: 0,
        revoked: false,
        enrolled: NOW.get(),
        claim: String::new(),
        refresh_from: None,
        suspended: None,
        thumbprint: None,
        attributes: crate::records::Attributes::default(),
    };
    let mut batch = Batch::new();
    batch.put(&service.tables.devices, pair(&tenant, device.as_str()), &record);
    let live = LiveToken { hash: [3; 33], expires: NOW.get() + 100 };
    let new = Beginning {
        tenant: &tenant,
        device: &device,
        record: &record,
        scope: None,
        serial: 7,
        token: live,
    };
    families::begin(&service, &mut batch, new).await.unwrap();
    service.database.commit(batch).await.unwrap();
    let token = families::first_token(&service, 7).await.unwrap();
    let token = token.expose().as_bytes();
    let (shown, _) = families::of_token(&service, token).await.unwrap().unwrap();
    let by = Actor::device(&"a");
    assert!(families::revoke(&service, &by, &shown.family).await.unwrap());
    assert!(!families::revoke(&service, &by, &shown.family).await.unwrap());
    assert!(families::of_token(&service, token).await.unwrap().is_none());
    let row = vec![(NOW.get() + 100).into(), [3; 33].into()];
    assert!(service.tables.revoked_tokens.contains(row).await.unwrap());
}
