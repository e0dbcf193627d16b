//! The links of the root keys outlive a lost seed and a lost database.

use std::path::Path;

use tessera_provisioning::{RootAccepted, RootChange};
use tessera_token::key::{SecretKey, Thumbprint};
use tessera_token::limits::ROOT_LINKS;
use tessera_token::time::UnixSeconds;
use tessera_token::trust::{LinkedSnapshot, RootLink, RootRequest, RootSet, Roots};

use crate::restored::{brought_back, copied, Keeper};
use crate::roots::{
    accept, accept_as, led, poll, request, request_behind, rotated, with_offline, ROTATED,
};
use crate::world::{Device, World, START};

const LOST: RootChange = RootChange { seed_lost: true, ..ROTATED };

/// A seed in the folder goes.
fn lose(dir: &Path, name: &str) {
    std::fs::remove_file(dir.join("provisioning/keys").join(name)).unwrap();
}

/// An offline root, a service with its first root, and a device of it.
async fn founded() -> (SecretKey, World, Thumbprint, Device) {
    let world = World::new().await;
    let first = world.handle.root_thumbprint();
    let (device, _) = world.enrolled("a").await;
    (SecretKey::from_seed(&[9; 32]), world, first, device)
}

fn seed_of(name: &Thumbprint) -> String {
    format!("root-{}.seed", name.key_id())
}

#[tokio::test]
async fn the_offline_root_gives_an_online_root_when_the_present_seed_is_lost() {
    if crate::postgres::has_no_files() {
        return;
    }
    let (offline, world, first, device) = founded().await;
    let world = world
        .restart_between(async |dir| {
            with_offline(dir, &offline).await;
            let mut made = request(dir, ROTATED).await.unwrap();
            assert!(made.link.sign(&offline));
            let taken = accept(dir, &made).await.unwrap();
            lose(dir, &seed_of(&taken.roots.online));
            let refused = request(dir, ROTATED).await.unwrap_err();
            assert!(refused.contains("--seed-lost"), "{refused}");
            let kept = RootChange { keeps_online: true, ..LOST };
            assert!(request(dir, kept).await.unwrap_err().contains("cannot be kept"));
            let mut made = request(dir, LOST).await.unwrap();
            assert_eq!(made.link.missing(), [offline.public().thumbprint()]);
            assert!(made.link.sign(&offline));
            assert_eq!(accept(dir, &made).await.unwrap().number, 3);
        })
        .await;
    let (set, _) = led(&world, first).await;
    assert_eq!((set.number(), set.roots().online), (3, world.handle.root_thumbprint()));
    world.advance(1);
    world.refresh(&device).await.unwrap();
}

#[tokio::test]
async fn the_offline_root_gives_an_online_root_when_that_of_the_founding_is_lost() {
    if crate::postgres::has_no_files() {
        return;
    }
    let (offline, world, first, device) = founded().await;
    let mut taken = None;
    let mut world = world
        .restart_between(async |dir| {
            with_offline(dir, &offline).await;
            lose(dir, "root.seed");
            assert!(request(dir, ROTATED).await.unwrap_err().contains("the root key is missing"));
            let mut made = request(dir, LOST).await.unwrap();
            assert!(accept_as(dir, &made, true).await.is_err(), "it is not signed");
            assert!(made.link.sign(&offline));
            assert!(accept(dir, &made).await.unwrap_err().contains("the root key is missing"));
            let accepted = accept_as(dir, &made, true).await.unwrap();
            // Cut off before the seed was put in its place, it is ended by the same call.
            lose(dir, "root.seed");
            let again = accept_as(dir, &made, true).await.unwrap();
            assert_eq!(again, RootAccepted { again: true, ..accepted });
            taken = Some(accepted);
        })
        .await;
    let taken = taken.unwrap();
    for _ in 0..2 {
        assert_eq!(world.handle.root_thumbprint(), taken.roots.online);
        assert_eq!(led(&world, first).await.0.number(), 2);
        world.advance(1);
        world.refresh(&device).await.unwrap();
        world = world.restart().await;
    }
    // The next change is as any other.
    let world = world
        .restart_between(async |dir| {
            let mut made = request(dir, ROTATED).await.unwrap();
            assert!(made.link.sign(&offline));
            assert_eq!(accept(dir, &made).await.unwrap().number, 3);
        })
        .await;
    assert_eq!(led(&world, first).await.0.number(), 3);
}

