//! The move of a service from its folder to a server.

use std::sync::Arc;

use serde_json::json;
use tempfile::TempDir;
use tessera_provisioning::{move_to_server, StartError};
use tessera_runtime::store::StoreError;
use tessera_token::refusal::RefusalCode;

use crate::postgres::{has_no_files, settings, url_of};
use crate::world::{try_start, Forced, World};

#[tokio::test]
async fn a_service_goes_on_behind_its_move_to_a_server() {
    if has_no_files() {
        return;
    }
    let other = TempDir::new().unwrap();
    let Some(url) = url_of(other.path()).await else { return };
    let target = settings(url);
    let world = World::new().await;
    let (device, _) = world.enrolled("a").await;
    let (revoked, _) = world.enrolled("b").await;
    world.post("/v1/tenants/default/devices/b/revoke", json!({})).await;
    let (gone, _) = world.enrolled("c").await;
    world.operator.delete_any("/v1/tenants/default/devices/c").await.unwrap();
    world.post("/v1/tenants/default/groups", json!({ "group": "g" })).await;
    let request = world.request(&device, tessera_token::messages::TokenKind::Key).to_cbor();
    let answer = world.ask("/v1/token", request.clone()).await.unwrap();
    let head = crate::several::entries_of(&world.operator).await.len() as u64;
    let root = world.handle.root_thumbprint();
    let dir = world.dir.path().to_owned();
    // A running service keeps its database.
    let running = move_to_server(&dir, &target, &|_| {}).await.err();
    assert!(matches!(running, Some(StartError::Store(StoreError::Locked(_)))), "{running:?}");
    assert_eq!(world.stop().await, Vec::<String>::new());
    // A move that was begun keeps it too.
    std::fs::write(dir.join("provisioning/moving"), "").unwrap();
    let begun = try_start(&dir, &world.clock, |_| {}).await.err();
    assert!(matches!(begun, Some(StartError::Moving(_))), "{begun:?}");
    let moved = move_to_server(&dir, &target, &|_| {}).await.unwrap();
    let rows = |table: &str| moved.iter().find(|(name, _)| *name == table).unwrap().1;
    assert_eq!(
        (rows("devices"), rows("deleted_devices"), rows("audit_entries") >= head),
        (2, 1, true)
    );
    // Every table of the schema but those of shared databases alone.
    for step in std::fs::read_dir("src/schema").unwrap() {
        let step = std::fs::read_to_string(step.unwrap().path()).unwrap();
        let tables = step.lines().filter_map(|line| line.strip_prefix("CREATE TABLE "));
        let tables = tables.map(|line| line.split_whitespace().next().unwrap());
        for table in tables.filter(|table| !["sealed_seeds", "used_nonces"].contains(table)) {
            assert!(moved.iter().any(|(name, _)| *name == table), "{table} is not moved");
        }
    }
    let without = try_start(&dir, &world.clock, |config| config.accept_loss = true).await.err();
    assert!(matches!(without, Some(StartError::MovedAway(_))), "{without:?}");
    let change = |config: &mut tessera_provisioning::ProvisioningConfig| {
        config.database = Some(target.clone());
    };
    let (handle, stop) = try_start(&dir, &world.clock, change).await.unwrap();
    assert_eq!(handle.root_thumbprint(), root);
    let World { dir, clock, .. } = world;
    let world = World::around(dir, Arc::clone(&clock), handle, stop);
    assert_eq!(world.ask("/v1/token", request).await.unwrap().access_token, answer.access_token);
    world.refresh(&device).await.unwrap();
    assert_eq!(world.refresh(&revoked).await, Err(RefusalCode::DeviceRevoked));
    assert_eq!(world.refresh(&gone).await, Err(RefusalCode::ProofInvalid));
    world.post("/v1/tenants/default/keys/rotate", json!({})).await;
    world.refresh(&device).await.unwrap();
    assert!(crate::several::is_one_line(&crate::several::entries_of(&world.operator).await));
    // Another service does not take the place of this one.
    let second = World::new().await;
    assert_eq!(second.stop().await, Vec::<String>::new());
    let taken = move_to_server(second.dir.path(), &target, &|_| {}).await.err();
    assert!(matches!(taken, Some(StartError::DatabaseTaken)), "{taken:?}");
    assert!(try_start(second.dir.path(), &clock, |_| {}).await.is_ok(), "it serves as before");
}
