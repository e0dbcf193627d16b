use std::collections::HashSet;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use serde_json::{json, Value};
use tessera_provisioning::{Provisioning, ProvisioningConfig};
use tessera_runtime::clock::{Clock, SystemClock};
use tessera_runtime::http::{HttpClient, HttpError, HttpLimits, ACE_CBOR};
use tessera_runtime::metrics::Metrics;
use tessera_runtime::random::{number, SystemRandom};
use tessera_runtime::secret::read_secret_text;
use tessera_runtime::stop::Stop;
use tessera_token::messages::{
    EnrolRequest, NonceAnswer, RefusalAnswer, TokenAnswer, TokenKind, TokenRequest,
};
use tessera_token::refusal::RefusalCode;

use crate::enrol::claims;
use crate::postgres::settings;
use crate::world::{random, Device};

const FOLDER: &str = "TESSERA_PROVISIONING_CHILD_FOLDER";
const DATABASE: &str = "TESSERA_PROVISIONING_CHILD_DATABASE";
const ROUNDS: usize = 6;
/// How long a service that was killed may take until it is ready.
const READY: std::time::Duration = std::time::Duration::from_secs(30);

/// Not a test of its own: the process that `nothing_acknowledged_is_lost_by_kill_9` kills.
#[tokio::test]
async fn child_that_serves_until_killed() {
    let Ok(folder) = std::env::var(FOLDER) else {
        return;
    };
    let mut config = ProvisioningConfig::new(folder, "127.0.0.1:0".parse().unwrap()).unwrap();
    config.database = std::env::var(DATABASE).ok().map(settings);
    let clock = SystemClock::shared();
    let stop = Stop::new();
    let handle =
        Provisioning::start(config, clock, SystemRandom::shared(), Metrics::new(), stop.clone())
            .await;
    let line = format!("ADDR {}\n", handle.unwrap().addr());
    std::io::stdout().write_all(line.as_bytes()).unwrap();
    stop.stopping().await;
}

/// The answers to the clients.
#[derive(Default)]
pub struct Told {
    pub devices: Vec<Arc<Device>>,
    pub revoked: Vec<Arc<Device>>,
    serials: HashSet<Vec<u8>>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_by_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let mut told = Told::default();
    for round in 0..ROUNDS {
        let (mut child, url) = serve(dir.path(), None);
        let client = Client::new(&url, dir.path());
        check(&client, &mut told).await;
        let enough = 5 + number(&SystemRandom).unwrap() % 40;
        work(&client, &mut told, round, enough, &mut child).await;
        child.wait().unwrap();
    }
    let (mut child, url) = serve(dir.path(), None);
    check(&Client::new(&url, dir.path()), &mut told).await;
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(told.devices.len() >= ROUNDS * 2 && !told.revoked.is_empty());
}

/// Devices enrol side by side; the process is killed as soon as `enough` of them were answered.
async fn work(client: &Client, told: &mut Told, round: usize, enough: u64, child: &mut Child) {
    let Ok(codes) = client.claims(60).await else {
        return;
    };
    let mut tasks = tokio::task::JoinSet::new();
    for (n, code) in codes.into_iter().enumerate() {
        let client = client.clone();
        let device = Arc::new(Device::new(&format!("r{round}-{n}")));
        tasks.spawn(async move {
            let first = client.enrol(&device, &code).await.ok()?;
            let second = client.refresh(&device).await.ok();
            let revoked = n % 3 == 0 && client.revoke(&device).await;
            Some((device, first, second, revoked))
        });
    }
    let mut answered = 0;
    while let Some(outcome) = tasks.join_next().await {
        let Some((device, first, second, revoked)) = outcome.unwrap() else {
            continue;
        };
        told.note(&first);
        second.iter().for_each(|answer| told.note(answer));
        match revoked {
            true => told.revoked.push(device),
            false => told.devices.push(device),
        }
        answered += 1;
        if answered == enough {
            child.kill().unwrap();
        }
    }
    let _ = child.kill();
}

