//! Each server on a disk that is full, then not any more: it refuses and says so, and goes on without a restart.

use tessera_agent::limits::LEDGER_RESERVE_SELDOM;
use tessera_broker::codec::ReasonCode;
use tessera_token::refusal::RefusalCode;

use super::act::Purpose;
use super::device::TENANT;
use super::line::Line;
use super::world::{World, BACKEND, GATES};

/// A world in which device 0 and the backend are let in everywhere.
async fn served(seed: u64) -> World {
    let mut world = World::found(seed).await;
    for at in [0, BACKEND] {
        world.operate(Purpose::Claim(at));
        for _ in 0..3 {
            world.pass_a_minute().await.unwrap();
            world.strive(at);
        }
        world.pass_a_minute().await.unwrap();
        assert!(world.devices[at].token.is_some(), "d-{at} has no token");
    }
    world
}

async fn ask(world: &mut World, post: bool, path: &str) -> (u16, String) {
    let call = world.office.of_operator(post, path.to_owned(), "{}".to_owned());
    let (status, body) = world.office.ask(&call).await.unwrap();
    (status, String::from_utf8_lossy(&body).into_owned())
}

#[test]
fn provisioning_refuses_and_is_not_ready_until_there_is_room() {
    actix_rt::System::new().block_on(async {
        let mut world = served(1).await;
        let device = format!("/v1/tenants/{TENANT}/devices/d-0");
        assert_eq!(ask(&mut world, false, "/readyz").await.0, 200);
        // Pages of the database: changes find room on those that it has, and then no more.
        for room in [0, 1, 2, 5] {
            let before = ask(&mut world, false, &device).await;
            let head = world.model.head;
            world.office.set_room(Some(room));
            let mut answers = Vec::new();
            for verb in ["revoke", "reinstate"].iter().cycle().take(200) {
                let (status, _) = ask(&mut world, true, &format!("{device}/{verb}")).await;
                answers.push(status);
                let shown = ask(&mut world, false, &device).await;
                assert_eq!(shown.0, 200, "reads go on");
                let is_revoked = shown.1.contains(r#""state":"revoked""#);
                let was_revoked = before.1.contains(r#""state":"revoked""#);
                let done: Vec<_> = answers.iter().filter(|status| **status == 200).collect();
                // A refused change did not happen.
                let wanted = if done.is_empty() { was_revoked } else { done.len() % 2 == 1 };
                assert_eq!(is_revoked, wanted, "room {room}: {answers:?}");
                if status == 503 {
                    break;
                }
            }
            assert_eq!(answers.last(), Some(&503), "room {room}: {answers:?}");
            let (status, words) = ask(&mut world, false, "/readyz").await;
            assert!(status == 503 && words.contains("no room on the disk"), "{words}");
            // Readers hear of acknowledged changes.
            world.hear_events().await.unwrap();
            assert_eq!(world.model.head > head, answers.contains(&200), "room {room}");
            world.office.set_room(None);
            world.office.has_room().await.unwrap();
            assert_eq!(ask(&mut world, false, "/readyz").await.0, 200);
            assert_eq!(ask(&mut world, true, &format!("{device}/reinstate")).await.0, 200);
            assert_eq!(ask(&mut world, false, "/v1/audit?cursor=0&limit=1000").await.0, 200);
        }
    });
}

#[test]
fn verifiers_refuse_and_are_not_ready_until_there_is_room() {
    actix_rt::System::new().block_on(async {
        let mut world = served(2).await;
        for (gate, name) in GATES.iter().enumerate() {
            world.gates[gate].ready().unwrap();
            world.gates[gate].machine.disk.set_room(0);
            // Seconds that are reserved already are good still.
            let mut refused = Ok(());
            for _ in 0..=LEDGER_RESERVE_SELDOM + 1 {
                world.pass(1_000).await;
                refused = show(&mut world, gate).await;
            }
            assert_eq!(refused, Err(RefusalCode::NotReady), "{name}");
            let told = world.gates[gate].ready().unwrap_err();
            assert!(told.contains("not_ready"), "{told}");
            world.gates[gate].machine.disk.set_room(u64::MAX);
            world.gates[gate].has_room().await.unwrap();
            world.pass(1_000).await;
            assert_eq!(show(&mut world, gate).await, Ok(()), "{name}");
            world.pass_a_minute().await.unwrap();
            world.gates[gate].ready().unwrap();
        }
    });
}

async fn show(world: &mut World, gate: usize) -> Result<(), RefusalCode> {
    let token = world.model.tokens[world.devices[0].token.unwrap()].bytes.clone();
    let client = world.devices[0].name.clone();
    let (password, ..) = world.devices[0].password(&token, &client, world.now);
    world.gates[gate].show(&password, &client).await.unwrap()
}

/// Only the store of the sessions is full: that of the verifier writes.
#[test]
fn a_broker_lets_nobody_in_while_it_can_keep_nothing() {
    actix_rt::System::new().block_on(async {
        let mut world = served(3).await;
        for (gate, name) in GATES.iter().enumerate().skip(1) {
            assert_eq!(dial(&mut world, gate, true).await, ReasonCode::SUCCESS);
            world.gates[gate].machine.disk.close_to(Some("/broker/sessions"));
            // The first one has changed its session before the store says no, and is cut off.
            let _ = try_dial(&mut world, gate, true).await;
            for kept in [true, false] {
                let reason = dial(&mut world, gate, kept).await;
                assert_eq!(reason, ReasonCode::SERVER_UNAVAILABLE, "{name} {kept}");
            }
            assert_eq!(world.gates[gate].ready().unwrap_err(), "store: not_ready");
            world.gates[gate].machine.disk.close_to(None);
            world.gates[gate].has_room().await.unwrap();
            world.gates[gate].ready().unwrap();
            assert_eq!(dial(&mut world, gate, true).await, ReasonCode::SUCCESS);
        }
    });
}

async fn try_dial(world: &mut World, gate: usize, kept: bool) -> Result<ReasonCode, String> {
    world.pass(100).await;
    let token = world.model.tokens[world.devices[0].token.unwrap()].bytes.clone();
    let client = format!("{}~{kept}", world.devices[0].name);
    let (password, ..) = world.devices[0].password(&token, &client, world.now);
    let address = world.gates[gate].mqtt().unwrap();
    let (line, reason, _) = Line::open(address, &client, password, kept).await?;
    line.leave().await;
    Ok(reason)
}

async fn dial(world: &mut World, gate: usize, kept: bool) -> ReasonCode {
    try_dial(world, gate, kept).await.unwrap()
}
