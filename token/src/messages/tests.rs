use super::*;
use crate::cbor::Writer;
use crate::encoding::hex;
use crate::hash::sha256;
use crate::ids::{Audience, DeviceId, TenantId};
use crate::key::SecretKey;
use crate::pop::SymmetricKey;
use crate::refusal::RefusalCode;
use crate::scope::Scope;
use crate::seal::OpeningKey;
use crate::time::UnixSeconds;

fn ids() -> (TenantId, DeviceId) {
    (TenantId::parse("acme").unwrap(), DeviceId::parse("s-1").unwrap())
}

#[test]
fn enrolment_is_signed_over_everything() {
    let (tenant, device) = ids();
    let key = SecretKey::from_seed(&[4; 32]);
    let request = EnrolRequest::sign(&key, &tenant, &device, "TSR-1", &[1; 32]);
    let read = EnrolRequest::from_cbor(&request.to_cbor()).unwrap();
    assert!(read == request);
    assert_eq!(read.verify(), Ok(key.public()));
    let changes: [fn(&mut EnrolRequest); 4] = [
        |r| r.tenant = TenantId::parse("rival").unwrap(),
        |r| r.device = DeviceId::parse("s-2").unwrap(),
        |r| r.entitlement = Entitlement::Claim("TSR-2".into()),
        |r| r.nonce = vec![2; 32],
    ];
    for change in changes {
        let mut other = request.clone();
        change(&mut other);
        assert_eq!(other.verify(), Err(RefusalCode::ProofInvalid));
    }
    let mut rekeyed = request.clone();
    rekeyed.key = SecretKey::from_seed(&[5; 32]).public().as_bytes().to_vec();
    assert_eq!(rekeyed.verify(), Err(RefusalCode::ProofInvalid));
    rekeyed.key = vec![0; 32];
    assert_eq!(rekeyed.verify(), Err(RefusalCode::ConfirmationKey));
}

/// A request by each way, and the bytes that its device key signs.
fn by_every_way() -> Vec<EnrolRequest> {
    let ((tenant, device), key) = (ids(), SecretKey::from_seed(&[4; 32]));
    let secret = device_secret(&SymmetricKey::from_bytes(&[9; 32]).unwrap(), &device);
    let certified = SecretKey::from_seed(&[6; 32]);
    let sign = |message: &[u8]| Some(certified.sign(message));
    let chain = vec![vec![0x30, 1], vec![0x30, 2]];
    let means = [
        Means::Claim("TSR-1"),
        Means::Key,
        Means::GroupKey(&secret),
        Means::Certificate { chain, sign: &sign },
        Means::Approval,
    ];
    means
        .iter()
        .map(|means| EnrolRequest::sign_by(&key, &tenant, &device, means, &[1; 32]).unwrap())
        .collect()
}

#[test]
fn a_request_by_each_way_comes_back_and_is_signed_over_its_way() {
    let key = SecretKey::from_seed(&[4; 32]).public();
    let requests = by_every_way();
    assert_eq!(requests.iter().map(EnrolRequest::way).collect::<Vec<_>>(), Way::ALL);
    let mut signed = alloc::collections::BTreeSet::new();
    for request in &requests {
        let read = EnrolRequest::from_cbor(&request.to_cbor()).unwrap();
        assert!(read == *request, "{}", request.way());
        assert_eq!(read.verify(), Ok(key.clone()));
        assert!(signed.insert(read.signed_bytes(&key)), "each way has bytes of its own");
        for other in &requests {
            let bent = EnrolRequest { entitlement: other.entitlement.clone(), ..read.clone() };
            assert_eq!(
                bent.verify().is_ok(),
                other == request,
                "{} {}",
                request.way(),
                other.way()
            );
        }
    }
    // A claim is asked for in the bytes that older services know.
    let (tenant, device) = ids();
    let old =
        EnrolRequest::sign(&SecretKey::from_seed(&[4; 32]), &tenant, &device, "TSR-1", &[1; 32]);
    assert_eq!(requests[0].to_cbor(), old.to_cbor());
    assert_eq!(Way::ALL.map(|way| Way::parse(way.as_str())), Way::ALL.map(Some));
}

