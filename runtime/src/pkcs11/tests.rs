use std::sync::{Arc, LazyLock};
use std::time::Duration;

use tessera_token::key::{SignError, Signer};
use tessera_token::time::UnixSeconds;

use super::testing::{SoftHsm, SoftToken};
use super::*;
use crate::clock::ManualClock;
use crate::secret::write_secret_file;

const PIN: &str = "canary-pin-7431";

/// One of this process: the module reads its configuration once.
static HSM: LazyLock<(tempfile::TempDir, SoftHsm)> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let hsm = SoftHsm::in_folder(folder.path());
    hsm.take_process();
    (folder, hsm)
});

/// A token of its own, which the process meets after the module was loaded for other tests.
fn token(label: &str) -> SoftToken {
    HSM.1.token(label, PIN)
}

struct Opened {
    token: SoftToken,
    clock: Arc<ManualClock>,
    module: Module,
}

fn opened(label: &str) -> Opened {
    let token = token(label);
    let clock = ManualClock::at(UnixSeconds::new(1_800_000_000));
    let module = Module::open(token.settings(), clock.clone()).unwrap();
    Opened { token, clock, module }
}

fn id(number: u8) -> ObjectId {
    ObjectId::from_bytes([number; 16])
}

/// Time of this machine: for calls that take as long as they take.
fn monotonic() -> Duration {
    static CLOCK: LazyLock<crate::clock::SharedClock> =
        LazyLock::new(crate::clock::SystemClock::shared);
    CLOCK.monotonic()
}

type Signed = Result<[u8; 64], SignError>;

async fn sign(module: &Module, key: &ModuleKey, message: &[u8]) -> Result<Signed, ModuleError> {
    let message = message.to_vec();
    module.with_key(key.clone(), move |signer: &dyn Signer| signer.sign(&message)).await
}

async fn key(module: &Module, kind: KeyKind, object: ObjectId) -> ModuleKey {
    let public = module.generate(kind, object, "test").await.unwrap();
    ModuleKey { object, public }
}

/// Signs, and moves the clock on while the module may not be opened again.
async fn signs_again(opened: &Opened, key: &ModuleKey) {
    for _ in 0..40 {
        if let Ok(Ok(signature)) = sign(&opened.module, key, b"again").await {
            assert!(key.public.verifies(b"again", &signature));
            return;
        }
        opened.clock.advance(Duration::from_secs(1));
    }
    panic!("it does not sign again: {:?}", opened.module.fault());
}

#[tokio::test]
async fn both_kinds_of_keys_are_made_in_the_token_and_sign_there() {
    let Opened { token, clock, module } = opened("kinds");
    module.check().await.unwrap();
    for (kind, object) in [(KeyKind::Ed25519, id(1)), (KeyKind::P256, id(2))] {
        let key = key(&module, kind, object).await;
        assert_eq!(key.kind(), kind);
        let signature = sign(&module, &key, b"message").await.unwrap().unwrap();
        assert!(key.public.verifies(b"message", &signature));
        assert!(!key.public.verifies(b"another", &signature));
        assert!(module.holds(object).await.unwrap());
        // Another process of the token finds it.
        let other = Module::open(token.settings(), clock.clone()).unwrap();
        assert!(sign(&other, &key, b"other").await.unwrap().is_ok());
    }
    // The public half is not kept there.
    assert_eq!(token.object_files().len(), 2);
    assert!(module.destroy(id(1)).await.unwrap());
    assert!(!module.destroy(id(1)).await.unwrap(), "it is gone");
    assert!(!module.holds(id(1)).await.unwrap() && module.holds(id(2)).await.unwrap());
    assert_eq!(token.object_files().len(), 1);
}

