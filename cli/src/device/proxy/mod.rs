//! `tessera device proxy`: lets MQTT clients of this machine, which cannot sign, connect as the device (`docs/proxy.md`).
//!
//! [`door`] accepts clients, [`client`] serves one. [`connect`] is its CONNECT, which goes to the broker with the client id
//! of [`names`] and a fresh password ([`upstream`], at the [`pace`] that the broker stands). [`pump`] then passes packets
//! on, which [`scanner`] tells apart; [`control`] says which of them belong to the renewal of the token ([`keeping`]).

mod client;
mod connect;
mod control;
mod door;
mod keeping;
mod limits;
mod names;
mod pace;
mod packets;
mod pump;
mod scanner;
#[cfg(test)]
mod testing;
mod upstream;

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tessera_runtime::clock::SystemClock;
use tessera_runtime::log::{init_adjustable, Format};
use tessera_runtime::service_manager;
use tessera_runtime::stop::Stop;
use tokio::signal::unix::{signal, SignalKind};
use tokio::sync::Semaphore;

use crate::args::{DeviceProxyArgs, LogArgs, LogFormat};
use crate::error::{Fault, Outcome};
use crate::output;
use client::Proxy;
use door::Door;
use names::Names;
use upstream::Upstream;

/// Until the next try, when no client can be accepted.
const ACCEPT_AGAIN: Duration = Duration::from_secs(1);
/// How often the service manager hears of the process, when nothing asks for it.
const SELDOM: Duration = Duration::from_secs(3600);

pub(super) async fn run(args: DeviceProxyArgs) -> Outcome {
    log(&args.log)?;
    let upstream = Upstream::of(&args)?;
    let names = Names::of(&upstream.device);
    let door = Door::open(&args.listen).await?;
    tell(&args, &upstream.device, &door.place()?.to_string());
    let stop = Stop::new();
    let proxy = Arc::new(Proxy { upstream, names });
    serve(&door, &proxy, &args, &stop).await?;
    service_manager::stopping();
    drop(door);
    for name in stop.finish(limits::DRAIN).await {
        tracing::warn!(name, "did not stop in time");
    }
    tracing::info!("stopped");
    tessera_runtime::log::close();
    Ok(0)
}

/// Says where clients connect, and as which device.
fn tell(args: &DeviceProxyArgs, device: &str, place: &str) {
    match args.log.json {
        true => output::line(
            &json!({ "device": device, "broker": args.mqtt, "listening": place }).to_string(),
        ),
        false => output::write(&format!(
            "device        {device}\nbroker        {}\nlistening     {place}\n",
            args.mqtt
        )),
    }
}

/// Accepts clients until a signal ends it.
async fn serve(
    door: &Door,
    proxy: &Arc<Proxy>,
    args: &DeviceProxyArgs,
    stop: &Stop,
) -> Result<(), Fault> {
    let clients = usize::from(args.clients);
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let places = Arc::new(Semaphore::new(clients));
    let mut alive = tokio::time::interval(service_manager::watchdog().map_or(SELDOM, |w| w / 2));
    service_manager::serving("ready");
    output::line(if args.log.json { r#"{"ready":true}"# } else { "ready" });
    loop {
        tokio::select! {
            _ = term.recv() => return Ok(()),
            _ = int.recv() => return Ok(()),
            _ = alive.tick() => service_manager::alive(),
            accepted = door.next() => match accepted {
                Ok(local) => match Arc::clone(&places).try_acquire_owned() {
                    Ok(place) => {
                        let serving = client::serve(local, Arc::clone(proxy), stop.clone());
                        stop.spawn("client", async move {
                            serving.await;
                            drop(place);
                        });
                    }
                    Err(_) => tracing::warn!(clients, "client turned away: all places are taken"),
                },
                Err(error) => {
                    tracing::error!(%error, "no client can be accepted");
                    tokio::time::sleep(ACCEPT_AGAIN).await;
                }
            },
        }
    }
}

fn log(args: &LogArgs) -> Result<(), Fault> {
    let level = args.log.as_deref().unwrap_or("info");
    let format = match args.log_format {
        Some(LogFormat::Json) => Format::Json,
        Some(LogFormat::Text) | None => Format::Text,
    };
    init_adjustable(level, format, SystemClock::shared())?;
    Ok(())
}