/// As `printf d-17 | openssl dgst -sha256 -hmac aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa` gives it.
#[test]
fn the_secret_of_a_device() {
    let device = DeviceId::parse("d-17").unwrap();
    let group_key = SymmetricKey::from_bytes(&[0x61; 32]).unwrap();
    let secret = device_secret(&group_key, &device);
    assert_eq!(
        hex::encode(secret.expose_bytes()),
        "d88e2609983707002c8239402766decb44b1c4f1608a54a38cab5af464f53588"
    );
}

#[test]
fn a_request_has_the_members_of_its_way_and_no_others() {
    let requests = by_every_way();
    let says = |bytes: &[u8]| EnrolRequest::from_cbor(bytes).err().map(|error| error.to_string());
    // The way of one with the other members of another.
    let with_way = |request: &EnrolRequest, way: &str| {
        let bytes = request.to_cbor();
        let mut r = crate::cbor::Reader::new(&bytes);
        let pairs = r.map().unwrap();
        let mut kept = Vec::new();
        for _ in 0..pairs {
            let (label, value) = (r.item().unwrap(), r.item().unwrap());
            let mut one = crate::cbor::Reader::new(label);
            if one.int().unwrap() != -65563 {
                kept.push([label, value].concat());
            }
        }
        let mut w = Writer::new();
        w.map(kept.len() + 1);
        kept.iter().for_each(|pair| {
            w.raw(pair);
        });
        w.int(-65563).text(way);
        w.finish()
    };
    for (at, way, told) in [
        (0, "key", "member claim (-65547) must be a text of at most 128 bytes, and only"),
        (1, "claim", "member claim (-65547) is missing"),
        (1, "group_key", "member secret_mac (-65564) is missing"),
        (2, "approval", "member secret_mac (-65564) must be"),
        (3, "key", "member certificates (-65565) must be"),
        (1, "certificate", "member certificates (-65565) is missing"),
        (1, "none", "member way (-65563) must be `claim`, `key`"),
    ] {
        let error = says(&with_way(&requests[at], way)).unwrap_or_default();
        assert!(error.starts_with(told), "{way}: {error}");
    }
    let long = |chain: Vec<Vec<u8>>| {
        let mut request = requests[3].clone();
        if let Entitlement::Certificate(shown) = &mut request.entitlement {
            shown.chain = chain;
        }
        says(&request.to_cbor()).unwrap_or_default()
    };
    for chain in [vec![], vec![vec![1]; 4], vec![vec![1; 2049]], vec![vec![]]] {
        assert!(long(chain).starts_with("member certificates (-65565) must be 1 to 3"));
    }
}

#[test]
fn token_requests_are_signed_over_everything() {
    let (tenant, device) = ids();
    let key = SecretKey::from_seed(&[4; 32]);
    let at = UnixSeconds::new(1_790_000_000);
    let request = TokenRequest::sign(&key, &tenant, &device, at, &[1; 16], TokenKind::Key);
    let read = TokenRequest::from_cbor(&request.to_cbor()).unwrap();
    assert_eq!(read, request);
    assert!(read.verifies(&key.public()));
    let changes: [fn(&mut TokenRequest); 6] = [
        |r| r.tenant = TenantId::parse("rival").unwrap(),
        |r| r.device = DeviceId::parse("s-2").unwrap(),
        |r| r.time = r.time.plus(1),
        |r| r.nonce = vec![2; 16],
        |r| r.kind = TokenKind::Bearer,
        |r| r.kind = TokenKind::Symmetric,
    ];
    for change in changes {
        let mut other = request.clone();
        change(&mut other);
        assert!(!other.verifies(&key.public()));
    }
}

