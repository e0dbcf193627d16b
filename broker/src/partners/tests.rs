use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use tessera_token::refusal::RefusalCode;

use super::asks::Asks;
use super::known::Known;
use super::uses::Uses;
use super::{PartnerTokens, Partners};
use crate::admission::Prefix;
use crate::limits::{
    PARTNERS_KEPT, PARTNER_ASKS, PARTNER_ASKS_OF_PREFIX, PARTNER_ASKS_WAITING, PARTNER_KEPT,
    PARTNER_REFUSALS_KEPT, PARTNER_REFUSED_KEPT,
};

const INVALID: RefusalCode = RefusalCode::PartnerTokenInvalid;

fn name(n: usize) -> [u8; 32] {
    let mut name = [0; 32];
    name[..8].copy_from_slice(&(n as u64).to_be_bytes());
    name
}

#[test]
fn answers_are_kept_for_a_short_time() {
    let (mut known, start) = (Known::default(), Duration::from_secs(7));
    known.put(name(1), Ok(Bytes::from_static(b"a")), start);
    known.put(name(2), Err(INVALID), start);
    let last = start + PARTNER_KEPT - Duration::from_nanos(1);
    assert_eq!(known.get(&name(1), last), Some(Ok(Bytes::from_static(b"a"))));
    assert_eq!(known.get(&name(1), start + PARTNER_KEPT), None);
    assert_eq!(known.get(&name(2), start), Some(Err(INVALID)));
    assert_eq!(known.get(&name(2), start + PARTNER_REFUSED_KEPT), None);
    known.put(name(2), Ok(Bytes::from_static(b"b")), start);
    assert_eq!(known.get(&name(2), start), Some(Ok(Bytes::from_static(b"b"))));
    known.forget(&name(1));
    assert_eq!(known.get(&name(1), start), None);
    assert!(known.was_good(&name(1)), "it may ask among those that are known");
    known.put(name(1), Err(INVALID), start);
    assert!(!known.was_good(&name(1)));
}

#[test]
fn strangers_push_out_no_partner_and_memory_is_bounded() {
    let (mut known, start) = (Known::default(), Duration::ZERO);
    known.put(name(0), Ok(Bytes::from_static(b"a")), start);
    for n in 1..PARTNER_REFUSALS_KEPT + 100 {
        known.put(name(n), Err(INVALID), start);
    }
    assert_eq!(known.get(&name(0), start), Some(Ok(Bytes::from_static(b"a"))));
    assert_eq!(known.get(&name(PARTNER_REFUSALS_KEPT + 50), start), None, "no room for it");
    known.put(name(9_999_999), Err(INVALID), start + PARTNER_REFUSED_KEPT);
    assert_eq!(known.get(&name(9_999_999), start + PARTNER_REFUSED_KEPT), Some(Err(INVALID)));
    for n in 0..PARTNERS_KEPT + 5 {
        known.put(name(n), Ok(Bytes::new()), start);
    }
    assert_eq!(known.get(&name(PARTNERS_KEPT + 4), start), None, "no room for it");
}

#[test]
fn use_is_told_until_it_was_taken() {
    let uses = Uses::default();
    let counters = uses.of("tsr_prt_one").unwrap();
    counters.connected();
    counters.published(10);
    counters.delivered(2, 50);
    let told = uses.told();
    assert_eq!(told, uses.told(), "a report that failed is told again");
    assert_eq!((told[0].connects, told[0].published, told[0].published_bytes), (1, 1, 10));
    assert_eq!((told[0].delivered, told[0].delivered_bytes), (2, 50));
    counters.published(1);
    uses.taken(&told);
    let rest = uses.told();
    assert_eq!((rest[0].connects, rest[0].published, rest[0].published_bytes), (0, 1, 1));
    uses.taken(&rest);
    assert!(uses.told().is_empty());
    drop(counters);
    uses.taken(&[]);
    let all = (0..PARTNERS_KEPT).map(|n| uses.of(&format!("tsr_prt_{n}")));
    let all: Vec<_> = all.collect();
    assert!(all.iter().all(Option::is_some), "the one without a connection was forgotten");
    assert!(uses.of("tsr_prt_more").is_none());
}

#[test]
fn only_the_prefix_makes_a_partner_token() {
    assert!(Partners::is_partner_token(b"tsr_prt_"));
    assert!(!Partners::is_partner_token(b"tsr_pat_"));
    assert!(!Partners::is_partner_token(&[0xd8, 0x3d]));
    assert_eq!(PartnerTokens::parse("encrypted"), Ok(PartnerTokens::Encrypted));
    assert_eq!(PartnerTokens::parse("yes").unwrap_err().key, "partner_tokens");
}

fn prefix(n: u8) -> Prefix {
    Prefix::of(IpAddr::from([10, 0, n, 1]))
}

#[tokio::test]
async fn strangers_take_no_place_of_those_who_are_known() {
    let asks = Asks::default();
    let mut places = Vec::new();
    for n in 0..PARTNER_ASKS {
        let from = prefix((n / PARTNER_ASKS_OF_PREFIX) as u8);
        places.push(asks.place(from, false).await.unwrap());
    }
    let refused = Some(RefusalCode::LimitReached);
    assert_eq!(
        asks.place(prefix(0), false).await.err(),
        refused,
        "its prefix has all of its places"
    );
    assert_eq!(asks.place(prefix(200), true).await.err(), refused, "a suspect does not wait");
    assert_eq!(asks.place(prefix(201), false).await.err(), refused, "it has waited in vain");
    let known = asks.place_of_known().await.unwrap();
    drop((places, known));
    for n in 0..PARTNER_ASKS_WAITING {
        let from = prefix((n / PARTNER_ASKS_OF_PREFIX) as u8);
        // All of them are given back.
        drop(asks.place(from, false).await.unwrap());
    }
}

#[tokio::test]
async fn one_asks_about_a_token_at_a_time() {
    let asks = Asks::default();
    let first = asks.turn(name(1)).await.unwrap();
    let other = asks.turn(name(2)).await.unwrap();
    assert_eq!(asks.turn(name(1)).await.err(), Some(RefusalCode::LimitReached));
    drop(first);
    let again = asks.turn(name(1)).await.unwrap();
    drop((again, other));
}
