//! Changes of roles that stop in the middle, and rows from before roles had a progress and devices attributes.

use std::collections::BTreeMap;

use tessera_runtime::sql::{Batch, Database, Key, Record, Row, Schema, Value};
use tessera_runtime::store::{StoreError, StoreOptions};
use tessera_token::ids::RoleId;

use super::*;
use crate::audit::Actor;
use crate::records::{Attributes, DeviceRecord, RoleProgress, RoleRecord};
use crate::registry::roles::{self, Definition, Of, Way};
use crate::registry::{attributes, rights};
use crate::tables::{pair, Tables, SCHEMA};
use crate::token_for_device;
use crate::write::Attempt;

fn device(role: &str) -> DeviceRecord {
    DeviceRecord {
        role: role.to_owned(),
        group: "default".to_owned(),
        key: SecretKey::from_seed(&[1; 32]).public().as_bytes().to_vec(),
        epoch: 1,
        revoked: false,
        enrolled: NOW.get(),
        claim: String::new(),
        attributes: Attributes::default(),
        refresh_from: None,
        suspended: None,
        thumbprint: None,
    }
}

async fn put_role(service: &Service, name: &str, change: impl Fn(&mut RoleRecord)) {
    let key = pair(default_tenant(), name);
    let sensor = service.tables.roles.get(pair(default_tenant(), "sensor")).await;
    let mut record = sensor.unwrap().unwrap();
    change(&mut record);
    let mut batch = Batch::new();
    batch.put(&service.tables.roles, key, &record);
    service.database.commit(batch).await.unwrap();
}

async fn put_device(service: &Service, name: &str, record: &DeviceRecord) {
    let mut batch = Batch::new();
    batch.put(&service.tables.devices, pair(default_tenant(), name), record);
    service.database.commit(batch).await.unwrap();
}

/// Between the write of the role and the end of the tokens the process was killed.
#[test]
fn a_change_of_a_role_that_was_cut_off_ends_its_tokens_after_the_next_start() {
    actix_rt::System::new().block_on(async {
        let rig = Rig::new(NOW);
        let service = rig.start(|_| {}).await.unwrap();
        put_device(&service, "a", &device("sensor")).await;
        let ending = RoleProgress { revision: 1, ending: Some(1), leaving: false };
        put_role(&service, "sensor", |role| role.progress = ending).await;
        chained(&service).await;
        let service = rig.start(|_| {}).await.unwrap();
        let epoch = async || {
            let row = pair(default_tenant(), "a");
            let moved = service.tables.moved_devices.get(row.clone()).await.unwrap();
            let device = service.tables.devices.get(row).await.unwrap().unwrap();
            (device.epoch, moved.map(|moved| moved.epoch))
        };
        assert_eq!(epoch().await, (1, None));
        rights::resume(&service).await.unwrap();
        assert_eq!(epoch().await, (2, Some(2)), "and verifiers are told");
        rights::resume(&service).await.unwrap();
        assert_eq!(epoch().await, (2, Some(2)), "once");
        let role = service.tables.roles.get(pair(default_tenant(), "sensor")).await;
        let done = RoleProgress { revision: 1, ending: None, leaving: false };
        assert_eq!(role.unwrap().unwrap().progress, done);
        chained(&service).await;
        rig.database.close().await.unwrap();
    });
}

/// The same for a deletion: it is done, or taken back where the role is in use.
#[test]
fn a_deletion_of_a_role_that_was_cut_off_is_done_or_taken_back() {
    actix_rt::System::new().block_on(async {
        let rig = Rig::new(NOW);
        let service = rig.start(|_| {}).await.unwrap();
        put_device(&service, "a", &device("used")).await;
        for name in ["used", "unused"] {
            put_role(&service, name, |role| role.progress.leaving = true).await;
        }
        let tenant = default_tenant();
        let known = async |name: &str| roles::known(&service, &tenant, name).await.is_ok();
        assert!(!known("used").await && !known("unused").await, "given to none meanwhile");
        rights::resume(&service).await.unwrap();
        assert!(known("used").await);
        assert!(!service.tables.roles.contains(pair(&tenant, "unused")).await.unwrap());
        chained(&service).await;
        rig.database.close().await.unwrap();
    });
}

