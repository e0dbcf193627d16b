use tessera_simulators::device::peek::unverified_claims;
use tessera_simulators::limits;
use tessera_simulators::wire::{Closed, Connect, Incoming, Link, Version};
use tessera_token::claims::Claims;
use tessera_token::text::base64url;
use tokio::io::{AsyncBufReadExt, BufReader};

use super::enrol::clock;
use super::folder::{Card, Folder};
use super::password;
use super::token::{kind, refresh};
use crate::args::ConnectArgs;
use crate::fault::{Fault, Outcome};
use crate::out;

pub(super) async fn run(args: ConnectArgs) -> Outcome {
    let folder = Folder::of(&args.folder);
    let card = folder.card()?;
    let connect = prepare(&folder, &card, &args).await?;
    let mut link = match Link::open(&connect).await {
        Err(Closed::Refused(reason)) => {
            out::complain(&format!("refused ({reason}); once more with a new token"));
            again(&folder, &card, &args).await?
        }
        opened => opened.map_err(|closed| refused(&closed, &folder))?,
    };
    let claims = unverified_claims(&folder.token()?.bytes)
        .ok_or_else(|| Fault::new("the folder holds something that is no token"))?;
    out::complain(&format!("connected to {} as {}", connect.broker, card.device));
    for filter in filters(&args, &claims) {
        link.subscribe(&filter)?;
        answered(&mut link, &format!("subscribed to {filter}")).await?;
    }
    let topic = args.topic.clone().or_else(|| first_topic(&claims));
    match args.test {
        true => test(link, topic).await,
        false => relay(link, topic).await,
    }
}

/// The held token may have been ended while the device was away: a new one tells whether the device itself was.
async fn again(folder: &Folder, card: &Card, args: &ConnectArgs) -> Result<Link, Fault> {
    refresh(folder, card, &clock(card), kind(folder)).await?;
    // The new token has corrected the clock.
    let connect = prepare(folder, &folder.card()?, args).await?;
    Link::open(&connect).await.map_err(|closed| refused(&closed, folder))
}

/// A CONNECT with a fresh password.
pub(super) async fn prepare(
    folder: &Folder,
    card: &Card,
    args: &ConnectArgs,
) -> Result<Connect, Fault> {
    let broker = args.tls.broker(&args.mqtt, card.trust())?;
    Ok(Connect {
        broker,
        client_id: card.device.clone(),
        username: card.device.clone(),
        password: base64url(
            &password::make(folder, card, &card.device, args.verifier.as_ref()).await?,
        ),
        version: if args.v5 { Version::V5 } else { Version::V311 },
        keep_alive: limits::KEEP_ALIVE,
    })
}

/// The first topic that the token allows publishing to.
pub(super) fn first_topic(claims: &Claims) -> Option<String> {
    let mut entries = claims.scope.entries().iter();
    let found = entries.find(|entry| entry.permission.publish() && entry.filter.is_exact());
    found.map(|entry| entry.filter.as_str().to_owned())
}

fn filters(args: &ConnectArgs, claims: &Claims) -> Vec<String> {
    if !args.subscribe.is_empty() {
        return args.subscribe.clone();
    }
    let allowed = claims.scope.entries().iter().filter(|entry| entry.permission.subscribe());
    allowed.map(|entry| entry.filter.as_str().to_owned()).collect()
}

fn refused(closed: &Closed, folder: &Folder) -> Fault {
    let dir = folder.path().display();
    let fault = Fault::new(closed.to_string());
    match closed {
        Closed::Refused(_) => {
            fault.hint(format!("the wire does not say why; ask: tessera device doctor --dir {dir}"))
        }
        _ => fault.hint("is the broker running, and is --mqtt right?"),
    }
}

async fn answered(link: &mut Link, done: &str) -> Result<(), Fault> {
    match link.answer().await {
        Incoming::Subscribed | Incoming::Published => {
            out::complain(done);
            Ok(())
        }
        Incoming::SubscribeRefused(why) => Err(Fault::new(format!(
            "refused ({why}), instead of: {done}"
        ))
        .hint("subscribe_not_authorised: no single entry of the token's scope covers this filter")),
        Incoming::PublishRefused(why) => {
            Err(Fault::new(format!("refused ({why}), instead of: {done}"))
                .hint("publish_not_authorised: the token's scope does not allow this topic"))
        }
        Incoming::Closed(closed) => Err(Fault::new(closed.to_string()).hint(
            "a publish or subscription outside the scope may end a 3.1.1 connection; try --v5",
        )),
        Incoming::Message { .. } => Ok(()),
    }
}

async fn test(mut link: Link, topic: Option<String>) -> Outcome {
    let topic =
        topic.ok_or_else(|| Fault::new("the token allows publishing to no single topic"))?;
    link.publish(&topic, true, b"{\"test\":true}".to_vec())?;
    answered(
        &mut link,
        &format!("published a test message to {topic}; the broker acknowledged it"),
    )
    .await?;
    link.close().await;
    Ok(0)
}

/// Publishes each line of the input, prints each message, until the input ends or the connection does.
async fn relay(mut link: Link, topic: Option<String>) -> Outcome {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let (mut under_way, mut published) = (0u32, 0u64);
    let mut open = true;
    while open || under_way > 0 {
        tokio::select! {
            event = link.next() => match event {
                Incoming::Closed(closed) => return Err(Fault::new(closed.to_string())),
                Incoming::Message { topic, payload } => {
                    out::line(&format!("{topic} {}", String::from_utf8_lossy(&payload)));
                }
                Incoming::Published => {
                    under_way = under_way.saturating_sub(1);
                    published += 1;
                }
                Incoming::PublishRefused(why) => {
                    under_way = under_way.saturating_sub(1);
                    out::complain(&format!("publish refused: {why}"));
                }
                Incoming::Subscribed | Incoming::SubscribeRefused(_) => {}
            },
            line = lines.next_line(), if open && under_way < u32::from(limits::IN_FLIGHT) => match line? {
                Some(line) => {
                    let topic = topic.as_deref()
                        .ok_or_else(|| Fault::new("say where to publish: --topic TOPIC"))?;
                    link.publish(topic, true, line.into_bytes())?;
                    under_way += 1;
                }
                None => open = false,
            },
            _ = tokio::signal::ctrl_c() => break,
        }
    }
    link.close().await;
    out::complain(&format!("the broker acknowledged {published} messages"));
    Ok(0)
}
