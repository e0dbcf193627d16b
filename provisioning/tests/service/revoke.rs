use serde_json::json;
use tessera_token::encoding::base64url;
use tessera_token::hash::TokenHash;

use crate::enrol::claims;
use crate::feed::Reader;
use crate::world::{problem, World};

#[tokio::test]
async fn every_kind_of_revocation_moves_its_own_epoch() {
    let world = World::new().await;
    world.post("/v1/tenants/default/groups", json!({ "group": "hall" })).await;
    let claim = world.claim(json!({ "group": "hall" })).await;
    let device = crate::world::Device::new("a");
    let first = claims(&world.enrol(&device, &claim).await.unwrap().access_token).epochs;
    assert_eq!((first.tenant, first.group_number, first.group, first.device), (0, 1, 0, 0));
    world.post("/v1/tenants/default/groups/hall/revoke", json!({})).await;
    world.post("/v1/tenants/default/revoke", json!({})).await;
    world.post("/v1/tenants/default/reinstate", json!({})).await;
    world.post("/v1/tenants/default/devices/a/revoke", json!({})).await;
    world.post("/v1/tenants/default/devices/a/revoke", json!({})).await;
    world.post("/v1/tenants/default/devices/a/reinstate", json!({})).await;
    let last = claims(&world.refresh(&device).await.unwrap().access_token).epochs;
    assert_eq!((last.tenant, last.group_number, last.group, last.device), (1, 1, 1, 2));
    let mut reader = Reader::snapshot(&world).await;
    assert_eq!(reader.device_epoch("a"), 2);
    assert_eq!(reader.group_epoch(1), 1);
    assert_eq!(reader.tenant("default").epoch, 1);
    assert!(reader.read(&world).await.is_empty());
}

#[tokio::test]
async fn one_token_is_ended_by_its_hash() {
    let world = World::new().await;
    let (device, first) = world.enrolled("a").await;
    let second = world.refresh(&device).await.unwrap();
    let mut reader = Reader::snapshot(&world).await;
    let hash = TokenHash::of(&second.access_token);
    let body = json!({ "token_hash": base64url(hash.as_bytes()) });
    let path = "/v1/tenants/default/tokens/revoke";
    let told = world.post(path, body.clone()).await;
    assert_eq!(told["device"], "a");
    world.post(path, body).await;
    assert_eq!(reader.read(&world).await.len(), 1, "ending it twice is the same as once");
    assert!(reader.revoked(&hash));
    assert!(!reader.revoked(&TokenHash::of(&first.access_token)));
    let unknown = json!({ "token_hash": base64url(TokenHash::of(b"none").as_bytes()) });
    assert_eq!(
        problem(world.operator.post_json(path, &unknown).await),
        (404, "not_found".to_owned())
    );
    let short = json!({ "token_hash": "AAAA" });
    assert_eq!(
        problem(world.operator.post_json(path, &short).await),
        (400, "request_malformed".to_owned())
    );
}

#[tokio::test]
async fn what_is_not_there_cannot_be_revoked() {
    let world = World::new().await;
    for (path, code) in [
        ("/v1/tenants/none/revoke", "tenant_unknown"),
        ("/v1/tenants/none/devices/a/revoke", "tenant_unknown"),
        ("/v1/tenants/default/devices/a/revoke", "device_unknown"),
        ("/v1/tenants/default/devices/a/reinstate", "device_unknown"),
        ("/v1/tenants/default/groups/none/revoke", "group_unknown"),
        ("/v1/tenants/none/keys/rotate", "tenant_unknown"),
    ] {
        let outcome = world.operator.post_json(path, &json!({})).await;
        assert_eq!(problem(outcome), (404, code.to_owned()), "{path}");
    }
}