/// A token whose making began before its role was changed is not made after the former tokens were ended.
#[test]
fn a_token_rests_on_the_role_that_it_was_made_from() {
    actix_rt::System::new().block_on(async {
        let rig = Rig::new(NOW);
        let service = rig.start(|_| {}).await.unwrap();
        let (tenant, id) = (default_tenant(), DeviceId::parse("a").unwrap());
        let owner = crate::registry::tenants::known(&service, &tenant).await.unwrap();
        let record = device("sensor");
        put_device(&service, "a", &record).await;
        let made = async || {
            let kind = TokenKind::Key;
            token_for_device::issue(&service, &tenant, &owner, &id, &record, kind).await.unwrap()
        };
        let write = async |token: &token_for_device::IssuedToken| {
            let mut batch = Batch::new();
            token.expect(&service, &mut batch);
            token.issued.record(&service.tables, &mut batch, (&tenant, &id), None);
            service.write_unnoted(batch).await.unwrap()
        };
        let (first, second) = (made().await, made().await);
        assert_eq!(write(&first).await, Attempt::Committed(()));
        let sensor = roles::known(&service, &tenant, "sensor").await.unwrap();
        let wanted = Definition {
            class: sensor.class,
            publish: vec!["x/{device}".to_owned()],
            subscribe: Vec::new(),
            token_seconds: None,
            refresh_tokens: false,
        };
        let role = RoleId::parse("sensor").unwrap();
        let when = &crate::revision::Precondition::Nothing;
        let of = Of { tenant: &tenant, role: &role, way: Way::default(), when };
        roles::put(&service, &Actor::system("test"), &of, &wanted).await.unwrap();
        assert_eq!(write(&second).await, Attempt::Conflict);
        chained(&service).await;
        rig.database.close().await.unwrap();
    });
}

/// The rows by which devices are found are those of their attributes.
#[test]
fn a_check_tells_attributes_without_their_rows_and_rows_without_attributes() {
    actix_rt::System::new().block_on(async {
        let rig = Rig::new(NOW);
        let service = rig.start(|_| {}).await.unwrap();
        let set = BTreeMap::from([("site".to_owned(), Some("hall".to_owned()))]);
        let attributes = Attributes::default().with(&set).unwrap();
        let (tenant, id) = (default_tenant(), DeviceId::parse("a").unwrap());
        let whole = DeviceRecord { attributes, ..device("sensor") };
        let mut batch = Batch::new();
        let (of, none) = ((&tenant, &id), Attributes::default());
        attributes::index(&service.tables, &mut batch, of, &none, &whole.attributes);
        service.database.commit(batch).await.unwrap();
        put_device(&service, "a", &whole).await;
        chained(&service).await;
        rig.database.close().await.unwrap();
        drop(service);
        let store = rig.dir.path().join("provisioning/store");
        assert_eq!(check_stopped(&store, &|_| {}).await.unwrap().faults, Vec::<String>::new());
        let (database, tables) = crate::tables::in_folder(&store);
        let mut batch = Batch::new();
        batch.put(&tables.devices, pair(&tenant, "a"), &device("sensor"));
        batch.put(&tables.devices, pair(&tenant, "b"), &whole);
        database.commit(batch).await.unwrap();
        database.close().await.unwrap();
        let faults = check_stopped(&store, &|_| {}).await.unwrap().faults.join("\n");
        assert!(faults.contains("a names its attribute site hall"), "{faults}");
        assert!(faults.contains("0 rows for 1 attributes"), "{faults}");
    });
}

