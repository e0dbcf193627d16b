use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tessera_token::ids::{DeviceId, TenantId};
use tessera_token::refusal::RefusalCode;

use super::shape;
use crate::limits::{
    INVENTORY_DEVICES, INVENTORY_EVERY, INVENTORY_FIRST, INVENTORY_LINES, INVENTORY_REFUSED,
    INVENTORY_SHAPES, TOPIC_BYTES,
};

/// An act of a device with a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Publish,
    Subscribe,
}

impl Operation {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Subscribe => "subscribe",
        }
    }
}

/// A topic or filter that a device used, or was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Use {
    pub(crate) operation: Operation,
    /// The shape of the topic. One that ends with `#` stands for several when a device uses too many.
    pub(crate) topic: Arc<str>,
    /// Why it was refused; `None` when it was not.
    pub(crate) refused: Option<RefusalCode>,
    /// Since it was last told.
    pub(crate) count: u32,
    /// Whether it goes on without a packet: a subscription of an open session.
    held: bool,
}

/// All that a device used since it was last told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DeviceUses {
    pub(crate) tenant: TenantId,
    pub(crate) device: DeviceId,
    pub(crate) uses: Vec<Use>,
}

/// The topics that devices used, until they are told.
#[derive(Default)]
pub(crate) struct Book {
    tenants: HashMap<TenantId, Tenant>,
    devices: usize,
    /// Devices and refused topics for which there was no room.
    left_out: u64,
}

#[derive(Default)]
struct Tenant {
    devices: HashMap<DeviceId, Device>,
    shapes: HashSet<Arc<str>>,
}

struct Device {
    uses: Vec<Use>,
    /// Open connections.
    open: u32,
    due: Duration,
}

impl Book {
    /// Notes that a connection of a device was opened.
    pub(crate) fn opened(&mut self, tenant: &TenantId, device: &DeviceId, now: Duration) {
        if let Some((device, _)) = self.device(tenant, device, now) {
            device.open = device.open.saturating_add(1);
        }
    }

    /// Notes that a connection of a device ended.
    pub(crate) fn closed(&mut self, tenant: &TenantId, device: &DeviceId) {
        let found = self.tenants.get_mut(tenant);
        let Some(device) = found.and_then(|tenant| tenant.devices.get_mut(device)) else { return };
        device.open = device.open.saturating_sub(1);
        if device.open == 0 {
            device.uses.iter_mut().for_each(|one| one.held = false);
        }
    }

    /// Notes that a device used a topic or filter so often.
    pub(crate) fn used(
        &mut self,
        (tenant, device): (&TenantId, &DeviceId),
        (operation, topic): (Operation, &str),
        count: u32,
        now: Duration,
    ) {
        let shape = shape::of(topic, device.as_str());
        let share = self.share();
        let Some((device, shapes)) = self.device(tenant, device, now) else { return };
        let held = operation == Operation::Subscribe && device.open > 0;
        // A text that was cut is no topic.
        let mut shape = match is_cut(topic) {
            true => shape::widened(&shape, 1),
            false => shape,
        };
        let mut levels = 3;
        loop {
            if let Some(known) = device.find(operation, &shape, None) {
                known.count = known.count.saturating_add(count);
                known.held |= held;
                return;
            }
            // The widest of all has room always.
            let lines = INVENTORY_LINES + 3 - levels;
            let room = device.used() < lines && (shapes.len() < share || shapes.contains(&*shape));
            if room || levels == 0 {
                break;
            }
            levels = (0..levels).rev().find(|less| shape::is_deeper(&shape, *less)).unwrap_or(0);
            shape = shape::widened(&shape, levels);
        }
        let topic = shared(shapes, &shape);
        device.uses.push(Use { operation, topic, refused: None, count, held });
    }

    /// Notes that a device was refused a topic or filter.
    pub(crate) fn refused(
        &mut self,
        (tenant, device): (&TenantId, &DeviceId),
        (operation, topic): (Operation, &str),
        code: RefusalCode,
        now: Duration,
    ) {
        if is_cut(topic) {
            return;
        }
        let shape = shape::of(topic, device.as_str());
        let share = self.share();
        let mut left_out = false;
        if let Some((device, shapes)) = self.device(tenant, device, now) {
            if let Some(known) = device.find(operation, &shape, Some(code)) {
                known.count = known.count.saturating_add(1);
                return;
            }
            let refused = device.uses.len() - device.used();
            left_out = refused >= INVENTORY_REFUSED
                || (shapes.len() >= share && !shapes.contains(&*shape));
            if !left_out {
                let topic = shared(shapes, &shape);
                let refused = Some(code);
                device.uses.push(Use { operation, topic, refused, count: 1, held: false });
            }
        }
        self.left_out += u64::from(left_out);
    }

