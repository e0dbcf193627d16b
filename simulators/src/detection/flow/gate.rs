//! Attacks on a tenant, and the refused peers that are always there.

use tessera_token::refusal::RefusalCode;

use super::super::dice::Dice;
use super::super::scenario::Spec;
use super::super::world::{RunMillis, Step, World, HOUR, SECOND, SLOT};
use super::device::Device;
use super::record::{Address, Sink, Stranger};

/// Devices that are looked at to find one that can send.
const TRIES: usize = 8;

/// The attacks on a tenant, and the refused peers that are always there.
#[derive(Debug)]
pub(super) struct Gate {
    pub(super) tenant: u32,
    pub(super) queue: Vec<usize>,
    pub(super) hours: f64,
    pub(super) next_at: RunMillis,
    pub(super) attack: Option<Outer>,
    pub(super) dice: Dice,
    pub(super) background_at: RunMillis,
}

/// An attack on a tenant.
#[derive(Debug)]
pub(super) struct Outer {
    pub(super) cell: usize,
    pub(super) instance: u64,
    pub(super) begin: RunMillis,
    pub(super) end: RunMillis,
    pub(super) next: RunMillis,
    pub(super) acts: u64,
    pub(super) first_network: u16,
}

/// Scanners, and settings of long ago: they are refused at any time and are no attack.
pub(super) fn background(world: &World, gate: &mut Gate, now: RunMillis, sink: &mut Sink) {
    if world.background_per_hour <= 0.0 {
        return;
    }
    let Some(tenant) = world.tenants.get(gate.tenant as usize) else { return };
    while gate.background_at < now + SLOT {
        let at = gate.background_at;
        let gap = HOUR as f64 / world.background_per_hour * gate.dice.exponential();
        gate.background_at += (gap as u64).max(SECOND);
        if at < now {
            continue;
        }
        let stranger = match gate.dice.below(3) {
            0 => {
                let number = gate.dice.below(20);
                let word = Dice::of(world.seed, "old setting", number).word();
                Stranger {
                    code: RefusalCode::KeyUnknown,
                    address: Address::Foreign(word as u16, (word >> 16) as u8),
                    name: Some(format!("site-{number}")),
                    credential: (word >> 32) as u32 | 1,
                }
            }
            number => {
                let names = ["admin", "root", "test", "mqtt", "user", "guest", "sensor"];
                let name = gate.dice.pick(&names).map(|name| (*name).to_owned());
                let has_one = number == 1;
                Stranger {
                    code: match has_one {
                        true => RefusalCode::CredentialMalformed,
                        false => RefusalCode::CredentialMissing,
                    },
                    address: Address::Foreign(gate.dice.word() as u16, gate.dice.word() as u8),
                    name,
                    credential: if has_one { gate.dice.word() as u32 | 1 } else { 0 },
                }
            }
        };
        sink.stranger(at, tenant.first, stranger);
    }
}

/// One guess of a name and a password.
pub(super) fn guess(world: &World, gate: &mut Gate, attack: &Outer, spec: &Spec, sink: &mut Sink) {
    let Some(tenant) = world.tenants.get(gate.tenant as usize) else { return };
    let number = attack.acts % 1_000;
    let name = match number % 2 {
        0 => {
            let device = number * 7_919 % u64::from(tenant.devices);
            world.names.device(tenant.first + device as u32).to_owned()
        }
        _ => format!("user{number}"),
    };
    let network = gate.dice.below(spec.networks) as u16;
    let codes = [
        RefusalCode::KeyUnknown,
        RefusalCode::SignatureInvalid,
        RefusalCode::CredentialMalformed,
        RefusalCode::TokenMalformed,
    ];
    let stranger = Stranger {
        code: gate.dice.pick(&codes).copied().unwrap_or(RefusalCode::KeyUnknown),
        address: Address::Foreign(
            attack.first_network.wrapping_add(network),
            gate.dice.word() as u8,
        ),
        name: Some(name),
        credential: gate.dice.word() as u32 | 1,
    };
    sink.stranger(attack.next, tenant.first, stranger);
}

/// One foreign topic from some device of the tenant that can send.
pub(super) fn probe(
    world: &World,
    gate: &mut Gate,
    devices: &mut [Device],
    at: RunMillis,
) -> Option<u32> {
    let tenant = world.tenants.get(gate.tenant as usize)?;
    let some = |dice: &mut Dice| tenant.first + dice.below(u64::from(tenant.devices)) as u32;
    for _ in 0..TRIES {
        let (number, of) = (some(&mut gate.dice), some(&mut gate.dice));
        let device = devices.get_mut(number as usize)?;
        let group = world.groups.get(device.group as usize)?;
        let is_ready = device.attack.is_none() && !group.traits.service && number != of;
        if is_ready && device.is_active(at) && (device.up || group.traits.visits) {
            device.later(at, Step::Probe { of });
            device.wake = device.wake.min(at);
            return Some(number);
        }
    }
    None
}
