//! The online roots of this service: those that links have led away from, and the one that signs now.

use tessera_token::key::{PublicKey, Thumbprint};
use tessera_token::time::UnixSeconds;
use tessera_token::trust::{Change, RootLink, Shown, TrustError};

use crate::limits::{EPOCHS_AHEAD_SECONDS, UNKNOWN_JUMP};

/// Every online root of the line. A reader may hold data that a former one signed.
pub(crate) struct OnlineRoots {
    keys: Vec<PublicKey>,
    /// Those that may be in other hands.
    stolen: Vec<Thumbprint>,
}

impl OnlineRoots {
    /// The roots of these links, which are verified; `first` when there are none.
    pub(crate) fn of(first: &PublicKey, links: &[Vec<u8>]) -> Result<Self, TrustError> {
        let mut roots = Self { keys: vec![first.clone()], stolen: Vec::new() };
        for link in links {
            let link = RootLink::from_cbor(link)?;
            let step = link.step();
            for name in [step.from.online, step.to.online] {
                if let Some(key) = link.signer(&name).filter(|key| !roots.keys.contains(key)) {
                    roots.keys.push(key.clone());
                }
            }
            if step.compromised && step.from.online != step.to.online {
                roots.stolen.push(step.from.online);
            }
        }
        // The newest first: it has signed most of what is shown.
        roots.keys.reverse();
        Ok(roots)
    }

    pub(crate) fn keys(&self) -> &[PublicKey] {
        &self.keys
    }

    /// Takes out of evidence what a thief of a root may have signed to use up numbers: no honest service of this line has
    /// come so far. `seq` is the newest number of this service. Gives how many parts were taken out.
    ///
    /// The rest counts. A thief may have revoked with it, which an operator takes back; without it a restored service would
    /// forget what the honest service has revoked.
    pub(crate) fn bound(&self, shown: &mut Shown, seq: u64, now: UnixSeconds) -> usize {
        if !shown.signers.iter().any(|name| self.stolen.contains(name)) {
            return 0;
        }
        let before = shown.marks.len() + shown.changes.len();
        let last = seq.saturating_add(UNKNOWN_JUMP);
        shown.marks.retain(|(seq, _)| *seq <= last);
        let newest = shown.marks.iter().max_by_key(|(seq, _)| *seq).copied();
        (shown.seq, shown.head) = newest.unwrap_or_default();
        let most = now.get().saturating_add(EPOCHS_AHEAD_SECONDS);
        shown.changes.retain(|change| epoch(change) <= most);
        before - shown.marks.len() - shown.changes.len()
    }
}

/// The epoch of the subject; 0 of a change that has none.
pub(crate) const fn epoch(change: &Change) -> u64 {
    match change {
        Change::Tenant(tenant) => tenant.epoch,
        Change::Group(group) => group.epoch,
        Change::Device(device) => device.epoch,
        Change::Key(_) | Change::Token(_) | Change::DeviceKey(_) => 0,
        Change::Rule(_) | Change::Restraint(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use tessera_token::ids::{GroupId, TenantId};
    use tessera_token::key::SecretKey;
    use tessera_token::trust::{EventHash, GroupEpoch, RootSet, Roots};

    use super::*;

    const NOW: UnixSeconds = UnixSeconds::new(1_800_000_000);

    fn key(seed: u8) -> SecretKey {
        SecretKey::from_seed(&[seed; 32])
    }

    fn name(seed: u8) -> Thumbprint {
        key(seed).public().thumbprint()
    }

    /// From the root 1 to 2, and after a theft to 3.
    fn line() -> OnlineRoots {
        let mut set = RootSet::pinned(Roots { online: name(1), offline: None });
        let mut links = Vec::new();
        for (seed, compromised) in [(2, false), (3, true)] {
            let to = Roots { online: name(seed), offline: None };
            let mut link = RootLink::new(set.next(to, NOW, compromised));
            assert!(link.sign(&key(seed)) && link.sign(&key(seed - 1)));
            set = set.step(&link).unwrap();
            links.push(link.to_cbor());
        }
        OnlineRoots::of(&key(1).public(), &links).unwrap()
    }

    fn shown(by: u8) -> Shown {
        let mark = |seq| (seq, EventHash::from_bytes([1; 32]));
        let marks = vec![mark(5), mark(7 + UNKNOWN_JUMP), mark(8 + UNKNOWN_JUMP)];
        let tenant = TenantId::parse("t").unwrap();
        let group = |epoch| {
            let (tenant, group) = (tenant.clone(), GroupId::parse("g").unwrap());
            Change::Group(GroupEpoch { tenant, group, number: 0, epoch, announced_until: None })
        };
        let most = NOW.get() + EPOCHS_AHEAD_SECONDS;
        let changes = vec![group(1), group(most), group(most + 1)];
        let (seq, head) = marks[2];
        Shown { seq, head, marks, changes, signers: vec![name(by)] }
    }

    #[test]
    fn every_online_root_of_the_line_is_known_the_newest_first() {
        let names: Vec<Thumbprint> = line().keys().iter().map(PublicKey::thumbprint).collect();
        assert_eq!(names, [name(3), name(2), name(1)]);
        let alone = OnlineRoots::of(&key(1).public(), &[]).unwrap();
        assert_eq!(alone.keys(), [key(1).public()]);
    }

    #[test]
    fn a_stolen_root_uses_up_no_numbers() {
        for by in [1, 3] {
            let mut honest = shown(by);
            assert_eq!(line().bound(&mut honest, 7, NOW), 0);
            assert_eq!(honest, shown(by));
        }
        let mut stolen = shown(2);
        assert_eq!(line().bound(&mut stolen, 7, NOW), 2);
        assert_eq!(
            (stolen.seq, stolen.marks.len(), stolen.changes.len()),
            (7 + UNKNOWN_JUMP, 2, 2)
        );
        stolen.marks.clear();
        line().bound(&mut stolen, 7, NOW);
        assert_eq!((stolen.seq, stolen.head), (0, EventHash::default()));
    }
}
