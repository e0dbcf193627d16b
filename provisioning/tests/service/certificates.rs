//! Devices enrol by certificates of a manufacturer.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SanType,
    SigningKey as _, PKCS_ECDSA_P256_SHA256, PKCS_ED25519,
};
use serde_json::{json, Value};
use tessera_token::encoding::hex;
use tessera_token::hash::sha256;
use tessera_token::messages::Means;
use tessera_token::refusal::RefusalCode;

use crate::world::{problem, Device, World};

const TENANT: &str = "/v1/tenants/default";

type Ca = CertifiedIssuer<'static, KeyPair>;

fn ca_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

fn root() -> Ca {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    CertifiedIssuer::self_signed(ca_params("maker"), key).unwrap()
}

/// A certificate of a device on Ed25519, its key, and those behind it.
struct Certified {
    chain: Vec<Vec<u8>>,
    key: KeyPair,
}

impl Certified {
    fn new(name: &str, above: &Ca) -> Self {
        Self::with(name, above, |_| {})
    }

    fn with(name: &str, above: &Ca, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        change(&mut params);
        let made = params.signed_by(&key, above).unwrap();
        Self { chain: vec![made.der().to_vec()], key }
    }

    async fn enrol(&self, world: &World, device: &Device) -> Result<(), RefusalCode> {
        let sign = |message: &[u8]| self.key.sign(message).ok()?.try_into().ok();
        let means = Means::Certificate { chain: self.chain.clone(), sign: &sign };
        world.enrol_by(device, &means).await.map(drop)
    }

    fn leaf(&self) -> &[u8] {
        &self.chain[0]
    }
}

async fn add(world: &World, ca: &Ca, id_from: &str) -> Value {
    let body = json!({ "certificate": ca.pem(), "role": "sensor", "id_from": id_from });
    world.post(&format!("{TENANT}/authorities"), body).await
}

async fn world() -> World {
    let world = World::new().await;
    world.take(&["claim", "certificate"]).await;
    world
}

#[tokio::test]
async fn a_certificate_enrols_the_device_that_it_names() {
    let world = world().await;
    let (ca, device) = (root(), Device::new("press-1"));
    let held = Certified::new("press-1", &ca);
    assert_eq!(held.enrol(&world, &device).await, Err(RefusalCode::NotEntitled), "no authority");
    let added = add(&world, &ca, "common_name").await;
    assert_eq!(added["authority"], hex::encode(sha256(ca.der())));
    assert_eq!(add(&world, &ca, "common_name").await, added, "the same once more");
    held.enrol(&world, &device).await.unwrap();
    let world = world.restart().await;
    held.enrol(&world, &device).await.unwrap();
    // Another key of the device, another device, another authority of the same name.
    assert_eq!(
        held.enrol(&world, &Device::new("press-1")).await,
        Err(RefusalCode::DeviceKeyMismatch)
    );
    assert_eq!(held.enrol(&world, &Device::new("press-2")).await, Err(RefusalCode::NotEntitled));
    let foreign = Certified::new("press-3", &root());
    assert_eq!(foreign.enrol(&world, &Device::new("press-3")).await, Err(RefusalCode::NotEntitled));
    let nowhere = Device::of("nothing", "press-3");
    assert_eq!(foreign.enrol(&world, &nowhere).await, Err(RefusalCode::NotEntitled));
    // The certificate without its key.
    let thief =
        Certified { chain: held.chain.clone(), key: KeyPair::generate_for(&PKCS_ED25519).unwrap() };
    assert_eq!(
        thief.enrol(&world, &Device::new("press-1")).await,
        Err(RefusalCode::CertificateInvalid)
    );
    // Without its authority no further device enrols, and this one stays.
    let path = format!("{TENANT}/authorities/{}", added["authority"].as_str().unwrap());
    assert_eq!(world.operator.delete(&path).await.unwrap().status, 204);
    let next = Certified::new("press-4", &ca);
    assert_eq!(next.enrol(&world, &Device::new("press-4")).await, Err(RefusalCode::NotEntitled));
    world.refresh(&device).await.unwrap();
}

#[tokio::test]
async fn the_id_stands_where_the_authority_says() {
    let world = world().await;
    let (serials, names) = (root(), root());
    add(&world, &serials, "serial_number").await;
    add(&world, &names, "alternative_name").await;
    let by_serial = Certified::with("x", &serials, |params| {
        params.distinguished_name.push(DnType::CustomDnType(vec![2, 5, 4, 5]), "sn-7");
    });
    assert_eq!(by_serial.enrol(&world, &Device::new("x")).await, Err(RefusalCode::NotEntitled));
    by_serial.enrol(&world, &Device::new("sn-7")).await.unwrap();
    let by_name = Certified::with("x", &names, |params| {
        params.subject_alt_names = vec![
            SanType::DnsName("press-1.example".try_into().unwrap()),
            SanType::URI("urn:dev:press-1".try_into().unwrap()),
        ];
    });
    by_name.enrol(&world, &Device::new("press-1.example")).await.unwrap();
    // One certificate, another id of it, and a new key.
    by_name.enrol(&world, &Device::new("urn:dev:press-1")).await.unwrap();
    assert_eq!(by_name.enrol(&world, &Device::new("x")).await, Err(RefusalCode::NotEntitled));
}