pub async fn check(client: &Client, told: &mut Told) {
    for device in &told.revoked {
        assert_eq!(
            answered(client, device).await,
            Err(RefusalCode::DeviceRevoked),
            "{}",
            device.id
        );
    }
    for device in told.devices.clone() {
        match answered(client, &device).await {
            Ok(answer) => told.note(&answer),
            // A revocation that was asked for and not answered may have happened.
            Err(RefusalCode::DeviceRevoked) => {
                let n: usize = device.id.as_str().split('-').next_back().unwrap().parse().unwrap();
                assert_eq!(n % 3, 0, "{}", device.id);
            }
            Err(RefusalCode::RateLimited) => {}
            Err(code) => panic!("{} is lost: {code}", device.id),
        }
    }
}

/// The answer to a refresh. A service that says it is not ready, or that does not answer in time on a busy machine, has lost
/// nothing: it is asked again.
async fn answered(client: &Client, device: &Device) -> Result<TokenAnswer, RefusalCode> {
    let ready = async {
        loop {
            match client.refresh(device).await {
                Err(RefusalCode::NotReady) => {}
                answer => return answer,
            }
        }
    };
    tokio::time::timeout(READY, ready).await.unwrap_or(Err(RefusalCode::NotReady))
}

impl Told {
    pub fn note(&mut self, answer: &TokenAnswer) {
        let serial = claims(&answer.access_token).serial;
        assert!(self.serials.insert(serial.as_bytes().to_vec()), "a serial was given twice");
    }
}

#[derive(Clone)]
pub struct Client {
    pub operator: HttpClient,
    pub feed: HttpClient,
    stranger: HttpClient,
}

impl Client {
    pub fn new(url: &str, dir: &Path) -> Self {
        let stranger = HttpClient::new(url, None, HttpLimits::default()).unwrap();
        let with =
            |file: &str| stranger.with_bearer(Some(read_secret_text(&dir.join(file)).unwrap()));
        Self { operator: with("operator.token"), feed: with("feed.token"), stranger }
    }

    pub async fn claims(&self, count: usize) -> Result<Vec<String>, HttpError> {
        let body = json!({ "role": "sensor", "count": count });
        let answer: Value =
            self.operator.post_json("/v1/tenants/default/claims", &body).await?.json()?;
        let codes = answer["claims"].as_array().unwrap().iter();
        Ok(codes.map(|claim| claim["code"].as_str().unwrap().to_owned()).collect())
    }

    pub async fn enrol(&self, device: &Device, code: &str) -> Result<TokenAnswer, HttpError> {
        let nonce = self.stranger.post("/v1/enrol/nonce", ACE_CBOR, Vec::new()).await?;
        let nonce = NonceAnswer::from_cbor(&nonce.body).unwrap().nonce;
        let request = EnrolRequest::sign(&device.key, &device.tenant, &device.id, code, &nonce);
        let answer = self.stranger.post("/v1/enrol", ACE_CBOR, request.to_cbor()).await?;
        Ok(TokenAnswer::from_cbor(&answer.body).unwrap())
    }

    pub async fn refresh(&self, device: &Device) -> Result<TokenAnswer, RefusalCode> {
        let now = SystemClock::new().unix();
        let request = TokenRequest::sign(
            &device.key,
            &device.tenant,
            &device.id,
            now,
            &random(),
            TokenKind::Key,
        );
        match self.stranger.post("/v1/token", ACE_CBOR, request.to_cbor()).await {
            Ok(answer) => Ok(TokenAnswer::from_cbor(&answer.body).unwrap()),
            Err(HttpError::Status { response, .. }) => {
                Err(RefusalAnswer::from_cbor(&response.body).unwrap().code.unwrap())
            }
            Err(_) => Err(RefusalCode::NotReady),
        }
    }

    pub async fn revoke(&self, device: &Device) -> bool {
        let path = format!("/v1/tenants/default/devices/{}/revoke", device.id);
        self.operator.post_json(&path, &json!({})).await.is_ok()
    }
}

/// A process that serves this folder, on its own database or on this one.
pub fn serve(dir: &Path, database: Option<&str>) -> (Child, String) {
    #[allow(clippy::zombie_processes, reason = "every caller kills it and waits for it")]
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["killed::child_that_serves_until_killed", "--exact", "--nocapture"])
        .env(FOLDER, dir)
        .envs(database.map(|url| (DATABASE, url)))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        if let Some((_, addr)) = line.unwrap().split_once("ADDR ") {
            return (child, format!("http://{addr}"));
        }
    }
    panic!("the service did not start");
}
