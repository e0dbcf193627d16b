//! The rows of one role while what its devices used is written into them.

use std::collections::BTreeMap;

use tessera_runtime::sql::{Batch, Key};
use tessera_token::ids::TenantId;

use super::shape::{self, Stands};
use super::{Inventory, ToldUse};
use crate::limits::{DEVICE_USES, ROLE_REFUSALS, ROLE_USES};
use crate::records::capped;
use crate::records::uses::{DeviceLine, RoleUse, RoleWatch, Usage};
use crate::refused::Refused;
use crate::service::Service;
use crate::tables::pair;

type Name = (Usage, String);

/// Levels of a topic that are kept when there is no room for the whole of it, one after the other.
const LEVELS_KEPT: [usize; 3] = [2, 1, 0];

pub(super) struct RoleBook {
    tenant: TenantId,
    role: String,
    publish: Vec<String>,
    subscribe: Vec<String>,
    watch: (Option<RoleWatch>, RoleWatch),
    rows: BTreeMap<Name, RoleUse>,
    /// The rows as they are in the database.
    before: BTreeMap<Name, RoleUse>,
}

impl RoleBook {
    /// Reads the rows of a role; `None` when there is no such role.
    pub(super) async fn read(
        service: &Service,
        tenant: &TenantId,
        role: &str,
        now: u64,
    ) -> Result<Option<Self>, Refused> {
        let tables = &service.tables;
        let Some(record) = tables.roles.get(pair(tenant, role)).await? else { return Ok(None) };
        let watch = tables.role_watches.get(pair(tenant, role)).await?;
        let most = ROLE_USES + ROLE_REFUSALS + LEVELS_KEPT.len() * 2;
        let found = tables.role_uses.scan_whole(&pair(tenant, role), None, most).await?;
        let mut before = BTreeMap::new();
        for (key, row) in found {
            let usage = Usage::parse(crate::tables::text(&key, 2)?);
            if let Some(usage) = usage {
                before.insert((usage, crate::tables::text(&key, 3)?.to_owned()), row);
            }
        }
        let new = RoleWatch { since: now, devices: 0, touched: now };
        // Rows of a former role of this name say nothing about this one.
        let rows = if watch.is_some() { before.clone() } else { BTreeMap::new() };
        Ok(Some(Self {
            tenant: tenant.clone(),
            role: role.to_owned(),
            publish: record.publish,
            subscribe: record.subscribe,
            watch: (watch, RoleWatch { touched: now, ..watch.unwrap_or(new) }),
            rows,
            before,
        }))
    }

    /// Counts a device that was not told before.
    pub(super) fn new_device(&mut self) {
        self.watch.1.devices += 1;
    }

    /// Notes what a device used, in its own lines and in those of the role.
    pub(super) fn note(&mut self, lines: &mut Vec<DeviceLine>, told: &ToldUse, now: u64) {
        let topic = self.named(told);
        let Some(topic) = self.admitted(lines, told.usage, topic) else { return };
        let mut is_new = false;
        match lines.iter_mut().find(|line| line.usage == told.usage && line.topic == topic) {
            Some(line) => {
                line.count = capped(line.count, told.count);
                line.last = now;
            }
            None => {
                is_new = true;
                let (usage, count, topic) = (told.usage, told.count, topic.clone());
                lines.push(DeviceLine { usage, topic, count, first: now, last: now });
            }
        }
        let none = RoleUse { devices: 0, count: 0, first: now, last: now };
        let row = self.rows.entry((told.usage, topic)).or_insert(none);
        row.devices += u64::from(is_new);
        row.count = capped(row.count, told.count);
        row.last = now;
    }

    /// The topic as the most exact line that allows it names it.
    fn named(&self, told: &ToldUse) -> String {
        let lines = match told.usage {
            Usage::Publish => &self.publish,
            Usage::Subscribe => &self.subscribe,
            Usage::PublishRefused | Usage::SubscribeRefused => return told.topic.clone(),
        };
        let allow = lines.iter().filter(|line| shape::compare(&told.topic, line) == Stands::Within);
        let line = allow.min_by_key(|line| shape::exactness(line));
        line.map_or_else(|| told.topic.clone(), |line| shape::named(&told.topic, line))
    }

    /// The topic, or a wider one when there is no room for it. `None` for a refused one without room.
    fn admitted(&mut self, lines: &[DeviceLine], usage: Usage, topic: String) -> Option<String> {
        let is_known = |book: &Self, topic: &str| {
            lines.iter().any(|line| line.usage == usage && line.topic == topic)
                || (lines.len() < DEVICE_USES && book.rows.contains_key(&(usage, topic.to_owned())))
        };
        if is_known(self, &topic) {
            return Some(topic);
        }
        if usage.is_refused() {
            let has_room = lines.len() < DEVICE_USES && self.room_for_refusal();
            return has_room.then_some(topic);
        }
        let used = self.rows.keys().filter(|(usage, _)| !usage.is_refused()).count();
        if lines.len() < DEVICE_USES && used < ROLE_USES {
            return Some(topic);
        }
        let wider = LEVELS_KEPT.iter().filter_map(|levels| shape::widened(&topic, *levels));
        let mut wider: Vec<String> = wider.collect();
        let known = wider.iter().position(|topic| is_known(self, topic));
        match known {
            Some(at) => Some(wider.swap_remove(at)),
            // The widest has room always.
            None => wider.pop(),
        }
    }

