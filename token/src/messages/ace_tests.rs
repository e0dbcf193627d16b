use alloc::vec::Vec;

use super::ace_request::{
    AceFault, AceGrant, AceRequest, AskedToken, NamedKey, RefreshRequest, Wish,
};
use super::labels::*;
use super::{AceAnswer, MessageError, TokenAnswer, TokenKind, TokenRequest};
use crate::cbor::Writer;
use crate::ids::{Audience, DeviceId, TenantId};
use crate::key::SecretKey;
use crate::scope::{Permission, Scope, ScopeEntry};
use crate::time::UnixSeconds;
use crate::topic::TopicFilter;

const NOW: UnixSeconds = UnixSeconds::new(1_800_000_000);

fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

fn draft(kind: TokenKind) -> TokenRequest {
    let (tenant, device) = (TenantId::parse("t").unwrap(), DeviceId::parse("d").unwrap());
    TokenRequest::draft(&tenant, &device, NOW, &[7; 16], kind)
}

fn scope(topic: &str) -> Scope {
    let filter = TopicFilter::parse(topic).unwrap();
    Scope::new([ScopeEntry { filter, permission: Permission::Both }].into()).unwrap()
}

fn asked(wish: Wish) -> AceRequest {
    let asked = AskedToken::sign(draft(TokenKind::Bearer), wish, &key(1));
    AceRequest { grant: AceGrant::Credentials(asked), key: None, profile_asked: false }
}

fn credentials(request: &AceRequest) -> &AskedToken {
    match &request.grant {
        AceGrant::Credentials(asked) => asked,
        AceGrant::Refresh(_) => panic!("another grant"),
    }
}

#[test]
fn a_request_reads_back_and_its_signature_covers_each_wish() {
    let wishes = [
        Wish::default(),
        Wish { audience: Some(Audience::parse("mqtt").unwrap()), ..Wish::default() },
        Wish { scope: Some(scope("a/b")), ..Wish::default() },
        Wish { refresh_token: true, ..Wish::default() },
    ];
    for wish in &wishes {
        let sent = AceRequest {
            key: Some(NamedKey::Key(key(1).public())),
            profile_asked: true,
            ..asked(wish.clone())
        };
        let read = AceRequest::from_cbor(&sent.to_cbor()).unwrap();
        assert!(read == sent);
        assert!(credentials(&read).verifies(&key(1).public()));
        assert!(!credentials(&read).verifies(&key(2).public()));
        for other in wishes.iter().filter(|other| *other != wish) {
            let bent = AskedToken { wish: other.clone(), ..credentials(&read).clone() };
            assert!(!bent.verifies(&key(1).public()), "{wish:?} for {other:?}");
            assert_ne!(bent.wish_hash(), credentials(&read).wish_hash());
        }
    }
}

#[test]
fn a_request_without_a_wish_is_the_one_of_v1_token() {
    let plain = draft(TokenKind::Key).signed_by(&key(1));
    let read = AceRequest::from_cbor(&plain.to_cbor()).unwrap();
    assert_eq!(credentials(&read).request, plain);
    assert!(credentials(&read).verifies(&key(1).public()));
    assert!(credentials(&read).wish_hash().is_empty());
}

#[test]
fn a_refresh_request_reads_back_and_its_proof_covers_the_token() {
    let (tenant, device) = (TenantId::parse("t").unwrap(), DeviceId::parse("d").unwrap());
    let of = (&tenant, &device);
    let bare = RefreshRequest::new(b"tsr_rt_x", &[1; 8]);
    assert_eq!(bare.proves(of, &key(1).public()), None);
    for cnonce in [None, Some([9; 32])] {
        let time = if cnonce.is_some() { UnixSeconds::new(0) } else { NOW };
        let cnonce = cnonce.as_ref().map(<[u8; 32]>::as_slice);
        let request = bare.clone().signed_by(&key(1), of, time, cnonce);
        let sent =
            AceRequest { grant: AceGrant::Refresh(request), key: None, profile_asked: false };
        let read = AceRequest::from_cbor(&sent.to_cbor()).unwrap();
        assert!(read == sent);
        let AceGrant::Refresh(request) = read.grant else { panic!("another grant") };
        assert_eq!(request.proves(of, &key(1).public()), Some(true));
        assert_eq!(request.proves(of, &key(2).public()), Some(false));
        let other = RefreshRequest { token: b"tsr_rt_y".to_vec().into(), ..request };
        assert_eq!(other.proves(of, &key(1).public()), Some(false));
    }
}