#[tokio::test]
async fn a_key_that_is_gone_or_another_one_gives_no_signature() {
    let Opened { module, .. } = opened("gone");
    let (one, other) =
        (key(&module, KeyKind::Ed25519, id(1)).await, key(&module, KeyKind::Ed25519, id(2)).await);
    // An object of one with the public half of the other.
    let mixed = ModuleKey { object: one.object, public: other.public.clone() };
    assert_eq!(sign(&module, &mixed, b"m").await.unwrap(), Err(SignError::Unusable));
    assert!(module.destroy(id(1)).await.unwrap());
    assert_eq!(sign(&module, &one, b"m").await.unwrap(), Err(SignError::Unusable));
    assert!(module.fault().is_none(), "the token is well");
    assert!(sign(&module, &other, b"m").await.unwrap().is_ok());
}

#[tokio::test]
async fn a_token_that_is_taken_out_is_told_and_signs_again_when_it_is_back() {
    let opened = opened("out");
    let key = key(&opened.module, KeyKind::Ed25519, id(1)).await;
    opened.token.take_out();
    // Also while nothing may open it, and after that.
    for seconds in [0, 0, 2, 60] {
        opened.clock.advance(Duration::from_secs(seconds));
        let refused = sign(&opened.module, &key, b"m").await.unwrap();
        assert_eq!(refused, Err(SignError::Unreachable));
        assert_eq!(opened.module.fault().unwrap().code(), "no_token");
    }
    opened.token.put_in();
    signs_again(&opened, &key).await;
    assert!(opened.module.fault().is_none());
}

#[tokio::test]
async fn a_wrong_pin_is_shown_once_and_a_new_one_is_taken_from_its_file() {
    let token = token("pin");
    write_secret_file(&token.pin_file, b"wrong-pin").unwrap();
    let clock = ManualClock::at(UnixSeconds::new(1_800_000_000));
    let module = Module::open(token.settings(), clock.clone()).unwrap();
    for _ in 0..3 {
        let error = module.check().await.unwrap_err();
        assert_eq!(error.code(), "pin_refused");
        assert!(
            !error.to_string().contains("wrong-pin") && !format!("{error:?}").contains("wrong")
        );
        clock.advance(Duration::from_secs(2));
    }
    assert_eq!(module.fault().unwrap().code(), "pin_refused");
    write_secret_file(&token.pin_file, PIN.as_bytes()).unwrap();
    module.check().await.unwrap();
    assert!(module.fault().is_none());
}