#[test]
fn a_symmetric_key_is_sealed_to_the_signer_of_its_request() {
    let (tenant, device) = ids();
    let key = SecretKey::from_seed(&[4; 32]);
    let at = UnixSeconds::new(1_790_000_000);
    let opens = OpeningKey::from_random([6; 32]);
    let draft = TokenRequest::draft(&tenant, &device, at, &[1; 16], TokenKind::Symmetric);
    let request = draft.answered_to(opens.public()).signed_by(&key);
    assert_eq!(TokenRequest::from_cbor(&request.to_cbor()), Ok(request.clone()));
    assert!(request.verifies(&key.public()));
    for answer_key in [None, Some([7; 32])] {
        let other = TokenRequest { answer_key, ..request.clone() };
        assert!(!other.verifies(&key.public()));
    }
    let secret = SymmetricKey::from_bytes(&[7; 32]).unwrap();
    let answer = TokenAnswer {
        access_token: vec![1, 2, 3],
        expires_in: 60,
        bearer: false,
        key: Some(IssuedKey { kid: vec![0xab, 0xcd], key: secret }),
        audience: Audience::parse("mqtt").unwrap(),
        scope: Scope::default(),
        server_time: at,
    };
    let sealed = answer.seal_key(&opens.public(), [8; 32]).unwrap();
    let cbor = answer.to_cbor_sealed(&sealed);
    assert!(!cbor.windows(32).any(|bytes| bytes == [7; 32]));
    assert_eq!(TokenAnswer::from_cbor(&cbor).unwrap().key, None);
    assert_eq!(TokenAnswer::from_cbor_for(&cbor, &opens), Ok(answer.clone()));
    // By another key, for another token, in clear.
    let other = OpeningKey::from_random([5; 32]);
    let bad = Err(MessageError::Member(-65550));
    assert_eq!(TokenAnswer::from_cbor_for(&cbor, &other), bad);
    let moved = TokenAnswer { access_token: vec![1, 2, 4], ..answer.clone() };
    assert_eq!(TokenAnswer::from_cbor_for(&moved.to_cbor_sealed(&sealed), &opens), bad);
    assert_eq!(TokenAnswer::from_cbor_for(&answer.to_cbor(), &opens), Err(MessageError::Member(8)));
}