#[tokio::test]
async fn a_chain_has_a_way_to_the_authority_and_no_denied_link() {
    let world = world().await;
    let ca = root();
    let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let between = CertifiedIssuer::signed_by(ca_params("plant"), key, &ca).unwrap();
    add(&world, &ca, "common_name").await;
    let mut held = Certified::new("a", &between);
    assert_eq!(held.enrol(&world, &Device::new("a")).await, Err(RefusalCode::NotEntitled));
    held.chain.push(between.der().to_vec());
    let device = Device::new("a");
    held.enrol(&world, &device).await.unwrap();
    let denied = format!("{TENANT}/denied-certificates");
    let deny = async |name: String| world.post(&denied, json!({ "certificate": name })).await;
    let mut second = Certified::with("b", &between, |params| {
        params.serial_number = Some(vec![0x0a, 0xbc].into());
    });
    second.chain.push(between.der().to_vec());
    deny("serial:0abc".to_owned()).await;
    assert_eq!(second.enrol(&world, &Device::new("b")).await, Err(RefusalCode::CertificateDenied));
    world.operator.delete(&format!("{denied}/serial:abc")).await.unwrap();
    deny(format!("sha256:{}", hex::encode(sha256(second.leaf())))).await;
    assert_eq!(second.enrol(&world, &Device::new("b")).await, Err(RefusalCode::CertificateDenied));
    // Neither does another form of the same certificate (ECDSA signatures have two).
    let named = Certified::new("d", &ca);
    let twin = tessera_runtime::x509::twin(named.leaf()).unwrap().unwrap();
    deny(format!("sha256:{}", hex::encode(sha256(named.leaf())))).await;
    let other = Certified { chain: vec![twin], key: named.key };
    assert_eq!(other.enrol(&world, &Device::new("d")).await, Err(RefusalCode::CertificateDenied));
    // A link that is denied denies all that it signed.
    deny(format!("sha256:{}", hex::encode(sha256(between.der())))).await;
    let mut third = Certified::new("c", &between);
    third.chain.push(between.der().to_vec());
    assert_eq!(third.enrol(&world, &Device::new("c")).await, Err(RefusalCode::CertificateDenied));
    let twin = tessera_runtime::x509::twin(between.der()).unwrap().unwrap();
    third.chain[1] = twin;
    assert_eq!(third.enrol(&world, &Device::new("c")).await, Err(RefusalCode::CertificateDenied));
    // So does an authority.
    let fourth = Certified::new("e", &ca);
    deny(format!("sha256:{}", hex::encode(sha256(ca.der())))).await;
    assert_eq!(fourth.enrol(&world, &Device::new("e")).await, Err(RefusalCode::CertificateDenied));
    let wrong = world.operator.post_json(&denied, &json!({ "certificate": "abc" })).await;
    assert_eq!(problem(wrong), (400, "request_malformed".to_owned()));
}

#[tokio::test]
async fn certificates_that_cannot_be_used_are_told_apart_from_those_that_are_not_known() {
    let world = world().await;
    let ca = root();
    add(&world, &ca, "common_name").await;
    let old = Certified::with("a", &ca, |params| {
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    });
    let invalid = Err(RefusalCode::CertificateInvalid);
    assert_eq!(old.enrol(&world, &Device::new("a")).await, invalid);
    // The same where there is no such tenant: the fault is of the certificate alone.
    assert_eq!(old.enrol(&world, &Device::of("nothing", "a")).await, invalid);
    let mut rubbish = Certified::new("a", &ca);
    rubbish.chain = vec![vec![0x30, 0x80, 0, 0]];
    assert_eq!(rubbish.enrol(&world, &Device::new("a")).await, invalid);
    let authority = Certified::with("a", &ca, |params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)
    });
    assert_eq!(authority.enrol(&world, &Device::new("a")).await, invalid);
    let path = format!("{TENANT}/authorities");
    let device = Certified::new("a", &ca);
    let pem = |der: &[u8]| {
        let text = base64(der);
        format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
    };
    for certificate in [String::new(), "x".to_owned(), pem(device.leaf())] {
        let body = json!({ "certificate": certificate, "role": "sensor" });
        let outcome = problem(world.operator.post_json(&path, &body).await);
        assert_eq!(outcome, (400, "certificate_invalid".to_owned()));
    }
}

/// Standard base64 of these bytes.
fn base64(bytes: &[u8]) -> String {
    let text = tessera_token::encoding::base64url(bytes).replace('-', "+").replace('_', "/");
    let padding = "=".repeat((4 - text.len() % 4) % 4);
    text + &padding
}
