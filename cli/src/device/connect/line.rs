//! One connection of a device with a folder: a fresh password, its subscriptions.

use serde_json::{json, Value};
use tessera_simulators::device::renewal::TOKEN_TOPIC;
use tessera_simulators::device::unverified_claims::unverified_claims;
use tessera_simulators::limits;
use tessera_simulators::mqtt::{Closed, Connect, Incoming, Link, Session, Told, Version};
use tessera_token::claims::Claims;
use tessera_token::encoding::base64url;

use super::super::end::End;
use super::super::enrol::clock;
use super::super::folder::{Card, Folder};
use super::super::password::{self, AFTER_NEW_TOKEN};
use super::super::token::{kind, refresh};
use crate::args::ConnectArgs;
use crate::error::Fault;
use crate::output;

/// The device, and where it connects.
pub(super) struct Line<'a> {
    pub(super) folder: &'a Folder,
    pub(super) card: Card,
    args: &'a ConnectArgs,
}

impl<'a> Line<'a> {
    pub(super) fn of(folder: &'a Folder, args: &'a ConnectArgs) -> Result<Self, Fault> {
        Ok(Self { folder, card: folder.card()?, args })
    }

    /// Connects; after a refusal once more with a new token. The held one may have been ended while the device was
    /// away, and a new one corrects the clock.
    pub(super) async fn open(&self) -> Result<Link, End> {
        let connect = self.prepare().await.map_err(End::Fault)?;
        let opened = match Link::open(&connect).await {
            Err(Closed::Refused(reason)) if !Told::of(&reason).is_passing() => {
                output::complain(&format!("refused ({reason}); once more with a new token"));
                self.open_again().await?
            }
            opened => opened.map_err(End::Closed)?,
        };
        output::complain(&format!("connected to {} as {}", connect.broker, self.card.device));
        Ok(opened)
    }

    async fn open_again(&self) -> Result<Link, End> {
        let card = self.folder.card().map_err(End::Fault)?;
        let renewed = refresh(self.folder, &card, &clock(&card), kind(self.folder)).await;
        renewed.map_err(End::Fault)?;
        // An old copy of the counter goes on from the time: above all proofs of the seconds before.
        tokio::time::sleep(AFTER_NEW_TOKEN).await;
        let connect = self.prepare().await.map_err(End::Fault)?;
        Link::open(&connect).await.map_err(End::Closed)
    }

    /// A CONNECT with a fresh password.
    async fn prepare(&self) -> Result<Connect, Fault> {
        // The clock and the token may be newer than at the start.
        let (folder, card, args) = (self.folder, self.folder.card()?, self.args);
        let broker = args.at.tls.broker(&args.at.mqtt, card.trust())?;
        let id = card.device.clone();
        let password = password::make(folder, &card, &id, args.at.verifier.as_ref()).await?;
        Ok(Connect {
            broker,
            username: id.clone(),
            client_id: id,
            password: base64url(&password),
            version: if args.v5 { Version::V5 } else { Version::V311 },
            keep_alive: limits::KEEP_ALIVE,
            session: Session::default(),
        })
    }

    fn claims(&self) -> Result<Claims, Fault> {
        unverified_claims(&self.folder.token()?.bytes)
            .ok_or_else(|| Fault::new("the folder holds something that is no token"))
    }

    /// Where to publish: as asked, else the first topic that the token allows.
    pub(super) fn topic(&self) -> Result<Option<String>, Fault> {
        if self.args.topic.is_some() {
            return Ok(self.args.topic.clone());
        }
        let claims = self.claims()?;
        let mut entries = claims.scope.entries().iter();
        let found = entries.find(|entry| entry.permission.publish() && entry.filter.is_exact());
        Ok(found.map(|entry| entry.filter.as_str().to_owned()))
    }

    /// Subscribes to what was asked for, else to everything that the token allows; first to the topic of tokens when
    /// they are renewed. Messages that come meanwhile are printed.
    pub(super) async fn subscribe(&self, link: &mut Link, renews: bool) -> Result<(), Fault> {
        if renews {
            link.subscribe(TOKEN_TOPIC)?;
            self.granted(link, TOKEN_TOPIC).await?;
        }
        let filters = match self.args.subscribe.as_slice() {
            [] => {
                let claims = self.claims()?;
                let entries = claims.scope.entries().iter();
                let allowed = entries.filter(|entry| entry.permission.subscribe());
                allowed.map(|entry| entry.filter.as_str().to_owned()).collect()
            }
            asked => asked.to_vec(),
        };
        for filter in filters {
            link.subscribe(&filter)?;
            self.granted(link, &filter).await?;
            output::complain(&format!("subscribed to {filter}"));
        }
        Ok(())
    }

    /// Waits for SUBACK.
    async fn granted(&self, link: &mut Link, filter: &str) -> Result<(), Fault> {
        let wait = async {
            loop {
                match link.next().await {
                Incoming::Subscribed => return Ok(()),
                Incoming::SubscribeRefused(why) => return Err(Fault::new(format!(
                    "refused ({why}): subscribe to {filter}"
                ))
                .hint(
                    "subscribe_not_authorised: no single entry of the token's scope covers this \
                            filter",
                )),
                Incoming::Closed(closed) => return Err(ended(&closed)),
                Incoming::Message { topic, payload } => self.print(&topic, &payload),
                Incoming::Published | Incoming::Completed | Incoming::PublishRefused(_) => {}
            }
            }
        };
        let late =
            || Err(Fault::new(format!("no answer in time: subscribe to {filter}")).passing(true));
        tokio::time::timeout(limits::ANSWER, wait).await.unwrap_or_else(|_| late())
    }

    /// Prints a message.
    pub(super) fn print(&self, topic: &str, payload: &[u8]) {
        match self.args.json {
            true => output::line(&as_json(topic, payload).to_string()),
            false => output::line(&format!("{topic} {}", String::from_utf8_lossy(payload))),
        }
    }
}

/// The end of a connection that had work to do.
pub(super) fn ended(closed: &Closed) -> Fault {
    let passing = matches!(closed, Closed::Lost(_) | Closed::Silent | Closed::NotOpened(..));
    Fault::new(closed.to_string()).passing(passing).hint(
        "a publish or subscription outside the scope may end a 3.1.1 connection: tessera device \
            doctor tries them",
    )
}

/// A message as JSON. A payload that is not text is base64url.
fn as_json(topic: &str, payload: &[u8]) -> Value {
    match std::str::from_utf8(payload) {
        Ok(text) => json!({ "topic": topic, "payload": text }),
        Err(_) => json!({ "topic": topic, "payload_base64url": base64url(payload) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_as_json_keeps_every_byte() {
        assert_eq!(as_json("a", b"21.5"), json!({ "topic": "a", "payload": "21.5" }));
        assert_eq!(as_json("a", &[0xff]), json!({ "topic": "a", "payload_base64url": "_w" }));
    }
}
