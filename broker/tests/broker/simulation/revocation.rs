//! Every kind of end of a right in every state of a session, in an order drawn from the seed: afterwards nothing goes
//! to or comes from the subject, no client gets in with the old token, and a restarted broker has nothing of the
//! subject.

mod check;
mod states;

use states::{State, Subject};
use tessera_broker::codec::{Properties, PropertyId, QoS, Version};
use tessera_token::claims::Claims;

use super::{seeds, Chance};
use crate::client::{plan, until, Client};
use crate::world::{restarted, scope, world_in, World, NOW};

/// A right that ends, and whose.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Token,
    Device,
    Group,
    Expiry,
    Tenant,
    Suspended,
    Key,
}

const KINDS: [Kind; 7] = [
    Kind::Token,
    Kind::Device,
    Kind::Group,
    Kind::Expiry,
    Kind::Tenant,
    Kind::Suspended,
    Kind::Key,
];

/// Seconds until the tokens of the subjects expire.
const LIFE: u64 = 3600;

impl Kind {
    fn happens(self, world: &World, subjects: &[Subject]) {
        match self {
            Self::Token => {
                subjects.iter().for_each(|one| world.revoke_token(&one.name, &one.token));
            }
            Self::Device => subjects.iter().for_each(|one| world.revoke_device(&one.name)),
            Self::Group => world.revoke_group(5),
            Self::Expiry => world.advance(LIFE),
            Self::Tenant => world.revoke_tenant(),
            Self::Suspended => world.suspend_tenant(),
            Self::Key => world.compromise_key(),
        }
    }

    /// Whether others of the tenant go on.
    fn spares_others(self) -> bool {
        matches!(self, Self::Token | Self::Device | Self::Group | Self::Expiry)
    }

    /// A session whose token has merely expired waits for the next one.
    fn forgets(self) -> bool {
        self != Self::Expiry
    }

    /// Makes the claims those of a token that was issued after the end.
    fn afterwards(self, claims: &mut Claims) {
        match self {
            Self::Device => claims.epochs.device = 1,
            Self::Group => claims.epochs.group = 1,
            Self::Tenant => claims.epochs.tenant = 2,
            _ => {}
        }
    }

    /// A will is the last act of rights that ran out, so it is published; one of rights that were taken is not.
    fn applies_to(self, state: State) -> bool {
        self.forgets() || !matches!(state, State::Will | State::DelayedWill)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_end_of_a_right_in_every_state_of_a_session() {
    for seed in seeds(&[41, 42]) {
        let mut chance = Chance::new(seed);
        let mut kinds = KINDS;
        chance.shuffle(&mut kinds);
        println!("simulation::revocation seed {seed} {kinds:?}");
        for kind in kinds {
            run(kind, &mut chance).await;
        }
    }
}

async fn run(kind: Kind, chance: &mut Chance) {
    let folder = tempfile::tempdir().unwrap();
    let world = world_in(folder.path(), NOW, |_| {}).await;
    let mut hub = hub(&world, Kind::Token).await;
    witness(&world).await;
    for name in ARCHIVES {
        archive(&world, name).await.goodbye().await;
    }
    let mut states: Vec<State> =
        states::ALL.into_iter().filter(|state| kind.applies_to(*state)).collect();
    chance.shuffle(&mut states);
    println!("  {kind:?} {states:?}");
    let mut subjects = Vec::new();
    for (place, state) in states.into_iter().enumerate() {
        let name = format!("r-{place}");
        subjects.push(states::enter(&world, &mut hub, state, &name, kind, chance).await);
    }
    hub.quiet().await;
    kind.happens(&world, &subjects);
    for subject in &mut subjects {
        check::is_cut(subject, kind).await;
    }
    let others = if kind.spares_others() { 2 + ARCHIVES.len() } else { 0 };
    if kind.forgets() {
        until(|| world.broker.sessions() == others).await;
    }
    check::old_tokens_are_refused(&world, &subjects).await;
    if kind.spares_others() {
        check::what_others_had_waiting(&world, &subjects, kind).await;
        check::nothing_comes_or_goes(&world, &mut hub, &subjects).await;
    }
    if kind.forgets() {
        check::fresh_tokens_find_nothing(&world, &subjects, kind).await;
        drop(hub);
        let again = tempfile::tempdir().unwrap();
        let world = restarted(world, folder.path(), again.path(), 0).await;
        if kind.spares_others() {
            let mut archive = archive(&world, ARCHIVES[1]).await;
            assert_eq!(&*archive.message().await.topic, "d/witness/status");
            archive.quiet().await;
        }
        check::a_restart_finds_nothing(&world, &subjects).await;
    }
}

/// Sends commands to all devices and listens to all; of another group, with a token that lasts.
async fn hub(world: &World, kind: Kind) -> Client {
    let rights = scope(&[("sub", "d/#"), ("pub", "d/+/cmd")]);
    let token = world.token_with("hub", rights, |claims| {
        if kind == Kind::Tenant {
            kind.afterwards(claims);
        }
        claims.epochs.group_number = 6;
        claims.expires = claims.issued.plus(90_000);
    });
    let mut hub = plan(world, "hub", Version::V5).token(token).kept(80_000).open().await;
    for filter in ["d/+/telemetry", "d/+/status"] {
        hub.subscribe(filter, QoS::AtLeastOnce).await;
    }
    hub
}

/// They listen and are away. The first comes back when rights have ended, the second after a restart.
const ARCHIVES: [&str; 2] = ["archive-1", "archive-2"];

async fn archive(world: &World, name: &str) -> Client {
    let token = world.token_with(name, scope(&[("sub", "d/#")]), |claims| {
        claims.epochs.group_number = 6;
        claims.expires = claims.issued.plus(90_000);
    });
    let plan = plan(world, name, Version::V5).token(token).kept(80_000);
    let (mut client, answer) = plan.try_open().await;
    if !answer.expect("closed").session_present {
        for filter in ["d/+/telemetry", "d/+/status"] {
            client.subscribe(filter, QoS::AtLeastOnce).await;
        }
    }
    client
}

/// An absent client that lost no right, and whose will comes when the clock has moved.
async fn witness(world: &World) {
    let rights = scope(&[("pub", "d/witness/status")]);
    let token = world.token_with("witness", rights, |claims| {
        claims.epochs.group_number = 6;
        claims.expires = claims.issued.plus(90_000);
    });
    let plan = plan(world, "witness", Version::V5).token(token).kept(80_000);
    states::leave_a_will(plan.will("d/witness/status", delay(5000)).open().await).await;
}

fn delay(seconds: u32) -> Properties {
    Properties::build().number(PropertyId::WillDelay, seconds).finish().unwrap()
}
