//! The token of one connection in the hands of its device.

use std::sync::Arc;

use tessera_runtime::random::SystemRandom;
use tessera_simulators::device::api::DeviceApi;
use tessera_simulators::device::clock::DeviceClock;
use tessera_simulators::device::credential::HeldToken;
use tessera_simulators::device::identity::Identity;
use tessera_simulators::device::renewal::Holder;
use tessera_token::messages::TokenKind;

use super::enrol::clock;
use super::folder::{Card, Folder};
use crate::error::Fault;

/// The device of a folder, with the token that a connection goes by.
pub(super) struct Holding {
    pub(super) identity: Identity,
    pub(super) api: DeviceApi,
    pub(super) clock: Arc<DeviceClock>,
    pub(super) token: HeldToken,
}

impl Holding {
    /// As the folder is now.
    pub(super) fn of(folder: &Folder) -> Result<Self, Fault> {
        let card = folder.card()?;
        Ok(Self {
            identity: folder.identity(&card)?,
            api: card.api()?,
            clock: clock(&card),
            token: folder.token()?,
        })
    }

    /// Input of a renewal that asks for this kind of token.
    pub(super) fn holder(&self, kind: TokenKind) -> Holder<'_> {
        let Self { identity, api, clock, token } = self;
        Holder { identity, clock, random: &SystemRandom, api, token, kind }
    }

    /// Goes by a new token from now on, and keeps it in the folder with the clock that it set.
    pub(super) fn take(&mut self, token: HeldToken, folder: &Folder) -> Result<(), Fault> {
        let kept = self.keep(&token, folder);
        self.token = token;
        kept
    }

    /// The token before the clock: nothing may be signed for an earlier token by the time of a later one.
    fn keep(&self, token: &HeldToken, folder: &Folder) -> Result<(), Fault> {
        folder.keep_token(token)?;
        let card = folder.card()?;
        folder.keep_card(&Card { clock_correction: self.clock.correction(), ..card })
    }
}
