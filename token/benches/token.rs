//! Cost of a connect and of a publish in the token crate: `cargo bench -p tessera-token`.
#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a bench that cannot set itself up has nothing to measure"
)]

use std::hint::black_box;

use criterion::{criterion_group, criterion_main, Criterion};
use tessera_token::chain::{admit, verify, Attempt};
use tessera_token::proof::{ConnectProof, Credential};
use tessera_token::topic::TopicName;

mod world;

use world::{scope, token, World, NOW};

fn connect(c: &mut Criterion) {
    let (world, first) = (World::new(true), World::new(false));
    let token = token();
    let proof = ConnectProof::make(&world::device_key(), "mqtt", "d-1", &token, NOW, 1);
    let password = Credential { token: token.clone(), proof: Some(proof) }.to_password();
    for (name, world) in [("known key", &world), ("key met for the first time", &first)] {
        c.bench_function(&format!("password to admission, {name}"), |b| {
            b.iter(|| {
                let credential = Credential::from_password(black_box(&password)).unwrap();
                admit(&Attempt::new(credential, "d-1"), world, NOW).unwrap()
            });
        });
    }
    let (symmetric, key) = world::symmetric_token();
    let sign = |message: &[u8]| key.prove(message);
    let proof = ConnectProof::make_by(sign, "mqtt", "d-1", &symmetric, NOW, 1);
    let password = Credential { token: symmetric, proof: Some(proof) }.to_password();
    c.bench_function("password to admission, derived key", |b| {
        b.iter(|| {
            let credential = Credential::from_password(black_box(&password)).unwrap();
            admit(&Attempt::new(credential, "d-1"), &world, NOW).unwrap()
        });
    });
    c.bench_function("token alone verified", |b| {
        b.iter(|| verify(black_box(&token), &world, NOW).unwrap());
    });
    let mut bad = token;
    bad[10] ^= 1;
    c.bench_function("token with an unknown kid refused", |b| {
        b.iter(|| verify(black_box(&bad), &world, NOW).unwrap_err());
    });
}

/// Target: at most 100 ns.
fn authorise(c: &mut Criterion) {
    let scope = scope(10);
    let last = TopicName::parse("d/d-1/topic-9").unwrap();
    let none = TopicName::parse("d/d-2/topic-9").unwrap();
    c.bench_function("one publish against 10 entries, the last one fits", |b| {
        b.iter(|| assert!(scope.may_publish(black_box(&last))));
    });
    c.bench_function("one publish against 10 entries, none fits", |b| {
        b.iter(|| assert!(!scope.may_publish(black_box(&none))));
    });
}

criterion_group!(benches, connect, authorise);
criterion_main!(benches);