    /// Takes devices that are to be told, at most so many. They begin anew.
    pub(crate) fn take(&mut self, now: Duration, most: usize) -> Vec<DeviceUses> {
        let (mut taken, mut gone) = (Vec::new(), false);
        for (tenant, of) in &mut self.tenants {
            of.devices.retain(|device, state| {
                if state.due > now || taken.len() >= most {
                    return true;
                }
                let uses = state.told(now);
                let stays = state.open > 0 || !uses.is_empty();
                if !uses.is_empty() {
                    taken.push(DeviceUses { tenant: tenant.clone(), device: device.clone(), uses });
                }
                gone |= !stays;
                stays
            });
        }
        if gone || !taken.is_empty() {
            self.tidy();
        }
        taken
    }

    /// Shapes that none uses any more make room, but not those that are on their way.
    fn tidy(&mut self) {
        self.tenants.retain(|_, tenant| {
            tenant.shapes.retain(|shape| Arc::strong_count(shape) > 1);
            !tenant.devices.is_empty()
        });
        self.devices = self.tenants.values().map(|tenant| tenant.devices.len()).sum();
    }

    /// How many devices there are.
    pub(crate) fn len(&self) -> usize {
        self.devices
    }

    /// Devices and refused topics for which there was no room so far.
    pub(crate) fn left_out(&self) -> u64 {
        self.left_out
    }

    /// Shapes that each tenant may have.
    fn share(&self) -> usize {
        INVENTORY_SHAPES / self.tenants.len().max(1)
    }

    /// The device, with the shapes of its tenant. A tenant that has its share makes room for none when the book is three
    /// quarters full.
    fn device(
        &mut self,
        tenant: &TenantId,
        device: &DeviceId,
        now: Duration,
    ) -> Option<(&mut Device, &mut HashSet<Arc<str>>)> {
        let tenants = self.tenants.len().max(1);
        if !self.tenants.contains_key(tenant) {
            if tenants >= INVENTORY_DEVICES {
                self.left_out += 1;
                return None;
            }
            self.tenants.insert(tenant.clone(), Tenant::default());
        }
        let of = self.tenants.get_mut(tenant)?;
        if !of.devices.contains_key(device) {
            let full = self.devices >= INVENTORY_DEVICES
                || (self.devices >= INVENTORY_DEVICES / 4 * 3
                    && of.devices.len() >= INVENTORY_DEVICES / tenants);
            if full {
                self.left_out += 1;
                return None;
            }
            self.devices += 1;
            let new = Device { uses: Vec::new(), open: 0, due: now + INVENTORY_FIRST };
            of.devices.insert(device.clone(), new);
        }
        Some((of.devices.get_mut(device)?, &mut of.shapes))
    }
}

impl Device {
    fn find(
        &mut self,
        operation: Operation,
        shape: &str,
        refused: Option<RefusalCode>,
    ) -> Option<&mut Use> {
        self.uses.iter_mut().find(|one| {
            one.operation == operation && one.refused == refused && &*one.topic == shape
        })
    }

    /// How many of its lines are not about refusals.
    fn used(&self) -> usize {
        self.uses.iter().filter(|one| one.refused.is_none()).count()
    }

    /// Its lines, and none but those that go on is left.
    fn told(&mut self, now: Duration) -> Vec<Use> {
        self.due = now + INVENTORY_EVERY;
        let held: Vec<Use> = self.uses.iter().filter(|one| one.held).cloned().collect();
        let told = std::mem::replace(&mut self.uses, held);
        self.uses.iter_mut().for_each(|one| one.count = 0);
        self.uses.shrink_to_fit();
        told
    }
}

/// The one copy of a shape.
fn shared(shapes: &mut HashSet<Arc<str>>, shape: &str) -> Arc<str> {
    match shapes.get(shape) {
        Some(known) => Arc::clone(known),
        None => {
            let new: Arc<str> = shape.into();
            shapes.insert(Arc::clone(&new));
            new
        }
    }
}

/// Whether a text was cut and ends with a mark of the whole, as the observer keeps long ones.
fn is_cut(topic: &str) -> bool {
    let mark = topic.len().checked_sub(17).and_then(|at| topic.get(at..));
    topic.len() > TOPIC_BYTES - 4
        && mark
            .and_then(|mark| mark.strip_prefix('~'))
            .is_some_and(|mark| mark.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')))
}
