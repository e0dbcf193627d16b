use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, SanType, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384,
    PKCS_ED25519,
};

use super::*;

type Ca = CertifiedIssuer<'static, KeyPair>;

/// 2033-05-18, within the validity that rcgen gives by itself.
const NOW: UnixSeconds = UnixSeconds::new(2_000_000_000);

fn key(kind: &'static rcgen::SignatureAlgorithm) -> KeyPair {
    KeyPair::generate_for(kind).unwrap()
}

fn ca_params(name: &str, most: BasicConstraints) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(most);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

fn root(most: BasicConstraints, kind: &'static rcgen::SignatureAlgorithm) -> Ca {
    CertifiedIssuer::self_signed(ca_params("root", most), key(kind)).unwrap()
}

fn below(name: &str, above: &Ca) -> Ca {
    let params = ca_params(name, BasicConstraints::Unconstrained);
    CertifiedIssuer::signed_by(params, key(&PKCS_ECDSA_P256_SHA256), above).unwrap()
}

fn leaf_params() -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, "press-1");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params
}

fn leaf(above: &Ca, change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
    let mut params = leaf_params();
    change(&mut params);
    params.signed_by(&key(&PKCS_ED25519), above).unwrap().der().to_vec()
}

fn der(ca: &Ca) -> Vec<u8> {
    ca.der().to_vec()
}

#[test]
fn rubbish_has_no_end() {
    assert_eq!(not_after(b""), None);
    assert_eq!(not_after(&[0x30, 0x82, 0xff, 0xff, 1]), None);
}

#[test]
fn a_chain_of_both_kinds_of_keys_leads_to_its_authority_alone() {
    for kind in [&PKCS_ED25519, &PKCS_ECDSA_P256_SHA256] {
        let one = root(BasicConstraints::Unconstrained, kind);
        let other = root(BasicConstraints::Unconstrained, kind);
        let between = below("between", &one);
        let near = leaf(&one, |_| {});
        let far = leaf(&between, |_| {});
        assert_eq!(chains_to(&der(&one), std::slice::from_ref(&near), NOW), Ok(()));
        assert_eq!(chains_to(&der(&one), &[far.clone(), der(&between)], NOW), Ok(()));
        assert!(
            chains_to(&der(&one), std::slice::from_ref(&far), NOW).is_err(),
            "a link is missing"
        );
        // The other authority has the same name and another key.
        assert!(chains_to(&der(&other), std::slice::from_ref(&near), NOW).is_err());
        let mut bent = near.clone();
        let at = bent.len() - 8;
        bent[at] ^= 1;
        assert!(chains_to(&der(&one), &[bent], NOW).is_err());
    }
}

