//! Drives one connection: received packets, requests and pings.

use std::time::Duration;

use bytes::BytesMut;
use tokio::sync::mpsc;

use super::protocol::{Asked, Protocol};
use super::stream::ByteStream;
use super::{Challenge, Closed, Connect, Incoming, Obstacle};
use crate::limits;

/// A request by the user of a link, or bytes as they are.
pub(super) enum Order {
    Ask(Asked),
    Raw(Vec<u8>),
}

pub(super) struct Driver {
    stream: ByteStream,
    protocol: Protocol,
    keep_alive: Duration,
    inbox: BytesMut,
    out: BytesMut,
}

impl Driver {
    /// Sends CONNECT and waits for CONNACK. The caller bounds the time.
    ///
    /// # Errors
    /// [`Closed`].
    pub(super) async fn open(
        stream: ByteStream,
        connect: &Connect,
        challenge: Option<&Challenge<'_>>,
    ) -> Result<Self, Closed> {
        let protocol = Protocol::new(connect.version);
        let (inbox, out) = (BytesMut::new(), BytesMut::new());
        let keep_alive = connect.keep_alive;
        let mut driver = Self { stream, protocol, keep_alive, inbox, out };
        driver.protocol.connect(connect, challenge, &mut driver.out)?;
        let mut first = Vec::new();
        let welcomed = driver.welcome(challenge, &mut first).await;
        welcomed.map_err(|closed| match closed {
            Closed::Lost(why) => Closed::NotOpened(Obstacle::of_answer(&first, &why), why),
            other => other,
        })?;
        Ok(driver)
    }

    /// Writes the CONNECT and reads up to the CONNACK; `first` takes the first bytes of the answer.
    async fn welcome(
        &mut self,
        challenge: Option<&Challenge<'_>>,
        first: &mut Vec<u8>,
    ) -> Result<(), Closed> {
        self.write().await?;
        loop {
            if first.is_empty() {
                first.extend(self.inbox.iter().take(8));
            }
            let answered = challenge
                .map(|one| one.take(self.stream.channel(), &mut self.inbox, &mut self.out));
            if answered.transpose()? == Some(true) {
                self.write().await?;
            }
            if self.protocol.connected(&mut self.inbox, &mut self.keep_alive)? {
                return Ok(());
            }
            self.read().await?;
        }
    }

    /// Runs until one side ends it. Events from before the end are told before the end.
    pub(super) async fn run(
        mut self,
        mut asked: mpsc::Receiver<Order>,
        events: mpsc::Sender<Incoming>,
    ) {
        let closed = match self.serve(&mut asked, &events).await {
            Ok(()) => return,
            Err(closed) => closed,
        };
        // No receiver waits for it when the link was dropped.
        let _ = events.send(Incoming::Closed(closed)).await;
    }

    async fn serve(
        &mut self,
        asked: &mut mpsc::Receiver<Order>,
        events: &mpsc::Sender<Incoming>,
    ) -> Result<(), Closed> {
        // Packets that came with the CONNACK.
        self.hand_on(events).await?;
        // Without a keep-alive no ping is owed.
        let every = if self.keep_alive.is_zero() { limits::NO_KEEP_ALIVE } else { self.keep_alive };
        let mut ping = tokio::time::interval(every.max(Duration::from_secs(1)));
        ping.tick().await;
        loop {
            tokio::select! {
                read = self.stream.read(&mut self.inbox) => {
                    let ended = matches!(read, Ok(0));
                    read.map_err(|error| Closed::Lost(error.to_string()))?;
                    self.hand_on(events).await?;
                    if ended {
                        return Err(Closed::Lost("the broker closed the connection".to_owned()));
                    }
                }
                one = asked.recv(), if self.protocol.has_room() => {
                    match one {
                        None => return Ok(()),
                        Some(Order::Ask(one)) => self.protocol.ask(one, &mut self.out)?,
                        Some(Order::Raw(bytes)) => self.out.extend_from_slice(&bytes),
                    }
                }
                _ = ping.tick() => self.protocol.ask(Asked::Ping, &mut self.out)?,
            }
            self.write().await?;
        }
    }

    async fn hand_on(&mut self, events: &mpsc::Sender<Incoming>) -> Result<(), Closed> {
        while let Some(told) = self.protocol.next(&mut self.inbox, &mut self.out)? {
            if let Some(event) = told {
                let gone = |_| Closed::Lost("closed".to_owned());
                events.send(event).await.map_err(gone)?;
            }
        }
        Ok(())
    }

    async fn read(&mut self) -> Result<(), Closed> {
        match self.stream.read(&mut self.inbox).await {
            Ok(0) => Err(Closed::Lost("the broker closed the connection".to_owned())),
            Ok(_) => Ok(()),
            Err(error) => Err(Closed::Lost(error.to_string())),
        }
    }

    /// Writes what is ready, within [`limits::ANSWER`].
    async fn write(&mut self) -> Result<(), Closed> {
        let bytes = self.out.split();
        match tokio::time::timeout(limits::ANSWER, self.stream.write(&bytes)).await {
            Ok(written) => written.map_err(|error| Closed::Lost(error.to_string())),
            Err(_) => Err(Closed::Lost("the broker takes nothing".to_owned())),
        }
    }
}
