//! Places of connects, by the observer's location files: a country at which a group never was, and a speed that nothing
//! travels.
//!
//! No part of it alarms alone: an event needs a country that is new to the group, and either a session that is open
//! elsewhere or such a speed. Where nothing is known of an address, nothing is said.
//!
//! Nothing of it is kept over a restart: groups are learned anew for a day, silently.

use std::collections::VecDeque;

use hashbrown::HashMap;

use super::{hash, limits};
use crate::observation::Place;

const DAY: u32 = 86_400;
/// A group says nothing before it was watched for a day and has connected so often.
const LEAST_CONNECTS: u32 = 20;
/// Devices of a tenant in one network that make it a site: an office, or the exit of a carrier.
const SITE: u32 = 5;
/// Devices of a group that come to one new country within an hour: the group moved, or its carrier did.
const TOGETHER: u32 = 3;
/// Faster than an aircraft.
const FASTEST_KM_H: f32 = 1000.0;
/// Seconds that an event waits for others that come to the same country.
const WAIT: u32 = 600;
const LEAST_KM: f32 = 100.0;
const LEAST_SECONDS: u32 = 600;
const WIDEST_KM: u16 = 200;

/// Autonomous systems and countries known of one group.
const KNOWN: usize = 64;

/// A connect, as far as places go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    pub(super) tenant: u32,
    pub(super) group: u32,
    /// The place of the device in its table, and the mark of its name.
    pub(super) device: (u32, u64),
    /// The mark of its network: a prefix, so that an address that changes within it is the same.
    pub(super) network: u32,
    pub(super) place: Place,
    /// Seconds of the engine's time.
    pub(super) at: u32,
    /// Whether a session of the device is open in another network.
    pub(super) overlaps: bool,
}

/// Where devices, groups and networks were.
#[derive(Default)]
pub(super) struct Places {
    devices: HashMap<u32, Last>,
    groups: HashMap<u32, OfGroup>,
    networks: HashMap<(u32, u32), Peers>,
    /// Groups and countries that are new to them.
    arrivals: HashMap<(u32, [u8; 2]), Peers>,
    /// Events that wait whether others come to the same country, the oldest first.
    waiting: VecDeque<Waiting>,
}

/// An event that waits.
struct Waiting {
    device: u32,
    group: u32,
    place: Place,
    weight: f32,
    since: u32,
}

/// Where a device connected from last.
#[derive(Clone, Copy)]
struct Last {
    place: Place,
    network: u32,
    at: u32,
}

#[derive(Default)]
struct OfGroup {
    since: u32,
    connects: u32,
    asns: Vec<u32>,
    countries: Vec<[u8; 2]>,
}

/// Different devices of a day or an hour.
#[derive(Default)]
struct Peers {
    devices: u64,
    since: u32,
}

impl Peers {
    fn add(&mut self, device: u64, at: u32, within: u32) -> u32 {
        if at.saturating_sub(self.since) > within {
            *self = Self { devices: 0, since: at };
        }
        hash::sketch(&mut self.devices, device);
        self.devices.count_ones()
    }
}

impl OfGroup {
    fn is_learned(&self, at: u32) -> bool {
        self.connects >= LEAST_CONNECTS && at.saturating_sub(self.since) >= DAY
    }

    fn learn(&mut self, place: &Place) {
        self.connects = self.connects.saturating_add(1);
        if place.asn != 0 && !self.asns.contains(&place.asn) && self.asns.len() < KNOWN {
            self.asns.push(place.asn);
        }
        if let Some(country) = place.country {
            if !self.countries.contains(&country) && self.countries.len() < KNOWN {
                self.countries.push(country);
            }
        }
    }

    /// Whether the country is new. A group that was in more countries than are remembered has none that is new.
    fn is_new_country(&self, country: [u8; 2]) -> bool {
        self.countries.len() < KNOWN && !self.countries.contains(&country)
    }
}