#[test]
fn what_may_not_sign_does_not_carry_a_chain() {
    let one = root(BasicConstraints::Unconstrained, &PKCS_ECDSA_P256_SHA256);
    // A device that signs another.
    let signer = CertifiedIssuer::signed_by(leaf_params(), key(&PKCS_ED25519), &one).unwrap();
    let under = leaf(&signer, |_| {});
    let outcome = chains_to(&der(&one), &[under, der(&signer)], NOW);
    assert_eq!(outcome, Err(CertificateFault::NotAnAuthority));
    // An authority whose key usage leaves out the signing of certificates.
    let mut params = ca_params("between", BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::CrlSign];
    let between = CertifiedIssuer::signed_by(params, key(&PKCS_ED25519), &one).unwrap();
    let under = leaf(&between, |_| {});
    let outcome = chains_to(&der(&one), &[under, der(&between)], NOW);
    assert_eq!(outcome, Err(CertificateFault::KeyUsage));
    // One that allows no further authority below it.
    let short = root(BasicConstraints::Constrained(0), &PKCS_ECDSA_P256_SHA256);
    let between = below("between", &short);
    let under = leaf(&between, |_| {});
    let outcome = chains_to(&der(&short), &[under, der(&between)], NOW);
    assert!(matches!(outcome, Err(CertificateFault::Chain(_))), "{outcome:?}");
    assert_eq!(chains_to(&der(&short), &[leaf(&short, |_| {})], NOW), Ok(()));
    // A certificate for servers alone.
    let server = leaf(&one, |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    assert!(chains_to(&der(&one), &[server], NOW).is_err());
}

#[test]
fn time_counts_for_each_certificate() {
    let one = root(BasicConstraints::Unconstrained, &PKCS_ED25519);
    let from = rcgen::date_time_ymd(2030, 1, 1);
    let to = rcgen::date_time_ymd(2031, 1, 1);
    let mut params = ca_params("old", BasicConstraints::Unconstrained);
    (params.not_before, params.not_after) = (from, to);
    let old = CertifiedIssuer::self_signed(params, key(&PKCS_ED25519)).unwrap();
    let outcome = chains_to(&der(&old), &[leaf(&old, |_| {})], NOW);
    assert_eq!(outcome, Err(CertificateFault::Expired), "of the authority");
    let short = leaf(&one, |params| (params.not_before, params.not_after) = (from, to));
    assert_eq!(device_certificate(&short, NOW), Err(CertificateFault::Expired));
    let early = UnixSeconds::new(1_800_000_000);
    assert_eq!(device_certificate(&short, early), Err(CertificateFault::NotYetValid));
    assert!(chains_to(&der(&one), &[short], NOW).is_err());
    assert_eq!(authority(&old.pem(), NOW), Err(CertificateFault::Expired));
}

#[test]
fn a_certificate_names_its_device_and_its_key() {
    let one = root(BasicConstraints::Unconstrained, &PKCS_ED25519);
    let found = leaf(&one, |params| {
        params.distinguished_name.push(DnType::CustomDnType(vec![2, 5, 4, 5]), "sn-7");
        params.subject_alt_names = vec![
            SanType::DnsName("press-1.example".try_into().unwrap()),
            SanType::URI("urn:dev:press-1".try_into().unwrap()),
        ];
        params.serial_number = Some(vec![0, 0x0a, 0xbc].into());
    });
    let read = device_certificate(&found, NOW).unwrap();
    assert_eq!(read.common_name.as_deref(), Some("press-1"));
    assert_eq!(read.serial_number.as_deref(), Some("sn-7"));
    assert_eq!(read.alternative_names, ["press-1.example", "urn:dev:press-1"]);
    assert_eq!(read.key.len(), 32);
    assert_eq!(serial(&found).as_deref(), Ok("abc"));
    let p256 = leaf_params().signed_by(&key(&PKCS_ECDSA_P256_SHA256), &one).unwrap();
    assert_eq!(device_certificate(p256.der(), NOW).unwrap().key.len(), 65);
    let p384 = leaf_params().signed_by(&key(&PKCS_ECDSA_P384_SHA384), &one).unwrap();
    assert_eq!(device_certificate(p384.der(), NOW), Err(CertificateFault::KeyKind));
    let agreement = leaf(&one, |params| params.key_usages = vec![KeyUsagePurpose::KeyAgreement]);
    assert_eq!(device_certificate(&agreement, NOW), Err(CertificateFault::KeyUsage));
    assert_eq!(device_certificate(&der(&one), NOW), Err(CertificateFault::IsAnAuthority));
    let longer = [found.as_slice(), &[0]].concat();
    assert_eq!(device_certificate(&longer, NOW), Err(CertificateFault::Unreadable));
    for end in 0..found.len() {
        assert!(device_certificate(&found[..end], NOW).is_err());
    }
}

#[test]
fn an_authority_is_one_certificate_that_may_sign() {
    let one = root(BasicConstraints::Unconstrained, &PKCS_ED25519);
    assert_eq!(authority(&one.pem(), NOW), Ok(der(&one)));
    let two = format!("{}{}", one.pem(), one.pem());
    assert_eq!(authority(&two, NOW), Err(CertificateFault::Unreadable));
    assert_eq!(authority("", NOW), Err(CertificateFault::Unreadable));
    let device = leaf_params().signed_by(&key(&PKCS_ED25519), &one).unwrap();
    assert_eq!(authority(&device.pem(), NOW), Err(CertificateFault::NotAnAuthority));
    let large = root(BasicConstraints::Unconstrained, &PKCS_ECDSA_P384_SHA384);
    assert_eq!(authority(&large.pem(), NOW), Err(CertificateFault::KeyKind));
}

#[test]
fn a_signature_by_ecdsa_has_two_forms_and_both_verify() {
    let one = root(BasicConstraints::Unconstrained, &PKCS_ECDSA_P256_SHA256);
    // r and s are shorter now and then, and the length of the whole changes with them.
    for _ in 0..200 {
        let der_of = leaf(&one, |_| {});
        let other = twin(&der_of).unwrap().unwrap();
        assert_ne!(other, der_of);
        assert_eq!(serial(&other), serial(&der_of));
        assert_eq!(chains_to(&der(&one), std::slice::from_ref(&other), NOW), Ok(()));
        assert_eq!(twin(&other).unwrap(), Some(der_of));
    }
    let ed25519 = root(BasicConstraints::Unconstrained, &PKCS_ED25519);
    assert_eq!(twin(&leaf(&ed25519, |_| {})).unwrap(), None);
    assert_eq!(twin(b"rubbish"), Err(CertificateFault::Unreadable));
}
