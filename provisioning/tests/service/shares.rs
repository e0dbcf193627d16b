//! Accounts of some tenants cost other customers nothing, however many there are.

use std::time::Duration;

use serde_json::json;
use tessera_runtime::http::{HttpClient, Method, Request, CBOR};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::bound::{account, token, two_tenants, Bound};
use crate::restored::{brought_back, copied, Keeper};
use crate::world::{problem, World};

async fn shows(client: &HttpClient) -> (u16, String) {
    problem(client.post("/v1/trust/known", CBOR, b"rubbish".to_vec()).await)
}

/// The start of evidence whose rest does not come.
async fn begins(world: &World, token: &str) -> TcpStream {
    let mut socket = TcpStream::connect(world.handle.addr()).await.unwrap();
    let head = format!(
        "POST /v1/trust/known HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\ncontent-type: {CBOR}\r\ncontent-length: 1000\r\n\r\n0"
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    socket
}

#[tokio::test]
async fn accounts_of_a_customer_show_evidence_one_at_a_time_also_those_of_a_part_of_its_tenants() {
    let world = two_tenants().await;
    let slow = token(&world, "slow", &["acme", "rival"]).await;
    let mut more = vec![account(&world, "part", &["acme"]).await];
    for n in 0..3 {
        more.push(account(&world, &format!("more-{n}"), &["acme", "rival"]).await);
    }
    let mut socket = begins(&world, &slow).await;
    let bad = (400, "request_malformed".to_owned());
    // It has the place as soon as another is refused.
    let refused = loop {
        let answer = shows(&more[0]).await;
        if answer != bad {
            break answer;
        }
        // It came while the other had the place and was refused itself: it begins again.
        if socket.try_read(&mut [0]).is_ok() {
            socket = begins(&world, &slow).await;
        }
    };
    assert_eq!(refused, (429, "rate_limited".to_owned()), "it does not stand in the queue");
    for client in &more {
        assert_eq!(shows(client).await, refused);
    }
    // Another customer is the next one in the queue.
    let other = account(&world, "other", &["rival"]).await;
    let wait = async {
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        drop(socket);
    };
    let (answer, ()) = tokio::join!(shows(&other), wait);
    assert_eq!(answer, bad);
}

#[tokio::test]
async fn accounts_of_a_customer_wait_in_the_places_of_one() {
    let world = two_tenants().await;
    let accounts = [
        account(&world, "one", &["acme"]).await,
        account(&world, "two", &["acme"]).await,
        account(&world, "part", &["acme", "rival"]).await,
    ];
    let seq = Bound::new(&world, accounts[0].clone(), &["acme"]).await.seq;
    let (tell, mut told) = mpsc::channel(129);
    for place in 0..129 {
        let (client, tell) = (accounts[place % 3].clone(), tell.clone());
        tokio::spawn(async move {
            let path = format!("/v1/trust/events?after={seq}&wait=20");
            let request = Request::new(Method::Get, &path).within(Duration::from_secs(60));
            let answer = client.send(request).await;
            let status = answer.map(|answer| answer.status);
            let code = status.map_err(|error| error.code().map(str::to_owned));
            let _ = tell.send(code).await;
        });
    }
    drop(tell);
    let first = told.recv().await.unwrap();
    assert_eq!(first, Err(Some("limit_reached".to_owned())), "the others wait");
    let other = account(&world, "other", &["rival"]).await;
    let path = format!("/v1/trust/events?after={seq}&wait=1");
    assert_eq!(other.get(&path).await.unwrap().status, 200);
    world.post("/v1/tenants/acme/revoke", json!({})).await;
    while let Some(answer) = told.recv().await {
        assert_eq!(answer, Ok(200));
    }
}

async fn group(world: &World, tenant: &str, name: &str) -> u64 {
    let list = world.get(&format!("/v1/tenants/{tenant}/groups")).await;
    let of = |item: &&serde_json::Value| item["group"] == name;
    list["items"].as_array().unwrap().iter().find(of).unwrap()["epoch"].as_u64().unwrap()
}

async fn move_group(world: &World, tenant: &str, name: &str) {
    let path = format!("/v1/tenants/{tenant}/groups/{name}/revoke");
    world.post(&path, json!({})).await;
}

/// Its snapshot is of the lost part, so it has no event in common with the copy.
#[tokio::test]
async fn evidence_of_a_customer_ends_no_token_of_another() {
    let world = two_tenants().await;
    for tenant in ["acme", "rival"] {
        for name in ["before", "after"] {
            let path = format!("/v1/tenants/{tenant}/groups");
            world.post(&path, json!({ "group": name })).await;
        }
        move_group(&world, tenant, "before").await;
    }
    let token = token(&world, "gateway", &["acme"]).await;
    let mut keeper = Keeper::new(&world).await;
    let world = copied(world).await;
    for _ in 0..3 {
        move_group(&world, "acme", "after").await;
        move_group(&world, "rival", "after").await;
    }
    keeper.poll(&world).await.unwrap();
    let mut reader = Bound::new(&world, world.with_token(&token), &["acme"]).await;
    reader.poll(0).await.unwrap();
    let world = brought_back(world, |_| {}).await;
    reader.client = world.with_token(&token);
    move_group(&world, "acme", "after").await;
    move_group(&world, "rival", "after").await;
    assert_eq!(reader.poll(0).await, Err(409));
    assert_eq!(reader.show().await.unwrap(), 204);
    assert_eq!(world.get("/v1/trust/restored").await["restorations"][0]["why"], "reader");
    assert!(group(&world, "acme", "before").await > 3);
    assert!(group(&world, "acme", "after").await > 3);
    assert_eq!(group(&world, "rival", "before").await, 1);
    assert_eq!(group(&world, "rival", "after").await, 1);
    // A reader of all tenants has the rest lifted, above the last event that it has in common with the copy.
    let world = world.restart().await;
    assert_eq!(keeper.poll(&world).await, Err(409));
    assert_eq!(keeper.show(&world).await.unwrap(), 204);
    assert!(group(&world, "rival", "after").await > 3);
    assert_eq!(group(&world, "rival", "before").await, 1);
}