#[test]
fn a_request_by_a_nonce_of_the_service_names_no_time() {
    let (tenant, device) = ids();
    let key = SecretKey::from_seed(&[4; 32]);
    for kind in [TokenKind::Key, TokenKind::Symmetric, TokenKind::Bearer] {
        let request = TokenRequest::sign_nonce(&key, &tenant, &device, &[7; 32], &[1; 16], kind);
        let read = TokenRequest::from_cbor(&request.to_cbor()).unwrap();
        assert_eq!(read, request);
        assert!(read.verifies(&key.public()));
        let timed = TokenRequest { cnonce: None, ..request.clone() };
        let other = TokenRequest { cnonce: Some(vec![8; 32]), ..request.clone() };
        assert!(!timed.verifies(&key.public()) && !other.verifies(&key.public()));
    }
    // Either, and not both.
    let at = UnixSeconds::new(1_790_000_000);
    let timed = TokenRequest::sign(&key, &tenant, &device, at, &[1; 16], TokenKind::Key).to_cbor();
    let mut both = timed.clone();
    both[0] += 1;
    both.extend_from_slice(&[0x18, 39, 0x48, 1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(TokenRequest::from_cbor(&both), Err(MessageError::Member(-65541)));
}

#[test]
fn answers_read_back() {
    let at = UnixSeconds::new(1_790_000_000);
    let token = TokenAnswer {
        access_token: vec![1, 2, 3],
        expires_in: 60,
        bearer: false,
        key: None,
        audience: Audience::parse("mqtt").unwrap(),
        scope: Scope::default(),
        server_time: at,
    };
    assert_eq!(TokenAnswer::from_cbor(&token.to_cbor()), Ok(token));
    let refusal = RefusalAnswer::new(AceError::InvalidClient, RefusalCode::DeviceRevoked, at);
    assert_eq!(RefusalAnswer::from_cbor(&refusal.to_cbor()), Ok(refusal.clone()));
    let refusal = refusal.with_cnonce(&[7; 32]).because("byte 7");
    assert!(refusal.description.ends_with(": byte 7"));
    assert_eq!(RefusalAnswer::from_cbor(&refusal.to_cbor()), Ok(refusal));
    let nonce = NonceAnswer { nonce: sha256(b"n").to_vec(), expires_in: 60, server_time: at };
    assert_eq!(NonceAnswer::from_cbor(&nonce.to_cbor()), Ok(nonce));
}

#[test]
fn a_token_request_says_which_key_in_one_way() {
    let (tenant, device) = ids();
    let key = SecretKey::from_seed(&[4; 32]);
    let at = UnixSeconds::new(1_790_000_000);
    for kind in [TokenKind::Key, TokenKind::Symmetric, TokenKind::Bearer] {
        let request = TokenRequest::sign(&key, &tenant, &device, at, &[1; 16], kind);
        assert_eq!(TokenRequest::from_cbor(&request.to_cbor()), Ok(request));
    }
    assert_eq!(TokenKind::of(true, Some("symmetric")), None);
    assert_eq!(TokenKind::of(false, Some("hmac")), None);
    // The device's own key in a req_cnf asks for nothing new; a symmetric one is refused.
    let good = TokenRequest::sign(&key, &tenant, &device, at, &[1; 16], TokenKind::Key).to_cbor();
    let with = |cose_key: &[u8]| {
        let mut w = Writer::new();
        w.map(8).int(4).map(1).int(1).raw(cose_key).raw(&good[1..]);
        TokenRequest::from_cbor(&w.finish())
    };
    assert!(with(&key.public().to_cose_key()).is_ok());
    let mut w = Writer::new();
    let symmetric = w.map(2).int(1).int(4).int(-1).bytes(&[7; 32]).finish();
    assert_eq!(with(&symmetric), Err(MessageError::Member(4)));
}

#[test]
fn an_answer_tells_a_symmetric_key_whole_or_not_at_all() {
    let key = SymmetricKey::from_bytes(&[7; 32]).unwrap();
    let answer = TokenAnswer {
        access_token: vec![1, 2, 3],
        expires_in: 60,
        bearer: false,
        key: Some(IssuedKey { kid: vec![0xab, 0xcd], key }),
        audience: Audience::parse("mqtt").unwrap(),
        scope: Scope::default(),
        server_time: UnixSeconds::new(1_790_000_000),
    };
    let cbor = answer.to_cbor();
    assert_eq!(TokenAnswer::from_cbor(&cbor), Ok(answer.clone()));
    // RFC 9202 section 3.3.1, with the algorithm of RFC 9431.
    let cnf = hex::decode(format!("08a101a401040242abcd0305205820{}", "07".repeat(32))).unwrap();
    let place = cbor.windows(cnf.len()).position(|bytes| bytes == cnf).unwrap();
    let printed = format!("{answer:?}");
    assert!(printed.contains("IssuedKey abcd") && !printed.contains("7, 7, 7"), "{printed}");
    // Another kind of key, another algorithm.
    for (offset, byte) in [(5, 1), (11, 6)] {
        let mut bent = cbor.clone();
        bent[place + offset] = byte;
        assert_eq!(TokenAnswer::from_cbor(&bent), Err(MessageError::Member(8)), "{offset}");
    }
}

#[test]
fn every_prefix_and_every_flip_is_survived() {
    let (tenant, device) = ids();
    let key = SecretKey::from_seed(&[4; 32]);
    let at = UnixSeconds::new(1_790_000_000);
    let enrol = EnrolRequest::sign(&key, &tenant, &device, "TSR-1", &[1; 32]).to_cbor();
    let token = TokenRequest::sign(&key, &tenant, &device, at, &[1; 16], TokenKind::Key).to_cbor();
    for end in 0..enrol.len() {
        assert!(EnrolRequest::from_cbor(&enrol[..end]).is_err());
    }
    for end in 0..token.len() {
        assert!(TokenRequest::from_cbor(&token[..end]).is_err());
    }
    for bit in 0..enrol.len() * 8 {
        let mut bent = enrol.clone();
        bent[bit / 8] ^= 1 << (bit % 8);
        let good = EnrolRequest::from_cbor(&bent).is_ok_and(|r| r.verify().is_ok());
        assert!(!good, "bit {bit}");
    }
}

/// The same map with its pairs in another order and every head as long as it can be.
fn stretched(message: &[u8]) -> Vec<u8> {
    let mut r = crate::cbor::Reader::new(message);
    let pairs = r.map().unwrap();
    let items: Vec<[&[u8]; 2]> =
        (0..pairs).map(|_| [r.item().unwrap(), r.item().unwrap()]).collect();
    let mut out = vec![0xbf];
    for [key, value] in items.into_iter().rev() {
        out.extend(long_head(key));
        out.extend(long_head(value));
    }
    out.push(0xff);
    out
}

fn long_head(item: &[u8]) -> Vec<u8> {
    let (major, width) =
        (item[0] & 0xe0, [0, 1, 2, 4, 8][usize::from((item[0] & 31).saturating_sub(23))]);
    let number = match width {
        0 => u64::from(item[0] & 31),
        _ => item[1..=width].iter().fold(0, |sum, byte| (sum << 8) | u64::from(*byte)),
    };
    [&[major | 27], number.to_be_bytes().as_slice(), &item[1 + width..]].concat()
}

#[test]
fn requests_are_read_in_any_encoding_and_a_signature_holds_over_what_they_say() {
    let (tenant, device) = ids();
    let key = SecretKey::from_seed(&[4; 32]);
    let at = UnixSeconds::new(1_790_000_000);
    let enrol = EnrolRequest::sign(&key, &tenant, &device, "TSR-1", &[1; 32]);
    let written = stretched(&enrol.to_cbor());
    assert_ne!(written, enrol.to_cbor());
    let read = EnrolRequest::from_cbor(&written).unwrap();
    assert!(read == enrol);
    assert_eq!(read.verify(), Ok(key.public()));
    for kind in [TokenKind::Key, TokenKind::Symmetric, TokenKind::Bearer] {
        let request = TokenRequest::sign(&key, &tenant, &device, at, &[1; 16], kind);
        let read = TokenRequest::from_cbor(&stretched(&request.to_cbor())).unwrap();
        assert_eq!(read, request);
        assert!(read.verifies(&key.public()));
    }
}

#[test]
fn what_is_wrong_with_a_request_is_told_with_its_member() {
    let (tenant, device) = ids();
    let key = SecretKey::from_seed(&[4; 32]);
    let good = EnrolRequest::sign(&key, &tenant, &device, "TSR-1", &[1; 32]).to_cbor();
    let says = |bytes: &[u8]| EnrolRequest::from_cbor(bytes).err().map(|error| error.to_string());
    assert_eq!(says(&good), None);
    assert_eq!(says(&[0xa0]).unwrap(), "member nonce (-65542) is missing");
    assert_eq!(says(&[0x80]).unwrap(), "the message is no map with integer or text keys");
    assert_eq!(says(&vec![0; 9000]).unwrap(), "the message is too large");
    assert_eq!(
        says(&good[..good.len() - 1]).unwrap(),
        format!("CBOR at byte {}: cut short", good.len() - 6)
    );
    let mut twice = good.clone();
    twice[0] += 1;
    twice.extend_from_slice(&[0x18, 0x18, 0x00]);
    let at = good.len();
    assert_eq!(
        says(&twice).unwrap(),
        format!("CBOR at byte {at}: a map key that was there before")
    );
    // Each member in turn with a value of another type.
    let mut r = crate::cbor::Reader::new(&good);
    let pairs = r.map().unwrap();
    let items: Vec<(&[u8], &[u8])> =
        (0..pairs).map(|_| (r.item().unwrap(), r.item().unwrap())).collect();
    for (wrong, name) in [
        "req_cnf (4)",
        "client_id (24)",
        "tenant (-65540)",
        "nonce (-65542)",
        "signature (-65543)",
        "claim (-65547)",
    ]
    .iter()
    .enumerate()
    {
        let mut w = Writer::new();
        w.map(pairs);
        for (at, (key, value)) in items.iter().enumerate() {
            w.raw(key).raw(if at == wrong { &[0xf5] } else { value });
        }
        let told = says(&w.finish()).unwrap();
        assert!(told.starts_with(&format!("member {name} must be ")), "{told}");
    }
    let request = |bytes: &[u8]| TokenRequest::from_cbor(bytes).unwrap_err();
    assert_eq!(request(&[0xa0]), MessageError::Missing(-65542));
    assert_eq!(request(&[0xa1, 0x18, 0x22, 0x03]), MessageError::Member(34));
}