/// The whole folder comes back, without the seed that a request has made since.
#[tokio::test]
async fn a_change_that_a_backup_does_not_know_is_gone_on_with_by_the_offline_root() {
    let offline = SecretKey::from_seed(&[9; 32]);
    let world = World::new().await;
    let first = world.handle.root_thumbprint();
    let world = world
        .restart_between(async |dir| {
            with_offline(dir, &offline).await;
            std::fs::copy(dir.join("root.links"), dir.join("links.copy")).unwrap();
        })
        .await;
    let world = copied(world).await;
    let mut lost = None;
    let world = world
        .restart_between(async |dir| {
            let mut made = request(dir, ROTATED).await.unwrap();
            assert!(made.link.sign(&offline));
            accept(dir, &made).await.unwrap();
            lost = Some(made);
        })
        .await;
    let world = brought_back(world, |dir| {
        std::fs::copy(dir.join("links.copy"), dir.join("root.links")).unwrap();
        std::fs::remove_file(dir.join("root.thumbprint")).unwrap();
    })
    .await;
    assert_eq!((led(&world, first).await.0.number(), world.handle.root_thumbprint()), (1, first));
    let ahead = async || {
        let text = world.stranger.get("/metrics").await.unwrap().body;
        let text = String::from_utf8(text).unwrap();
        let name = "tessera_provisioning_readers_ahead_root_sets ";
        text.lines().find_map(|line| line.strip_prefix(name)).unwrap().to_owned()
    };
    for (set, told) in [(1, "0"), (2, "1"), (1, "1"), (4, "3"), (999_999_999, "63")] {
        world.feed.send(poll(set)).await.unwrap();
        assert_eq!(ahead().await, told);
    }
    let lost = lost.unwrap();
    let world = world
        .restart_between(async |dir| {
            let refused = accept(dir, &lost).await.unwrap_err();
            assert!(refused.contains("the root key is missing"), "{refused}");
            let mut made = request_behind(dir, LOST, Some(&lost)).await.unwrap();
            assert_eq!(made.links.len(), 2);
            // A change that is not signed is none that verifiers have taken.
            assert!(request_behind(dir, LOST, Some(&made)).await.is_err());
            assert!(made.link.sign(&offline));
            let made = RootRequest::from_cbor(&made.to_cbor()).unwrap();
            assert_eq!(accept(dir, &made).await.unwrap().number, 3);
        })
        .await;
    let (set, _) = led(&world, first).await;
    assert_eq!((set.number(), set.roots().online), (3, world.handle.root_thumbprint()));
    // A verifier that took the lost change follows the next one.
    let there = RootSet::pinned(Roots { online: first, offline: None });
    let there = there.follow(&[lost.links[0].clone(), lost.link.to_cbor()]).unwrap();
    let answer = world.feed.get("/v1/trust/snapshot").await.unwrap();
    let (links, _) = LinkedSnapshot::read(&answer.body).unwrap();
    assert_eq!(there.follow(&links), Ok(set));
}

#[tokio::test]
async fn an_older_database_takes_up_the_links_of_its_folder() {
    let world = copied(World::new().await).await;
    let first = world.handle.root_thumbprint();
    let mut seeds = None;
    let world = world
        .restart_between(async |dir| {
            let made = request(dir, ROTATED).await.unwrap();
            let taken = accept(dir, &made).await.unwrap();
            let seed = seed_of(&taken.roots.online);
            let bytes = std::fs::read(dir.join("provisioning/keys").join(&seed)).ok();
            seeds = bytes.map(|bytes| (seed, bytes));
        })
        .await;
    let root = world.handle.root_thumbprint();
    if crate::postgres::is_chosen() {
        // The seed was in the database.
        assert_eq!(world.stop().await, Vec::<String>::new());
        crate::postgres::bring_back(world.dir.path()).await;
        std::fs::remove_file(world.dir.path().join("provisioning/seen")).unwrap();
        assert!(world.refused().await.contains("the root key is missing"));
        return;
    }
    let (seed, bytes) = seeds.unwrap();
    let world = brought_back(world, |dir| {
        tessera_runtime::secret::write_secret_file(
            &dir.join("provisioning/keys").join(seed),
            &bytes,
        )
        .unwrap();
    })
    .await;
    assert_eq!(world.handle.root_thumbprint(), root);
    assert_eq!(led(&world, first).await.0.number(), 1);
    let audit = world.get("/v1/audit?limit=200").await;
    let entries = audit["items"].as_array().unwrap();
    assert!(entries.iter().any(|entry| entry["action"] == "root.take-up"), "{audit}");
}

