use std::sync::Arc;

use tessera_provisioning::{renew_operator, StartError};
use tessera_runtime::clock::SystemClock;
use tessera_runtime::random::SystemRandom;
use tessera_runtime::stop::Stop;
use tessera_runtime::store::StoreError;

use super::life::{drain, ended, until_told, Reload};
use super::parts::{copy_provisioning, reload_certificates, start_provisioning};
use super::signals::Signals;
use super::{control, first_token, run_file};
use crate::args::ProvisionArgs;
use crate::config::{Config, Raw};
use crate::error::{Fault, Outcome};

/// Provisioning alone.
pub(crate) async fn run(args: ProvisionArgs) -> Outcome {
    let mut raw = Raw::read(args.config.as_deref())?
        .with_log(&args.log)
        .with_service(&args.service)
        .with_database(&args.database)
        .with_pkcs11(&args.pkcs11)
        .with_proxy(&args.proxy)
        .with_derivation(&args.derivation)
        .after_loss(&args.loss, &args.seeds);
    raw.data = args.data.clone().or(raw.data);
    let config = raw.validate("./tessera-data")?;
    if config.pushes_to_self() {
        let fault = Fault::new("provisioning.push.brokers: self is for tessera up");
        return Err(fault.hint("name the broker by its URL, mqtts://host:port"));
    }
    if args.new_operator {
        return new_operator(&config, args.log.json).await;
    }
    let reload = Reload::start(args.config.as_deref(), &args.log, &config.log)?;
    let mut signals = Signals::listen()?;
    let stop = Stop::new();
    let clock = SystemClock::shared();
    let start = start_provisioning(&config, false, &clock, &stop);
    let Some(service) = signals.during(&stop, start).await? else {
        return ended(&drain(&[&stop], config.drain).await);
    };
    let service = Arc::new(service);
    let copied = Arc::clone(&service);
    control::serve(&config.data, &stop, Arc::new(move |to| copy_provisioning(&copied, to)));
    let data = config.data.display();
    if let Some(first) = service.first_start() {
        first_token::tell(&config.data, first, args.log.json);
    }
    let text = format!(
        "data          {data}
provisioning  {scheme}://{http}   (OpenAPI: /openapi.json)

A broker elsewhere needs {data}/feed.token and {data}/root.thumbprint:
  tessera broker --provisioning {scheme}://{http} --feed-token {data}/feed.token --root {data}/root.thumbprint

",
        scheme = service.scheme(),
        http = service.addr(),
    );
    let places = [("http", service.addr().to_string())];
    run_file::tell(&config.data, &places, (args.log.json, &text))?;
    until_told(signals, reload, || true, || reload_certificates(&service)).await.impatient();
    let left = drain(&[&stop], config.drain).await;
    run_file::remove(&config.data);
    ended(&left)
}

/// A new token for an operator who lost the first one.
async fn new_operator(config: &Config, json: bool) -> Outcome {
    let (data, random) = (&config.data, SystemRandom::shared());
    let database = config.provisioning()?.database;
    let made = renew_operator(data, database.as_ref(), &SystemClock::shared(), &*random).await;
    first_token::tell(data, &made.map_err(in_use)?, json);
    Ok(0)
}

fn in_use(error: StartError) -> Fault {
    let locked = matches!(error, StartError::Store(StoreError::Locked(_)));
    let fault = Fault::from(error);
    match locked {
        true => fault.hint("stop the server of this folder first: it must not write meanwhile"),
        false => fault,
    }
}