/// Rows as the first schema has them.
macro_rules! former {
    ($($name:ident $table:literal $key:literal $columns:tt;)*) => {
        $(struct $name(Vec<Value>);
        impl Record for $name {
            const TABLE: &'static str = $table;
            const KEY: &'static [&'static str] = &["tenant", $key];
            const COLUMNS: &'static [&'static str] = &$columns;
            fn values(&self) -> Vec<Value> {
                self.0.clone()
            }
            fn read(_row: &mut Row) -> Result<Self, StoreError> {
                Ok(Self(Vec::new()))
            }
        })*
    };
}

former! {
    FormerRole "roles" "role" ["class", "publish", "subscribe", "token_seconds"];
    FormerDevice "devices" "device"
        ["role", "device_group", "public_key", "epoch", "revoked", "enrolled", "claim"];
    FormerClaim "claims" "code_hash"
        ["role", "device_group", "device", "created", "expires", "made_by", "used_device", "used_thumbprint", "used_at"];
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_of_the_first_schema_are_read_as_before() {
    let folder = tempfile::tempdir().unwrap();
    let options = StoreOptions::default();
    let first: &'static [&'static str] = &SCHEMA.steps[..1];
    let schema = Schema { steps: first, ..SCHEMA };
    let open = |schema| {
        let clock: tessera_runtime::clock::SharedClock = ManualClock::at(NOW);
        Database::open(folder.path(), schema, &options, clock, &SystemRandom).unwrap().0
    };
    let database = open(schema);
    let key = |name: Value| -> Key { vec!["t".into(), name] };
    let text = |text: &str| Value::from(text);
    let (none, one) = (Value::Null, Value::Int(1));
    let mut batch = Batch::new();
    let role = vec![text("device"), text(r#"["{device}"]"#), text("[]"), none.clone()];
    batch.put(&database.table(), key("r".into()), &FormerRole(role));
    let device =
        [text("r"), text("g"), vec![1u8; 32].into(), one.clone(), 0u64.into(), one.clone()];
    let device = [device.as_slice(), &[text("c")]].concat();
    batch.put(&database.table(), key("d".into()), &FormerDevice(device));
    let claim = [text("r"), text("g"), none.clone(), one.clone(), one.clone(), text("by")];
    let used = [claim.as_slice(), &[text("d"), [2u8; 32].into(), one.clone()]].concat();
    let open_claim = [claim.as_slice(), &[none.clone(), none.clone(), none]].concat();
    batch.put(&database.table(), key([1u8; 32].into()), &FormerClaim(used));
    batch.put(&database.table(), key([2u8; 32].into()), &FormerClaim(open_claim));
    database.commit(batch).await.unwrap();
    database.close().await.unwrap();

    let database = open(SCHEMA);
    let tables = Tables::of(&database);
    let role = tables.roles.get(key("r".into())).await.unwrap().unwrap();
    assert_eq!((role.publish[0].as_str(), role.progress), ("{device}", RoleProgress::default()));
    let device = tables.devices.get(key("d".into())).await.unwrap().unwrap();
    assert_eq!((device.epoch, &device.attributes), (1, &Attributes::default()));
    let claims = tables.claims.scan(&["t".into()], None, 9).await.unwrap();
    let uses: Vec<_> = claims.iter().map(|(_, claim)| claim.used.is_some()).collect();
    assert_eq!(uses, [true, false]);
    assert!(claims.iter().all(|(_, claim)| claim.attributes == Attributes::default()));
    // They are as they were read, and can be changed.
    let set = [("site".to_owned(), Some("hall".to_owned()))];
    let changed = DeviceRecord {
        attributes: device.attributes.with(&BTreeMap::from(set)).unwrap(),
        ..device.clone()
    };
    let mut batch = Batch::new();
    batch.expect(&tables.devices, key("d".into()), &device);
    batch.expect(&tables.roles, key("r".into()), &role);
    claims.iter().for_each(|(row, claim)| batch.expect(&tables.claims, row.clone(), claim));
    batch.put(&tables.devices, key("d".into()), &changed);
    database.commit(batch).await.unwrap();
    assert_eq!(tables.devices.get(key("d".into())).await.unwrap(), Some(changed));
    assert!(database.faults().unwrap().is_empty());
    database.close().await.unwrap();
}
