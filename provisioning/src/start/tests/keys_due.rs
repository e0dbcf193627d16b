//! The schedule of issuer keys passes over a tenant that cannot be served, and gives missing keys.

use tessera_token::key::KeyId;

use super::*;
use crate::audit::Actor;
use crate::keys::{in_state, put};
use crate::records::keys::State;
use crate::registry::tenants;
use crate::rotation::schedule::{self, Look};
use crate::tables::pair;

async fn with_tenants(names: &[&str]) -> (Rig, Arc<Service>) {
    let rig = Rig::new(NOW);
    let service = rig.start(|_| {}).await.unwrap();
    let keep = crate::once::Keep { asked: None, answer: &|_| unreachable!() };
    for name in names {
        let (by, name) = (Actor::system("test"), TenantId::parse(name).unwrap());
        tenants::create(&service, &by, &name, false, &keep).await.unwrap();
    }
    (rig, service)
}

async fn key(service: &Service, tenant: &TenantId, state: State) -> Option<KeyId> {
    in_state(&service.tables, tenant, state).await.unwrap().map(|(id, _)| id)
}

#[test]
fn a_tenant_whose_keys_cannot_be_rotated_holds_up_no_other() {
    actix_rt::System::new().block_on(async {
        let (rig, service) = with_tenants(&["a", "z"]).await;
        let [a, z] = ["a", "z"].map(|name| TenantId::parse(name).unwrap());
        let (id, mut broken) = in_state(&service.tables, &a, State::Next).await.unwrap().unwrap();
        broken.public = [0xff; 32];
        let mut batch = tessera_runtime::sql::Batch::new();
        put(&service.tables, &mut batch, &a, id, &broken);
        service.database.commit(batch).await.unwrap();
        let due = key(&service, &z, State::Next).await;
        let (mut look, mut rounds) = (Look::default(), 0);
        // Lived time goes on while the service runs.
        while key(&service, &z, State::Active).await != due {
            rig.clock.advance(std::time::Duration::from_secs(24 * 3600));
            service.time.store(&service.database, &service.tables, true).await.unwrap();
            schedule::run(&service, &mut look).await.unwrap();
            rounds += 1;
            assert!(rounds < 200, "the tenant behind the broken one gets its turn");
        }
        assert_eq!(key(&service, &a, State::Next).await, Some(id));
        let text = service.registry.render();
        let faults = "tessera_provisioning_key_faults_total{step=\"rotate\"} 1";
        assert!(text.contains(faults), "{text}");
        service.database.close().await.unwrap();
    });
}

#[test]
fn a_tenant_without_a_next_or_an_active_key_gets_them() {
    actix_rt::System::new().block_on(async {
        let (rig, service) = with_tenants(&["a", "z"]).await;
        let [a, z] = ["a", "z"].map(|name| TenantId::parse(name).unwrap());
        let before = key(&service, &a, State::Active).await;
        let lose = async |tenant: &TenantId, states: &[State]| {
            let mut batch = tessera_runtime::sql::Batch::new();
            for state in states {
                let id = key(&service, tenant, *state).await.unwrap();
                batch.delete(&service.tables.keys, pair(tenant, id.as_bytes()));
            }
            service.database.commit(batch).await.unwrap();
        };
        // Of the last tenant something must be left that names it.
        crate::rotation::rotate(&service, &Actor::system("test"), &z).await.unwrap();
        lose(&a, &[State::Next]).await;
        lose(&z, &[State::Next, State::Active]).await;
        schedule::run(&service, &mut Look::default()).await.unwrap();
        for tenant in [&a, &z] {
            for state in [State::Active, State::Next] {
                assert!(key(&service, tenant, state).await.is_some(), "{tenant} {state:?}");
            }
        }
        assert_eq!(key(&service, &a, State::Active).await, before);
        drop(rig);
        service.database.close().await.unwrap();
    });
}