    /// Makes room for a refused topic: one that a single device asked for, longest ago, goes.
    fn room_for_refusal(&mut self) -> bool {
        let refused = self.rows.iter().filter(|((usage, _), _)| usage.is_refused());
        if refused.clone().count() < ROLE_REFUSALS {
            return true;
        }
        let single = refused.filter(|(_, row)| row.devices <= 1);
        let Some(oldest) = single.min_by_key(|(_, row)| row.last).map(|(name, _)| name.clone())
        else {
            return false;
        };
        self.rows.remove(&oldest);
        true
    }

    pub(super) fn write(self, service: &Service, batch: &mut Batch) {
        let Self { tenant, role, watch: (known, watch), rows, before, .. } = self;
        let tables = &service.tables;
        let of_role = pair(&tenant, role.as_str());
        batch.expect_same(&tables.role_watches, of_role.clone(), known.as_ref());
        batch.put(&tables.role_watches, of_role.clone(), &watch);
        let key = |(usage, topic): &Name| -> Key {
            let mut key = of_role.clone();
            key.extend([usage.as_str().into(), topic.as_str().into()]);
            key
        };
        for (name, row) in &rows {
            if before.get(name) != Some(row) {
                batch.expect_same(&tables.role_uses, key(name), before.get(name));
                batch.put(&tables.role_uses, key(name), row);
            }
        }
        for (name, row) in before.iter().filter(|(name, _)| !rows.contains_key(*name)) {
            batch.expect(&tables.role_uses, key(name), row);
            batch.delete(&tables.role_uses, key(name));
        }
    }

    pub(super) fn shown(self) -> Inventory {
        let Self { watch: (known, _), rows, .. } = self;
        Inventory {
            since: known.map(|watch| watch.since),
            devices_seen: known.map_or(0, |watch| watch.devices),
            rows: rows.into_iter().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn book() -> RoleBook {
        let watch = RoleWatch { since: 1, devices: 0, touched: 1 };
        RoleBook {
            tenant: "acme".parse().unwrap(),
            role: "wide".to_owned(),
            publish: vec!["#".to_owned(), "site/{attr.site}/+/up".to_owned()],
            subscribe: Vec::new(),
            watch: (None, watch),
            rows: BTreeMap::new(),
            before: BTreeMap::new(),
        }
    }

    fn told(usage: Usage, topic: String) -> ToldUse {
        ToldUse { usage, topic, count: 1 }
    }

    #[test]
    fn a_role_with_many_topics_has_bounded_rows_and_loses_no_use() {
        let mut book = book();
        for device in 0..200 {
            let mut lines = Vec::new();
            for topic in 0..30 {
                let topic = format!("log/{device}/{topic}/x");
                book.note(&mut lines, &told(Usage::Publish, topic), 5);
            }
            assert!(lines.len() <= DEVICE_USES + 1);
        }
        assert!(book.rows.len() <= ROLE_USES + LEVELS_KEPT.len() * 2, "{}", book.rows.len());
        assert_eq!(book.rows.values().map(|row| row.count).sum::<u64>(), 200 * 30);
    }

    #[test]
    fn refused_topics_of_single_probers_make_room_and_one_of_many_devices_stays() {
        let mut book = book();
        let mut first = Vec::new();
        for device in 0..500 {
            let mut lines = Vec::new();
            let common = told(Usage::PublishRefused, "d/{device}/Up".to_owned());
            book.note(&mut lines, &common, device);
            book.note(&mut lines, &told(Usage::PublishRefused, format!("p/{device}")), device);
            first.extend(lines);
        }
        assert_eq!(book.rows.len(), ROLE_REFUSALS);
        let common = &book.rows[&(Usage::PublishRefused, "d/{device}/Up".to_owned())];
        assert_eq!((common.devices, common.count, common.first, common.last), (500, 500, 0, 499));
        assert!(book.rows.contains_key(&(Usage::PublishRefused, "p/499".to_owned())));
    }

    #[test]
    fn a_topic_has_the_names_of_the_most_exact_line_that_allows_it() {
        let book = book();
        let named = |topic: &str| book.named(&told(Usage::Publish, topic.to_owned()));
        assert_eq!(named("site/north/{device}/up"), "site/{attr.site}/{device}/up");
        assert_eq!(named("site/north/{device}/down"), "site/north/{device}/down");
        let refused = told(Usage::PublishRefused, "site/north/{device}/up".to_owned());
        assert_eq!(book.named(&refused), "site/north/{device}/up");
    }
}
