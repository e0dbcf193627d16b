//! Each way of enrolment by the commands of `docs/enrol.md`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair,
    PKCS_ECDSA_P256_SHA256,
};
use serde_json::Value;
use tessera_tests::process::{ok, run, tessera};
use tessera_tests::server::Provisioning;

/// A command of a device.
fn device(service: &Provisioning, words: &[&str]) -> Command {
    let mut command = Command::new(tessera());
    command.arg("device").args(words).args(["--http", &format!("http://{}", service.http)]);
    command.current_dir(service.folder.path());
    command
}

fn folder(service: &Provisioning, name: &str) -> PathBuf {
    service.folder.path().join(name)
}

fn secret(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

fn service(ways: &str) -> Provisioning {
    let service = Provisioning::start();
    service.operator(&["group", "ways", "default", "--set", ways]);
    service
}

#[test]
fn a_code_of_several_devices_is_typed_as_people_type() {
    let service = service("claim");
    let words =
        ["claim", "create", "--role", "sensor", "--uses", "2", "--pattern", "press-*", "--plain"];
    let code = service.operator(&words).trim().to_lowercase().replace('-', " ");
    for id in ["press-1", "press-2"] {
        ok(&mut device(&service, &["enrol", "--device", id, "--claim", &code]));
    }
    let (done, told) =
        run(&mut device(&service, &["enrol", "--device", "press-3", "--claim", &code]));
    assert!(!done && told.contains("claim_used"), "{told}");
}

#[test]
fn a_listed_key_and_an_approval_are_of_the_key_that_the_folder_has() {
    let service = service("key,approval");
    let dir = folder(&service, "d-17");
    let key = |dir: &Path| {
        let mut command = Command::new(tessera());
        ok(command.args(["device", "key", "--thumbprint", "--dir"]).arg(dir)).trim().to_owned()
    };
    let thumbprint = key(&dir);
    service.operator(&[
        "listed-key",
        "add",
        "d-17",
        "--role",
        "sensor",
        "--thumbprint",
        &thumbprint,
    ]);
    let words = ["enrol", "--device", "d-17", "--dir", "d-17", "--manufacturer-key"];
    ok(&mut device(&service, &words));
    // The key of the manufacturer in a file.
    let (other, file) = (folder(&service, "other"), folder(&service, "maker.key"));
    let thumbprint = key(&other);
    secret(&file, &fs::read_to_string(other.join("device.key")).unwrap());
    service.operator(&[
        "listed-key",
        "add",
        "d-18",
        "--role",
        "sensor",
        "--thumbprint",
        &thumbprint,
    ]);
    let words = ["enrol", "--device", "d-18", "--manufacturer-key", "maker.key"];
    ok(&mut device(&service, &words));

    let words = ["enrol", "--device", "d-19", "--approval"];
    let (done, told) = run(&mut device(&service, &words));
    let thumbprint = key(&folder(&service, "d-19"));
    assert!(!done && told.contains("approval_pending") && told.contains(&thumbprint), "{told}");
    let listed = service.operator(&["approval", "list", "--where", "state=waiting", "--json"]);
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed[0]["thumbprint"], thumbprint.as_str());
    let id = listed[0]["approval"].as_str().unwrap();
    service.operator(&["approval", "approve", id, "--role", "sensor"]);
    ok(&mut device(&service, &words));
}

#[test]
fn a_factory_derives_the_secrets_of_a_group_key() {
    let service = service("group_key");
    let file = folder(&service, "line-1.key");
    let group_key =
        service.operator(&["group-key", "create", "line-1", "--role", "sensor", "--plain"]);
    secret(&file, &group_key);
    let derive = |words: &[&str]| {
        let mut command = Command::new(tessera());
        command.args(["group-key", "derive", "--key", "@line-1.key"]).args(words);
        ok(command.current_dir(service.folder.path()))
    };
    fs::write(folder(&service, "ids.txt"), "d-17\nd-18\n").unwrap();
    let secrets = derive(&["--ids", "ids.txt"]);
    assert_eq!(secrets, derive(&["d-17", "d-18"]));
    service.operator(&["group-key", "add", "line-1", "d-17", "d-18"]);
    let of = secrets.lines().find_map(|line| line.strip_prefix("d-17 ")).unwrap();
    ok(&mut device(&service, &["enrol", "--device", "d-17", "--device-secret", of]));
    ok(&mut device(&service, &["enrol", "--device", "d-18", "--group-key-file", "line-1.key"]));
    let listed = service.operator(&["group-key", "devices", "line-1", "--json"]);
    assert_eq!(listed.matches("\"used\"").count(), 2, "{listed}");
}

#[test]
fn a_certificate_on_p256_enrols_the_device_that_it_names() {
    let service = service("certificate");
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, "maker");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = || KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let ca = CertifiedIssuer::self_signed(params, key()).unwrap();
    fs::write(folder(&service, "maker-ca.pem"), ca.pem()).unwrap();
    let held = |name: &str| {
        let (key, mut params) = (key(), CertificateParams::new(Vec::new()).unwrap());
        params.distinguished_name.push(DnType::CommonName, name);
        let made = params.signed_by(&key, &ca).unwrap();
        fs::write(folder(&service, &format!("{name}.pem")), made.pem()).unwrap();
        secret(&folder(&service, &format!("{name}.key")), &key.serialize_pem());
    };
    let file = folder(&service, "maker-ca.pem");
    let added = service.operator(&[
        "authority",
        "add",
        file.to_str().unwrap(),
        "--role",
        "sensor",
        "--json",
    ]);
    let added: Value = serde_json::from_str(&added).unwrap();
    held("d-17");
    held("d-18");
    let words = ["enrol", "--cert", "d-17.pem", "--cert-key", "d-17.key"];
    let told = ok(&mut device(&service, &words));
    assert!(told.contains("d-17 is enrolled"), "{told}");
    service.operator(&["authority", "delete", added["authority"].as_str().unwrap()]);
    let words = ["enrol", "--cert", "d-18.pem", "--cert-key", "d-18.key"];
    let (done, told) = run(&mut device(&service, &words));
    assert!(!done && told.contains("not_entitled"), "{told}");
}
