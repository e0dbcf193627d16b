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
        let (tenant, by) = (default_tenant(), Actor::system("test"));
        let public = SecretKey::from_seed(&[1; 32]).public_bytes();
        let retired = KeyRecord::next(public, NOW.get()).in_state(State::Retired, NOW.get());
        let numbers: Vec<u64> = (0..=STORE_SCAN_ROWS as u64).collect();
        for part in numbers.chunks(500) {
            let mut batch = tessera_runtime::sql::Batch::new();
            for number in part {
                // Before all others in the table.
                let id = tessera_token::key::KeyId::from_bytes(number.to_be_bytes());
                crate::keys::put(&service.tables, &mut batch, &tenant, id, &retired);
            }
            service.database.commit(batch).await.unwrap();
        }
        let active =
            async || in_state(&service.tables, &tenant, State::Active).await.unwrap().unwrap().0;
        let first = active().await;
        let rotated = rotation::rotate(&service, &by, &tenant).await.unwrap();
        assert_eq!(rotated.active, Some(active().await));
        assert_ne!(first, active().await);
        rotation::compromise(&service, &by, &tenant, active().await).await.unwrap();
        assert_eq!(Some(active().await), rotated.next);
        chained(&service).await;
        rig.database.close().await.unwrap();
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
        let none = renew_operator(empty.path(), None, &clock, &*random).await.err().unwrap();
        assert!(matches!(none, StartError::NotFounded(_)), "{none}");
        assert_eq!(std::fs::read_dir(empty.path()).unwrap().count(), 0);

        let service = rig.start(|_| {}).await.unwrap();
        let file = || {
            let path = rig.dir.path().join("operator.token");
            tessera_runtime::secret::read_secret_text(&path).unwrap().expose().clone()
        };
        let former = file();
        let running = renew_operator(rig.dir.path(), None, &clock, &*random).await.err().unwrap();
        let is_locked =
            matches!(running, StartError::Store(tessera_runtime::store::StoreError::Locked(_)));
        assert!(is_locked, "{running}");
        assert_eq!(file(), former);
        chained(&service).await;
        rig.database.close().await.unwrap();
        drop(service);

        let made = renew_operator(rig.dir.path(), None, &clock, &*random).await.unwrap();
        assert_eq!(*made.operator_token.expose(), file());
        let place = opening::Place::make(rig.dir.path()).unwrap();
        let database = opening::open(&place, None, false, &clock, &*random).await.unwrap();
        let tables = crate::tables::Tables::of(&database);
        assert!(crate::operators::find(&tables, &former).await.is_err());
        let found = crate::operators::find(&tables, &file()).await.unwrap();
        assert_eq!((found.name.as_str(), found.roles.len()), ("bootstrap", 4));
        let entry = tables.audit_waiting.scan(&[], None, 9).await.unwrap();
        assert_eq!(entry[0].1.action, "operator.renew");
        database.close().await.unwrap();
    });
}

/// Nothing is said of a whole database, and each kind of fault of a damaged one.
#[test]
fn a_check_tells_broken_chains_and_rows_that_name_nothing() {
    actix_rt::System::new().block_on(async {
        use crate::audit::Actor;
        use crate::records::DeviceRecord;
        use crate::registry::{groups, tenants};
        use crate::tables::{one, pair};
        let rig = Rig::new(NOW);
        let service = rig.start(|_| {}).await.unwrap();
        let by = Actor::system("test");
        let other = TenantId::parse("other").unwrap();
        tenants::create(
            &service,
            &by,
            &other,
            false,
            &crate::once::Keep { asked: None, answer: &|_| unreachable!() },
        )
        .await
        .unwrap();
        let group = tessera_token::ids::GroupId::parse("default").unwrap();
        for _ in 0..3 {
            groups::revoke(&service, &by, &other, &group).await.unwrap();
        }
        chained(&service).await;
        rig.database.close().await.unwrap();
        let store = rig.dir.path().join("provisioning/store");
        let whole = check_stopped(&store, &|_| {}).await.unwrap();
        assert_eq!(whole.faults, Vec::<String>::new());
        assert!(whole.rows.contains(&("tenants", 2)), "{:?}", whole.rows);

        let (database, tables) = crate::tables::in_folder(&store);
        let device = DeviceRecord {
            role: "none".to_owned(),
            group: "default".to_owned(),
            key: vec![1; 32],
            epoch: 0,
            revoked: false,
            enrolled: 1,
            claim: String::new(),
            attributes: crate::records::Attributes::default(),
            refresh_from: None,
            suspended: None,
            thumbprint: None,
        };
        let mut batch = tessera_runtime::sql::Batch::new();
        batch.put(&tables.devices, pair("other", "d-1"), &device);
        batch.put(&tables.devices, pair("nowhere", "d-2"), &device);
        let mut entry = tables.audit.get(one(2u64)).await.unwrap().unwrap();
        entry.entry.subject = "forged".to_owned();
        batch.put(&tables.audit, one(2u64), &entry);
        batch.delete(&tables.trust_events, one(2u64));
        database.commit(batch).await.unwrap();
        database.close().await.unwrap();
        let found = check_stopped(&store, &|_| {}).await.unwrap().faults;
        assert_eq!(
            found,
            [
                "audit: entry 2 does not follow from the one before",
                "trust feed: event 3 does not follow the one before",
                "devices: d-2 names its tenant nowhere, which is not there",
                "devices: d-1 names its role none in tenant other, which is not there",
            ]
        );
    });
}

