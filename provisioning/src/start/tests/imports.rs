//! Imports whose database fails in the middle of a batch.

use serde_json::{json, Value};
use tessera_runtime::secret::read_secret_text;
use tessera_runtime::sql::Batch;
use tessera_token::encoding::base64url;

use super::*;
use crate::records::TenantRecord;
use crate::tables::one;

const LINES: u64 = 30;

/// Lines that are stored are answered before the import ends, with the line to go on from.
#[test]
fn an_import_whose_database_fails_tells_what_is_durable() {
    actix_rt::System::new().block_on(async {
        let rig = Rig::new(NOW);
        let service = rig.start(|_| {}).await.unwrap();
        let key = one(default_tenant().as_str());
        let old = service.tables.tenants.get(key.clone()).await.unwrap().unwrap();
        let mut batch = Batch::new();
        batch.put(&service.tables.tenants, key, &TenantRecord { keys_published: true, ..old });
        service.database.commit(batch).await.unwrap();
        // For so many devices together there is no room, so they are taken one by one.
        let most = LINES as usize - 5;
        let service = rig.start(|config| config.trust.device_keys = most).await.unwrap();
        let token = read_secret_text(&rig.dir.path().join("operator.token")).unwrap();
        let app = App::new().app_data(web::Data::from(service.clone())).configure(rest::configure);
        let app = init_service(app).await;
        let line = |number: u64| {
            let key = SecretKey::from_seed(&[number as u8; 32]).public();
            let key = base64url(&key.to_cose_key());
            json!({ "device": format!("d-{number}"), "role": "sensor", "key": key }).to_string()
        };
        let import = async |first: u64| {
            let body = (first..=LINES).map(line).collect::<Vec<_>>().join("\n");
            let path = format!("/v1/tenants/default/import/devices?first={first}");
            let request = as_operator(token.expose(), &path, &body);
            let request = request.insert_header(("content-type", "application/x-ndjson"));
            let body = read_body(call_service(&app, request.to_request()).await).await;
            let lines = body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
            let mut told: Vec<Value> =
                lines.map(|one| serde_json::from_slice(one).unwrap()).collect();
            let last = told.pop().unwrap();
            (told, last)
        };
        let stored = async || service.tables.devices.count().await.unwrap();

        rig.database.set_room(Some(3)).unwrap();
        let (told, last) = import(1).await;
        let durable = stored().await;
        assert!((1..LINES - 5).contains(&durable), "{durable}");
        assert_eq!(told.len() as u64, durable, "{told:?}");
        assert!(told.iter().all(|one| one["outcome"] == "imported"), "{told:?}");
        assert_eq!((&last["done"], &last["code"]), (&json!(false), &json!("not_ready")));
        assert_eq!((&last["imported"], &last["next"]), (&json!(durable), &json!(durable + 1)));

        rig.database.set_room(None).unwrap();
        let (told, last) = import(durable + 1).await;
        assert_eq!((&last["done"], &last["next"]), (&json!(true), &json!(LINES + 1)), "{last}");
        assert_eq!((&last["imported"], &last["refused"]), (&json!(LINES - 5 - durable), &json!(5)));
        assert_eq!(told.last().unwrap()["code"], "capacity_reached");
        assert_eq!(stored().await, LINES - 5);
        chained(&service).await;
        rig.database.close().await.unwrap();
    });
}