impl Places {
    /// Takes a connect in. An event that it makes waits for a while.
    pub(super) fn arrive(&mut self, of: &Arrival) {
        if !of.place.is_known() {
            return;
        }
        let Arrival { tenant, group, device: (device, mark), network, place, at, overlaps } = *of;
        let last = self.last(device, Last { place, network, at });
        let peers = grow(&mut self.networks, (tenant, network), at);
        let is_site = peers.is_some_and(|peers| peers.add(mark, at, DAY) >= SITE);
        if !self.groups.contains_key(&group) && self.groups.len() >= limits::GROUPS {
            return;
        }
        let new = || OfGroup { since: at, ..OfGroup::default() };
        let known = self.groups.entry(group).or_insert_with(new);
        let country = place
            .country
            .filter(|country| known.is_learned(at) && known.is_new_country(*country) && !is_site);
        let came = country.and_then(|country| grow(&mut self.arrivals, (group, country), at));
        let together = came.map(|came| came.add(mark, at, 3600));
        let moved =
            last.filter(|last| last.network != network && last.place.country != place.country);
        let (Some(together), Some(last)) = (together, moved) else {
            known.learn(&place);
            return;
        };
        let is_fast = is_too_fast(&last, &place, at);
        if together >= TOGETHER || !(overlaps || is_fast) {
            known.learn(&place);
            return;
        }
        let is_strange = place.asn != 0 && !known.asns.contains(&place.asn);
        let halved = if place.relay || !is_strange { 0.5 } else { 1.0 };
        let weight = if is_fast { 2.0 } else { 1.0 } * halved;
        if self.waiting.len() < limits::PLACES_WAITING {
            self.waiting.push_back(Waiting { device, group, place, weight, since: at });
        }
    }

    /// The next event that has waited long enough: the device, and the weight. Where others came to the same country
    /// meanwhile, the group learns it instead.
    pub(super) fn due(&mut self, at: u32) -> Option<(u32, f32)> {
        while self.waiting.front()?.since.saturating_add(WAIT) <= at {
            let Waiting { device, group, place, weight, .. } = self.waiting.pop_front()?;
            let came = place.country.and_then(|country| self.arrivals.get(&(group, country)));
            let together = came.map_or(0, |came| came.devices.count_ones());
            let known = self.groups.get_mut(&group)?;
            if together < TOGETHER && place.country.is_some_and(|it| known.is_new_country(it)) {
                return Some((device, weight));
            }
            known.learn(&place);
        }
        None
    }

    /// Forgets a device that was let go.
    pub(super) fn forget(&mut self, device: u32) {
        self.devices.remove(&device);
        self.waiting.retain(|waiting| waiting.device != device);
    }

    /// The place before, when there was one; this one is the last now.
    fn last(&mut self, device: u32, now: Last) -> Option<Last> {
        if self.devices.len() >= limits::PLACES && !self.devices.contains_key(&device) {
            return None;
        }
        self.devices.insert(device, now)
    }
}

/// The entry of a bounded table; those of former days make room.
fn grow<K: std::hash::Hash + Eq>(
    table: &mut HashMap<K, Peers>,
    key: K,
    at: u32,
) -> Option<&mut Peers> {
    if table.len() >= limits::PLACES && !table.contains_key(&key) {
        table.retain(|_, peers| at.saturating_sub(peers.since) <= DAY);
        if table.len() >= limits::PLACES {
            return None;
        }
    }
    Some(table.entry(key).or_insert_with(|| Peers { devices: 0, since: at }))
}