#[tokio::test]
async fn names_that_lead_nowhere_are_told() {
    let token = token("names");
    let clock = ManualClock::at(UnixSeconds::new(1_800_000_000));
    let code = async |settings: ModuleSettings| {
        let module = Module::open(settings, clock.clone()).unwrap();
        module.check().await.unwrap_err().code()
    };
    let of = |module: &str, label: &str| {
        ModuleSettings::new(module, label, Pin::File(token.pin_file.clone()))
    };
    assert_eq!(code(of("/none/lib.so", "names")).await, "load");
    assert_eq!(code(of("/etc/hostname", "names")).await, "load");
    let module = SoftHsm::module();
    assert_eq!(code(of(module.to_str().unwrap(), "another label")).await, "no_token");
    let twice = HSM.1.token("twice", PIN);
    HSM.1.token("twice", PIN);
    assert_eq!(code(twice.settings()).await, "several_tokens");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_sign_at_once_and_a_full_queue_is_an_error() {
    let Opened { module, .. } = opened("many");
    let key = key(&module, KeyKind::Ed25519, id(1)).await;
    let mut running = Vec::new();
    for number in 0..200u32 {
        let (module, key) = (module.clone(), key.clone());
        running.push(tokio::spawn(async move {
            let message = number.to_be_bytes();
            let signature = sign(&module, &key, &message).await.unwrap().unwrap();
            assert!(key.public.verifies(&message, &signature));
        }));
    }
    for one in running {
        one.await.unwrap();
    }
    // Calls that wait for each other fill the queue: the next one is told so at once.
    let gate = Arc::new(parking_lot::Mutex::new(()));
    let held = gate.lock();
    let mut busy = 0;
    let mut waiting = Vec::new();
    for _ in 0..crate::limits::PKCS11_QUEUE + 16 {
        let gate = Arc::clone(&gate);
        let (module, key) = (module.clone(), key.clone());
        let call = async move { module.with_key(key, move |_| drop(gate.lock())).await };
        let mut call = Box::pin(call);
        match polled(&mut call) {
            Some(Err(error)) => {
                assert_eq!(error.code(), "busy");
                busy += 1;
            }
            Some(Ok(())) => panic!("it went through a closed gate"),
            None => waiting.push(call),
        }
    }
    assert!(busy > 0);
    assert_eq!(module.fault().unwrap().code(), "busy");
    drop(held);
    for call in waiting {
        call.await.unwrap();
    }
    module.check().await.unwrap();
}

/// Calls that never return take the threads, and no more: each caller is told in time, and at once when no thread is left.
#[tokio::test]
async fn a_module_that_hangs_is_told_in_time_and_serves_again_when_it_answers() {
    let folder = tempfile::tempdir().unwrap();
    let Some(held_back) = testing::HeldBack::in_folder(folder.path()) else { return };
    let token = token("hangs");
    let clock = ManualClock::at(UnixSeconds::new(1_800_000_000));
    let settings = ModuleSettings { sessions: 2, ..held_back.settings(&token) };
    let module = Module::open(settings, clock.clone()).unwrap();
    let key = key(&module, KeyKind::Ed25519, id(1)).await;
    held_back.hang();
    let began = monotonic();
    let first = sign(&module, &key, b"m").await.unwrap_err();
    assert_eq!((first.code(), module.fault().unwrap().code()), ("late", "late"));
    // One thread is left, and calls that do not sign come through.
    assert!(module.holds(id(1)).await.unwrap());
    assert_eq!(sign(&module, &key, b"m").await.unwrap_err().code(), "late");
    assert!(monotonic() - began < crate::limits::PKCS11_CALL * 3, "{:?}", monotonic() - began);
    // None is left: no caller waits.
    let mut call = Box::pin(module.holds(id(1)));
    assert_eq!(polled(&mut call).unwrap().unwrap_err().code(), "late");
    drop(call);
    held_back.go_on();
    while sign(&module, &key, b"m").await.is_err() {
        tokio::task::yield_now().await;
    }
    assert!(module.fault().is_none());
    assert!(module.holds(id(1)).await.unwrap());
}

/// A module answers with codes of all kinds for a key that is destroyed while it begins to sign: the key is gone, and the
/// module is well.
#[tokio::test]
async fn a_key_that_goes_while_it_signs_is_no_fault_of_the_module() {
    let folder = tempfile::tempdir().unwrap();
    let Some(held_back) = testing::HeldBack::in_folder(folder.path()) else { return };
    let token = token("goes");
    let clock = ManualClock::at(UnixSeconds::new(1_800_000_000));
    let module = Module::open(held_back.settings(&token), clock.clone()).unwrap();
    // Its own answer, and CKR_KEY_FUNCTION_NOT_PERMITTED, CKR_GENERAL_ERROR and CKR_KEY_TYPE_INCONSISTENT.
    for (number, code) in [(1, None), (2, Some(0x68)), (3, Some(0x05)), (4, Some(0x63))] {
        let key = key(&module, KeyKind::Ed25519, id(number)).await;
        held_back.hold_next();
        let destroy = async {
            while !held_back.holds() {
                tokio::task::yield_now().await;
            }
            assert!(module.destroy(id(number)).await.unwrap());
            held_back.release(code);
        };
        let (signed, ()) = tokio::join!(sign(&module, &key, b"m"), destroy);
        assert_eq!(signed.unwrap(), Err(SignError::Unusable), "{code:?}");
        assert!(module.fault().is_none(), "{code:?}");
    }
}

/// The outcome of a future that is polled once.
fn polled<T>(future: &mut (impl std::future::Future<Output = T> + Unpin)) -> Option<T> {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::Pin::new(future).poll(&mut context) {
        std::task::Poll::Ready(done) => Some(done),
        std::task::Poll::Pending => None,
    }
}