/// A map with the members of a good request, one of them changed.
fn with(label: i64, value: &dyn Fn(&mut Writer)) -> Result<(), AceFault> {
    let mut members: Vec<(i64, Vec<u8>)> = Vec::new();
    let mut add = |at: i64, write: &dyn Fn(&mut Writer)| {
        let mut w = Writer::new();
        write(&mut w);
        members.retain(|(known, _)| *known != at);
        members.push((at, w.finish()));
    };
    add(CLIENT_ID, &|w| {
        w.text("d");
    });
    add(TENANT, &|w| {
        w.text("t");
    });
    add(IAT, &|w| {
        w.uint(1);
    });
    add(NONCE, &|w| {
        w.bytes(&[1; 8]);
    });
    add(SIGNATURE, &|w| {
        w.bytes(&[0; 64]);
    });
    add(label, value);
    members.sort_by_key(|(label, _)| (*label < 0, label.unsigned_abs()));
    let mut w = Writer::new();
    w.map(members.len());
    for (label, value) in members {
        w.int(label).raw(&value);
    }
    AceRequest::from_cbor(&w.finish()).map(drop)
}

#[test]
fn each_member_is_judged_by_its_own_code() {
    let member = |label| Err(AceFault::Message(MessageError::Member(label)));
    assert_eq!(
        with(999, &|w| {
            w.text("unknown");
        }),
        Ok(())
    );
    assert_eq!(
        with(GRANT_TYPE, &|w| {
            w.uint(2);
        }),
        Ok(())
    );
    assert_eq!(
        with(GRANT_TYPE, &|w| {
            w.uint(1);
        }),
        Err(AceFault::GrantType)
    );
    assert_eq!(
        with(GRANT_TYPE, &|w| {
            w.text("2");
        }),
        member(GRANT_TYPE)
    );
    assert_eq!(
        with(ACE_PROFILE, &|w| {
            w.raw(&[0xf6]);
        }),
        Ok(())
    );
    assert_eq!(
        with(ACE_PROFILE, &|w| {
            w.uint(3);
        }),
        Ok(())
    );
    assert_eq!(
        with(ACE_PROFILE, &|w| {
            w.uint(1);
        }),
        Err(AceFault::Profile)
    );
    assert_eq!(
        with(ACE_PROFILE, &|w| {
            w.text("mqtt_tls");
        }),
        member(ACE_PROFILE)
    );
    assert_eq!(
        with(SCOPE, &|w| {
            w.text("pub:a");
        }),
        Ok(())
    );
    assert_eq!(
        with(SCOPE, &|w| {
            w.text("read");
        }),
        Err(AceFault::Scope)
    );
    assert_eq!(
        with(SCOPE, &|w| {
            w.bytes(&[0x81]);
        }),
        Err(AceFault::Scope)
    );
    assert_eq!(
        with(SCOPE, &|w| {
            w.uint(1);
        }),
        member(SCOPE)
    );
    assert_eq!(
        with(NONCE, &|w| {
            w.bytes(&[1; 7]);
        }),
        member(NONCE)
    );
    assert_eq!(
        with(CNONCE, &|w| {
            w.bytes(&[1; 8]);
        }),
        member(IAT)
    );
    assert_eq!(
        with(AUDIENCE, &|w| {
            w.bytes(b"mqtt");
        }),
        member(AUDIENCE)
    );
    assert_eq!(
        with(WANT_REFRESH_TOKEN, &|w| {
            w.bool(true);
        }),
        member(WANT_REFRESH_TOKEN)
    );
    assert_eq!(
        with(REFRESH_TOKEN, &|w| {
            w.bytes(b"x");
        }),
        member(REFRESH_TOKEN)
    );
    let cnf = |w: &mut Writer, kty: i64| {
        w.map(1).int(1).map(2).int(1).int(kty).int(-1).bytes(&[3; 16]);
    };
    assert_eq!(with(REQ_CNF, &|w| cnf(w, 4)), Err(AceFault::Key), "symmetric");
    assert_eq!(with(REQ_CNF, &|w| cnf(w, 3)), Err(AceFault::Key), "RSA");
    assert_eq!(
        with(REQ_CNF, &|w| {
            w.map(1).int(3).bytes(&[3; 8]);
        }),
        Ok(())
    );
    assert_eq!(
        with(REQ_CNF, &|w| {
            w.map(1).int(3).bytes(&[3; 9]);
        }),
        Err(AceFault::Key)
    );
    assert_eq!(
        with(REQ_CNF, &|w| {
            w.map(0);
        }),
        member(REQ_CNF)
    );
    assert_eq!(
        with(REQ_CNF, &|w| {
            w.uint(4);
        }),
        member(REQ_CNF)
    );
}

#[test]
fn an_answer_reads_back_and_names_no_type_for_a_bound_token() {
    let token = TokenAnswer {
        access_token: [1, 2, 3].into(),
        expires_in: 60,
        bearer: false,
        key: None,
        audience: Audience::parse("mqtt").unwrap(),
        scope: scope("a"),
        server_time: NOW,
    };
    for (bearer, refresh_token, profile) in
        [(false, None, true), (true, Some(b"x".to_vec().into()), false)]
    {
        let answer =
            AceAnswer { token: TokenAnswer { bearer, ..token.clone() }, refresh_token, profile };
        let bytes = answer.to_cbor(None);
        assert!(AceAnswer::from_cbor(&bytes, None).unwrap() == answer);
        // 34 is in the map for a bearer token alone.
        assert_eq!(bytes.windows(2).any(|pair| pair == [0x18, 34]), bearer);
    }
}
