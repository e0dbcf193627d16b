//! Keys and accounts of a service that has lived for long.

use super::*;

/// Compromised keys stay for good, and there may be more of them than one scan of the store gives.
#[test]
fn a_tenant_with_more_keys_than_one_scan_goes_on() {
    actix_rt::System::new().block_on(async {
        use crate::audit::Actor;
        use crate::keys::in_state;
        use crate::records::keys::{KeyRecord, State};
        use crate::rotation;
        use tessera_runtime::limits::STORE_SCAN_ROWS;
        let rig = Rig::new(NOW);
        let service = rig.start(|_| {}).await.unwrap();
        let (tenant, by) = (default_tenant(), Actor("test".to_owned()));
        let public = SecretKey::from_seed(&[1; 32]).public_bytes();
        let retired = KeyRecord::next(public, NOW.get()).in_state(State::Retired, NOW.get());
        let numbers: Vec<u64> = (0..=STORE_SCAN_ROWS as u64).collect();
        for part in numbers.chunks(500) {
            let mut batch = tessera_runtime::store::Batch::new();
            for number in part {
                // Before all others in the table.
                let id = tessera_token::key::KeyId::from_bytes(number.to_be_bytes());
                crate::keys::put(&service.tables, &mut batch, &tenant, id, &retired);
            }
            service.store.commit(batch).await.unwrap();
        }
        let active = || in_state(&service.tables, &tenant, State::Active).unwrap().unwrap().0;
        let first = active();
        let rotated = rotation::rotate(&service, &by, &tenant).await.unwrap();
        assert_eq!(rotated.active, Some(active()));
        assert_ne!(first, active());
        rotation::compromise(&service, &by, &tenant, active()).await.unwrap();
        assert_eq!(Some(active()), rotated.next);
        chained(&service).await;
        rig.store.close().unwrap();
    });
}

/// Accounts of a version that knew no tenants are of all of them.
#[test]
fn accounts_of_former_versions_belong_to_all_tenants() {
    actix_rt::System::new().block_on(async {
        #[derive(serde::Serialize)]
        struct Former {
            name: &'static str,
            roles: [&'static str; 1],
            created: u64,
            #[serde(with = "crate::records::octets")]
            hash: [u8; 32],
        }
        let rig = Rig::new(NOW);
        let service = rig.start(|_| {}).await.unwrap();
        let token = crate::operators::draw(&*service.random).unwrap();
        let hash = tessera_token::hash::sha256(token.expose().as_bytes());
        let former = Former { name: "old", roles: ["viewer"], created: 1, hash };
        let mut batch = tessera_runtime::store::Batch::new();
        batch.put_record(&service.tables.operators, hash, &former);
        service.store.commit(batch).await.unwrap();
        let found = crate::operators::find(&service.tables, token.expose()).unwrap();
        assert_eq!(found.tenants, crate::operators::Tenants::All);
        chained(&service).await;
        rig.store.close().unwrap();
    });
}

/// A lost token is made again while no service runs, and the former one ends.
#[test]
fn a_lost_operator_token_is_made_again() {
    actix_rt::System::new().block_on(async {
        let rig = Rig::new(NOW);
        let clock: tessera_runtime::clock::SharedClock = rig.clock.clone();
        let random = SystemRandom::shared();
        let empty = tempfile::tempdir().unwrap();
        let none = renew_operator(empty.path(), &clock, &*random).await.err().unwrap();
        assert!(matches!(none, StartError::NotFounded(_)), "{none}");
        assert_eq!(std::fs::read_dir(empty.path()).unwrap().count(), 0);

        let service = rig.start(|_| {}).await.unwrap();
        let file = || {
            let path = rig.dir.path().join("operator.token");
            tessera_runtime::secret::read_secret_text(&path).unwrap().expose().clone()
        };
        let former = file();
        let running = renew_operator(rig.dir.path(), &clock, &*random).await.err().unwrap();
        let is_locked =
            matches!(running, StartError::Store(tessera_runtime::store::StoreError::Locked(_)));
        assert!(is_locked, "{running}");
        assert_eq!(file(), former);
        chained(&service).await;
        rig.store.close().unwrap();
        drop(service);

        let made = renew_operator(rig.dir.path(), &clock, &*random).await.unwrap();
        assert_eq!(*made.operator_token.expose(), file());
        let place = opening::Place::make(rig.dir.path()).unwrap();
        let store = opening::open(&place, false).unwrap();
        let tables = crate::tables::Tables::open(&store).unwrap();
        assert!(crate::operators::find(&tables, &former).is_err());
        let found = crate::operators::find(&tables, &file()).unwrap();
        assert_eq!((found.name.as_str(), found.roles.len()), ("bootstrap", 4));
        let entry = tables.audit_pending.scan_records::<crate::audit::Entry>(&[], None, 9).unwrap();
        assert_eq!(entry[0].1.action, "operator.renew");
        store.close().unwrap();
    });
}