/// A part of the database was lost with its marks: the service goes on with the rows that are left.
#[test]
fn a_service_whose_marks_were_lost_goes_on_behind_its_rows() {
    actix_rt::System::new().block_on(async {
        use crate::audit::Actor;
        use crate::registry::tenants;
        let rig = Rig::new(NOW);
        let service = rig.start(|_| {}).await.unwrap();
        let by = Actor::system("test");
        tenants::create(
            &service,
            &by,
            &TenantId::parse("other").unwrap(),
            false,
            &crate::once::Keep { asked: None, answer: &|_| unreachable!() },
        )
        .await
        .unwrap();
        chained(&service).await;
        let root = service.root.public();
        rig.database.close().await.unwrap();
        drop(service);
        let store = rig.dir.path().join("provisioning/store");
        let (database, tables) = crate::tables::in_folder(&store);
        let before = tables.audit.last().await.unwrap().unwrap();
        let mut batch = tessera_runtime::sql::Batch::new();
        for mark in ["founded", "audit_head", "trust_head", "serials", "lived"] {
            tables.marks.delete(&mut batch, mark);
        }
        database.commit(batch).await.unwrap();
        database.close().await.unwrap();
        std::fs::write(rig.dir.path().join("provisioning/loss"), "marks").unwrap();
        let path = rig.dir.path().join("provisioning/loss");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(path, mode).unwrap();

        let (service, first) = built(rig.dir.path(), rig.clock.clone()).await;
        assert_eq!((service.root.public(), first), (root, None), "it is the same service");
        chained(&service).await;
        let after = service.tables.audit.last().await.unwrap().unwrap();
        let number =
            |row: &(tessera_runtime::sql::Key, _)| crate::tables::number(&row.0, 0).unwrap();
        assert!(number(&after) > number(&before));
        assert!(service.tables.tenants.contains(crate::tables::one("other")).await.unwrap());
        tenants::create(
            &service,
            &by,
            &TenantId::parse("more").unwrap(),
            false,
            &crate::once::Keep { asked: None, answer: &|_| unreachable!() },
        )
        .await
        .unwrap();
        chained(&service).await;
        service.database.close().await.unwrap();
        let checked = check_stopped(&store, &|_| {}).await.unwrap();
        assert_eq!(checked.faults, Vec::<String>::new());
    });
}

/// Verifiers hear of the end of a deleted device above what a lost part may have told.
#[test]
fn a_start_lifts_a_deleted_device_too() {
    actix_rt::System::new().block_on(async {
        use crate::records::DeletedDevice;
        use crate::tables::pair;
        use crate::trust::restored;
        const FLOOR: u64 = 1000;
        let rig = Rig::new(NOW);
        let service = rig.start(|_| {}).await.unwrap();
        let (tenant, device) = (default_tenant(), DeviceId::parse("a").unwrap());
        let (tables, key) = (&service.tables, pair(&tenant, "a"));
        let mut batch = tessera_runtime::sql::Batch::new();
        let gone = DeletedDevice { epoch: 6, at: NOW.get(), free: NOW.get() };
        batch.put(&tables.deleted_devices, key.clone(), &gone);
        let by = crate::audit::Actor::system("test");
        let entry = service.entry(&by, "device.delete", "default", "a");
        let moved = tessera_token::trust::DeviceEpoch { tenant, device, epoch: 6, at: NOW };
        let changes = vec![tessera_token::trust::Change::Device(moved)];
        service.publish(changes, batch, entry).await.unwrap();
        let mut batch = tessera_runtime::sql::Batch::new();
        tables.marks.put(&mut batch, "epoch_floor", &FLOOR);
        restored::lift_after(tables, &mut batch, u64::MAX, None).await.unwrap();
        service.database.commit(batch).await.unwrap();
        chained(&service).await;

        let service = rig.start(|_| {}).await.unwrap();
        let moved = service.tables.moved_devices.get(key.clone()).await.unwrap().unwrap();
        let gone = service.tables.deleted_devices.get(key).await.unwrap().unwrap();
        assert_eq!((moved.epoch, gone.epoch), (FLOOR, FLOOR));
        chained(&service).await;
        rig.database.close().await.unwrap();
    });
}
