//! A database that lost the marks of its root set takes them from the file in its folder.

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::trust::ledger::{Head, HEAD};

/// Another online root, once.
async fn changed(dir: &Path, clock: &Arc<ManualClock>) {
    let clock: tessera_runtime::clock::SharedClock = clock.clone();
    let change = RootChange {
        keeps_online: false,
        offline: OfflineRoot::Same,
        compromised: false,
        seed_lost: false,
    };
    let made = root_request(dir, None, (change, None), &clock, &SystemRandom).await.unwrap();
    root_accept(dir, None, (&made, false), &clock, &SystemRandom).await.unwrap();
}

/// Takes marks away, as a loss that is accepted.
async fn without(dir: &Path, lost: &[&str], head: Option<Head>) {
    let (database, tables) = crate::tables::in_folder(&dir.join("provisioning/store"));
    let mut batch = tessera_runtime::sql::Batch::new();
    lost.iter().for_each(|mark| tables.marks.delete(&mut batch, mark));
    if let Some(head) = head {
        tables.marks.put(&mut batch, HEAD, &head);
    }
    database.commit(batch).await.unwrap();
    database.close().await.unwrap();
    let loss = dir.join("provisioning/loss");
    std::fs::write(&loss, "marks").unwrap();
    std::fs::set_permissions(loss, std::fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn a_service_whose_links_were_lost_goes_on_at_its_root_set() {
    actix_rt::System::new().block_on(async {
        let rig = Rig::new(NOW);
        let service = rig.start(|_| {}).await.unwrap();
        let (dir, first) = (rig.dir.path(), service.root.public());
        chained(&service).await;
        rig.database.close().await.unwrap();
        drop(service);
        changed(dir, &rig.clock).await;
        let (service, _) = built(dir, rig.clock.clone()).await;
        let (root, head) = (service.root.public(), Head::read(&service.tables).await.unwrap());
        assert!(root != first && head.root == 1);
        service.database.close().await.unwrap();
        let behind = Some(Head { root: 0, ..head });
        for (lost, head) in [
            (&["root_links"][..], None),
            (&["trust_head"], None),
            (&["root_links", "trust_head", "founded"], None),
            (&["root_links"], behind),
            (&[], behind),
        ] {
            without(dir, lost, head).await;
            let (service, _) = built(dir, rig.clock.clone()).await;
            assert_eq!(service.root.public(), root, "{lost:?}");
            assert_eq!(Head::read(&service.tables).await.unwrap().root, 1, "{lost:?}");
            assert_eq!(service.links.len(), 1);
            service.database.close().await.unwrap();
            std::fs::remove_file(dir.join("provisioning/loss")).unwrap();
        }
    });
}
