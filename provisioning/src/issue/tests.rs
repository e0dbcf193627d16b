use tessera_runtime::random::SeededRandom;
use tessera_runtime::sql::Database;
use tessera_token::key::Algorithm;
use tessera_token::scope::Scope;

use super::*;
use crate::keys::files::{draw, KeyFolder};
use crate::keys::issuers::IssuerKeys;
use crate::keys::put;
use crate::keys::seeds::Seeds;
use crate::limits::SERIAL_BLOCK;
use crate::records::keys::{KeyRecord, State};
use crate::tables::in_folder;

const NOW: UnixSeconds = UnixSeconds::new(1_800_000_000);

fn order() -> Order {
    Order {
        latest: None,
        tenant: TenantId::parse("t").unwrap(),
        device: DeviceId::parse("d").unwrap(),
        audience: Audience::parse("mqtt").unwrap(),
        life: 60,
        binding: Binding::None,
        scope: Scope::default(),
        epochs: Epochs::default(),
    }
}

async fn reserve(issuer: &mut Issuer, database: &Database) {
    if let Some(reservation) = issuer.reservation().await.unwrap() {
        database.commit(reservation.batch).await.unwrap();
        issuer.reserved(reservation.serials);
    }
}

#[tokio::test]
async fn serials_never_repeat_and_none_is_given_without_a_reservation() {
    let dir = tempfile::tempdir().unwrap();
    let folder = KeyFolder::open(&dir.path().join("keys")).unwrap();
    let key = draw(&SeededRandom::predictable(1)).unwrap();
    let id = folder.store(&key).unwrap();
    let mut last = 0;
    for _restart in 0..3 {
        let (database, tables) = in_folder(&dir.path().join("store"));
        let mut batch = Batch::new();
        let record =
            KeyRecord::next(key.public_bytes(), NOW.get()).in_state(State::Active, NOW.get());
        put(&tables, &mut batch, &order().tenant, id, &record);
        database.commit(batch).await.unwrap();
        let keys = IssuerKeys::of(Seeds::Files(folder.clone()), None);
        let mut issuer = Issuer::new(tables, keys, Algorithm::default());
        let signing = (id, record);
        let first = issuer.issue(order(), signing.clone(), NOW).await;
        assert!(first.is_err(), "no serial is reserved yet");
        for _ in 0..SERIAL_BLOCK + 3 {
            reserve(&mut issuer, &database).await;
            let made = issuer.issue(order(), signing.clone(), NOW).await.unwrap();
            let Made::Signed(issued) = made else { panic!("a seed signs at once") };
            assert!(issued.serial > last);
            assert_eq!(issued.key_id, id);
            last = issued.serial;
        }
        database.close().await.unwrap();
    }
    assert!(last > 2 * SERIAL_BLOCK);
}