#[tokio::test]
async fn a_service_that_lost_its_database_goes_on_at_its_root_set() {
    if crate::postgres::has_no_files() {
        return;
    }
    let world = rotated(World::new().await, false).await;
    let first = world.handle.founding_thumbprint();
    let (root, dir) = (world.handle.root_thumbprint(), world.dir.path().to_owned());
    let mut reader = Keeper::new(&world).await;
    reader.poll(&world).await.unwrap();
    assert_eq!(world.stop().await, Vec::<String>::new());
    std::fs::remove_dir_all(dir.join("provisioning/store")).unwrap();
    // Without the file that names them, no former root signs in its place.
    let links = dir.join("root.links");
    std::fs::rename(&links, dir.join("aside")).unwrap();
    let refused = world.refused_as(|config| config.accept_loss = true).await;
    assert!(refused.contains("another root key was the last to sign here"), "{refused}");
    std::fs::write(&links, b"x").unwrap();
    let refused = world.refused_as(|config| config.accept_loss = true).await;
    assert!(refused.contains("root.links"), "{refused}");
    std::fs::rename(dir.join("aside"), &links).unwrap();
    let mut world = world.restart_as(|config| config.accept_loss = true).await;
    for _ in 0..2 {
        assert_eq!(world.handle.root_thumbprint(), root);
        assert_eq!(led(&world, first).await.0.number(), 1);
        assert_eq!(reader.poll(&world).await, Err(409));
        world = world.restart().await;
    }
}

#[tokio::test]
async fn the_links_of_a_folder_are_those_of_its_database() {
    let world = rotated(World::new().await, false).await;
    let links = world.dir.path().join("root.links");
    let before = std::fs::read(&links).unwrap();
    // Of another service.
    let other = rotated(World::new().await, false).await;
    assert_eq!(world.stop().await, Vec::<String>::new());
    std::fs::copy(other.dir.path().join("root.links"), &links).unwrap();
    assert!(world.refused().await.contains("part"), "another change");
    std::fs::remove_file(&links).unwrap();
    let world = world.restart().await;
    assert_eq!(std::fs::read(&links).unwrap(), before, "it is written again");
    drop(world);
}

#[tokio::test]
async fn requests_that_were_given_up_leave_no_seeds() {
    let world = World::new().await;
    let open = async |dir: &Path| match crate::postgres::is_chosen() {
        true => None,
        false => {
            let names = std::fs::read_dir(dir.join("provisioning/keys")).unwrap();
            let names = names.map(|entry| entry.unwrap().file_name());
            Some(names.filter(|name| name.to_string_lossy().starts_with("root-")).count())
        }
    };
    world
        .restart_between(async |dir| {
            let first = request(dir, ROTATED).await.unwrap();
            for made in 2..=8 {
                request(dir, ROTATED).await.unwrap();
                assert_eq!(open(dir).await.unwrap_or(made), made);
            }
            let last = request(dir, ROTATED).await.unwrap();
            assert_eq!(open(dir).await.unwrap_or(1), 1);
            assert!(accept(dir, &first).await.unwrap_err().contains("the root key is missing"));
            request(dir, ROTATED).await.unwrap();
            accept(dir, &last).await.unwrap();
            assert_eq!(open(dir).await.unwrap_or(1), 1, "that of the accepted one");
            assert!(request(dir, ROTATED).await.is_ok());
        })
        .await;
}

#[tokio::test]
async fn a_line_has_no_more_links_than_verifiers_follow() {
    if crate::postgres::has_no_files() {
        return;
    }
    let world = World::new().await;
    let first = world.handle.root_thumbprint();
    let world = world
        .restart_between(async |dir| {
            let seed = std::fs::read(dir.join("provisioning/keys/root.seed")).unwrap();
            let online = SecretKey::from_seed(&seed.try_into().unwrap());
            let offline = |place: u64| SecretKey::from_seed(&[place as u8 + 1; 32]);
            let mut set = RootSet::pinned(Roots { online: first, offline: None });
            let next = |set: RootSet| {
                let name = offline(set.number()).public().thumbprint();
                let to = Roots { online: first, offline: Some(name) };
                let mut link = RootLink::new(set.next(to, UnixSeconds::new(START), false));
                assert!(link.sign(&online) && link.sign(&offline(set.number())));
                let _ = set.number() > 0 && link.sign(&offline(set.number() - 1));
                (set.step(&link).unwrap(), link)
            };
            let mut links = Vec::new();
            for _ in 0..ROOT_LINKS {
                let (after, link) = next(set);
                set = after;
                links.push(link);
            }
            let (_, beyond) = next(set);
            let link = links.pop().unwrap();
            let links = links.iter().map(RootLink::to_cbor).collect();
            let taken = accept(dir, &RootRequest { links, link }).await.unwrap();
            assert_eq!(taken.number, ROOT_LINKS as u64);
            let beyond = RootRequest { links: Vec::new(), link: beyond };
            let refused = accept(dir, &beyond).await.unwrap_err();
            assert!(refused.contains("ROOT_LINKS"), "{refused}");
            assert!(request(dir, ROTATED).await.unwrap_err().contains("ROOT_LINKS"));
        })
        .await;
    assert_eq!(led(&world, first).await.0.number(), ROOT_LINKS as u64);
}