/// Whether a device cannot have come so far in this time.
fn is_too_fast(last: &Last, place: &Place, at: u32) -> bool {
    // Within one system the exits of a carrier are hundreds of kilometres apart; another file knows other places.
    let says_nothing = last.place.asn == place.asn
        || last.place.built != place.built
        || last.place.relay
        || place.relay;
    let (Some(from), Some(to)) = (last.place.point, place.point) else { return false };
    if says_nothing || from.radius_km > WIDEST_KM || to.radius_km > WIDEST_KM {
        return false;
    }
    let radii = f32::from(from.radius_km) + f32::from(to.radius_km);
    let distance = from.distance_km(&to) - radii;
    let seconds = at.saturating_sub(last.at);
    distance >= LEAST_KM
        && seconds >= LEAST_SECONDS
        && distance / (seconds as f32 / 3600.0) > FASTEST_KM_H
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observation::Point;

    const START: u32 = 50 * DAY;
    const GROUP: u32 = 3;

    fn place(asn: u32, country: &str, (latitude, longitude): (f32, f32), radius_km: u16) -> Place {
        let point = Some(Point { latitude, longitude, radius_km });
        Place { asn, country: Place::country_of(country), point, built: 9, relay: false }
    }

    fn home() -> Place {
        place(3320, "DE", (52.5, 13.4), 20)
    }

    fn abroad() -> Place {
        place(28_573, "BR", (-23.5, -46.6), 20)
    }

    /// A group that was at home for two days, each device in a network of its own.
    struct World {
        places: Places,
        at: u32,
    }

    impl World {
        fn new() -> Self {
            let mut world = Self { places: Places::default(), at: START };
            for _ in 0..8 {
                for device in 0..20 {
                    world.come(device, 1000 + device, home(), false);
                }
                world.at += 6 * 3600;
            }
            // All were seen a moment ago.
            (0..20).for_each(|device| world.come(device, 1000 + device, home(), false));
            world
        }

        fn come(&mut self, device: u32, network: u32, place: Place, overlaps: bool) {
            let mark = u64::from(device).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
            let device = (device, mark);
            let (tenant, group, at) = (0, GROUP, self.at);
            self.places.arrive(&Arrival { tenant, group, device, network, place, at, overlaps });
        }

        /// The events, after their wait.
        fn events(&mut self) -> Vec<(u32, f32)> {
            self.at += WAIT;
            std::iter::from_fn(|| self.places.due(self.at)).collect()
        }
    }

    /// A clone in another country, a quarter of an hour later.
    fn clone(place: Place, overlaps: bool) -> Vec<(u32, f32)> {
        let mut world = World::new();
        world.at += 900;
        world.come(3, 77, place, overlaps);
        world.events()
    }

    #[test]
    fn a_new_country_counts_with_a_session_elsewhere_or_a_speed_that_nothing_has() {
        assert_eq!(clone(abroad(), true), [(3, 2.0)]);
        assert_eq!(clone(abroad(), false), [(3, 2.0)]);
        let unknown = Place { point: None, ..abroad() };
        assert_eq!(clone(unknown, true), [(3, 1.0)]);
        assert_eq!(clone(unknown, false), [], "a new country alone is none");
        // It is not learned from the event: the next one counts too.
        let mut world = World::new();
        for _ in 0..3 {
            world.at += 900;
            world.come(3, 77, abroad(), true);
            assert_eq!(world.events().len(), 1);
            world.at += 900;
            world.come(3, 1003, home(), true);
            assert_eq!(world.events(), []);
        }
    }

    #[test]
    fn exits_of_one_carrier_are_never_compared_by_distance() {
        let roaming = Place { asn: 3320, ..abroad() };
        assert_eq!(clone(roaming, false), []);
        assert_eq!(clone(roaming, true), [(3, 0.5)], "no single one is enough");
        // Within the country, no distance says anything.
        assert_eq!(clone(place(3209, "DE", (47.0, 8.0), 20), true), []);
    }

    #[test]
    fn a_site_that_moves_and_devices_that_move_together_are_no_events() {
        let mut world = World::new();
        world.at += 900;
        for device in 0..10 {
            world.come(device, 77, abroad(), true);
        }
        assert_eq!(world.events(), []);
        // By networks of their own, too.
        let mut world = World::new();
        world.at += 900;
        for device in 0..3 {
            world.come(device, 70 + device, abroad(), true);
        }
        assert_eq!(world.events(), []);
        world.at += 900;
        world.come(9, 79, abroad(), true);
        assert_eq!(world.events(), [], "the group has learned the country");
    }

    #[test]
    fn an_uncertain_place_has_no_speed() {
        let at = |radius_km| place(28_573, "BR", (-23.5, -46.6), radius_km);
        assert_eq!(clone(at(200), false), [(3, 2.0)]);
        assert_eq!(clone(at(201), false), []);
        // Both radii are taken off: 2,400 km in 15 minutes, or little more than nothing.
        assert_eq!(clone(place(1, "DK", (55.7, 12.6), 200), false), []);
    }

    #[test]
    fn short_ways_and_short_times_have_no_speed() {
        let near = place(8447, "AT", (52.9, 13.9), 1);
        assert_eq!(clone(near, false), []);
        let mut world = World::new();
        world.at += LEAST_SECONDS - 1;
        world.come(3, 77, abroad(), false);
        assert_eq!(world.events(), []);
    }

    #[test]
    fn a_new_file_moves_no_device() {
        let mut world = World::new();
        world.at += 900;
        world.come(3, 1003, abroad(), true);
        assert_eq!(world.events(), [], "the same network");
        assert_eq!(clone(Place { built: 10, ..abroad() }, false), [], "another file");
    }

    #[test]
    fn relays_and_satellites_weigh_half_and_have_no_speed() {
        let relay = Place { relay: true, ..abroad() };
        assert_eq!(clone(relay, false), []);
        assert_eq!(clone(relay, true), [(3, 0.5)]);
    }

    #[test]
    fn an_address_of_which_nothing_is_known_says_nothing() {
        assert_eq!(clone(Place::default(), true), []);
        let mut world = World::new();
        world.at += 900;
        world.come(3, 77, Place::default(), true);
        world.come(3, 77, abroad(), false);
        assert_eq!(world.events(), [(3, 2.0)], "the last known place is the one before");
    }

    #[test]
    fn a_carrier_with_many_devices_behind_one_address_is_a_site() {
        let mut world = World::new();
        for device in 100..100 + SITE {
            let mark = u64::from(device) << 7 | u64::from(device);
            let of = Arrival {
                tenant: 0,
                group: GROUP + 1,
                device: (device, mark.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
                network: 77,
                place: abroad(),
                at: world.at,
                overlaps: false,
            };
            world.places.arrive(&of);
        }
        world.at += 900;
        world.come(3, 77, abroad(), true);
        assert_eq!(world.events(), []);
    }

    #[test]
    fn an_order_that_two_brokers_turned_round_has_no_speed() {
        let mut world = World::new();
        world.at -= 5;
        world.come(3, 77, abroad(), false);
        assert_eq!(world.events(), []);
    }

    #[test]
    fn a_group_of_a_day_says_nothing_and_one_of_many_countries_has_no_new_one() {
        let mut world = World { places: Places::default(), at: START };
        (0..30).for_each(|device| world.come(device, 1000 + device, home(), false));
        world.at += 900;
        world.come(3, 77, abroad(), true);
        assert_eq!(world.events(), []);
        let mut world = World::new();
        for number in 0..KNOWN as u32 {
            let letters = [b'A' + (number / 26) as u8, b'A' + (number % 26) as u8];
            let place = Place { country: Some(letters), point: None, ..home() };
            world.come(500 + number, 5000 + number, place, false);
        }
        world.at += 900;
        world.come(3, 77, place(1, "ZZ", (0.0, 0.0), 1), true);
        assert_eq!(world.events(), []);
    }

    #[test]
    fn a_device_that_is_let_go_takes_its_event_along_and_tables_are_bounded() {
        let mut world = World::new();
        world.at += 900;
        world.come(3, 77, abroad(), true);
        world.places.forget(3);
        assert_eq!(world.events(), []);
        for number in 0..limits::PLACES as u32 + 100 {
            world.come(1000 + number, 100_000 + number, home(), false);
        }
        let places = &world.places;
        assert!(places.devices.len() <= limits::PLACES && places.networks.len() <= limits::PLACES);
    }
}
