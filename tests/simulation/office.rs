//! The provisioning service: real routes and handlers over a real store, without a socket.

use std::fs;

use tessera_provisioning::driven::{Call, Driven};
use tessera_provisioning::ProvisioningConfig;
use tessera_token::key::Thumbprint;

use super::machine::{End, Machine};

pub const JSON: &str = "application/json";
pub const CBOR: &str = "application/cbor";
pub const ACE: &str = "application/ace+cbor";

pub struct Office {
    pub machine: Machine,
    driven: Option<Driven>,
    operator: String,
    feed: String,
    pub pin: Option<Thumbprint>,
}

impl Office {
    pub fn new(machine: Machine) -> Self {
        Self { machine, driven: None, operator: String::new(), feed: String::new(), pin: None }
    }

    pub fn is_up(&self) -> bool {
        self.driven.is_some()
    }

    /// Starts the process; its error when it does not start.
    pub async fn start(&mut self) -> Result<(), String> {
        let folder = self.machine.folder();
        let listen = ([127, 0, 0, 1], 0).into();
        let config = ProvisioningConfig::new(&folder, listen).map_err(|error| error.to_string())?;
        let (clock, random) = (self.machine.clock.clone(), self.machine.random());
        let driven = Driven::open(config, clock, random).await;
        let driven = driven.map_err(|error| error.to_string())?;
        let token = |file: &str| fs::read_to_string(folder.join(file)).unwrap().trim().to_owned();
        (self.operator, self.feed) = (token("operator.token"), token("feed.token"));
        let pin = driven.root_thumbprint();
        if self.pin.is_some_and(|known| known != pin) {
            return Err("a new root key".to_owned());
        }
        self.pin = Some(pin);
        driven.settle().await;
        self.driven = Some(driven);
        Ok(())
    }

    /// Ends the process; the next one begins with what it leaves.
    pub async fn end(&mut self, how: End, draw: u64, now: u64) {
        let Some(driven) = self.driven.take() else { return };
        let left = match how {
            End::Stop => {
                driven.close().await;
                self.machine.left(how, draw)
            }
            End::Kill | End::PowerCut => {
                let left = self.machine.left(how, draw);
                driven.abandon();
                left
            }
        };
        self.machine.next_life(now, Some(&left));
    }

    /// A request to its end; `None` when no server listens.
    pub async fn ask(&mut self, call: &Call) -> Option<(u16, Vec<u8>)> {
        Some(self.driven.as_ref()?.call(call).await)
    }

    /// From now on its database finds room for so many pages more; `None`: for all.
    pub fn set_room(&self, pages: Option<u32>) {
        if let Some(driven) = &self.driven {
            driven.set_room(pages);
        }
    }

    /// There is room on its disk again: it must go on without a restart.
    pub async fn has_room(&mut self) -> Result<(), String> {
        let Some(driven) = &self.driven else { return Ok(()) };
        match driven.look_for_room().await {
            true => Ok(()),
            false => Err("office does not go on although there is room again".to_owned()),
        }
    }

    /// Whether it says that its store does not write.
    pub async fn is_unwell(&mut self) -> bool {
        let call = self.of_operator(false, "/readyz".to_owned(), String::new());
        !matches!(self.ask(&call).await, Some((200, _)))
    }

    /// Its work after its answers.
    pub async fn settle(&mut self) {
        if let Some(driven) = &self.driven {
            driven.settle().await;
        }
    }

    pub async fn sweep(&mut self) {
        if let Some(driven) = &mut self.driven {
            // The next round goes on where one ended early.
            let _ = driven.sweep().await;
        }
    }

    pub fn of_operator(&self, post: bool, path: String, body: String) -> Call {
        let bearer = Some(self.operator.clone());
        Call { post, path, media: JSON, bearer, body: body.into_bytes() }
    }

    pub fn of_reader(&self, path: String) -> Call {
        let bearer = Some(self.feed.clone());
        Call { post: false, path, media: JSON, bearer, body: Vec::new() }
    }

    /// Evidence of a reader.
    pub fn of_shower(&self, path: String, body: Vec<u8>) -> Call {
        let bearer = Some(self.feed.clone());
        Call { post: true, path, media: CBOR, bearer, body }
    }

    pub fn of_device(path: &str, body: Vec<u8>) -> Call {
        Call { post: true, path: path.to_owned(), media: ACE, bearer: None, body }
    }
}
