use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::{json, Value};
use tessera_runtime::random::{self, Random, RandomError};
use tessera_token::ids::TenantId;

use tessera_token::trust::UplinkReport;

use super::{Fault, Pieces};
use crate::limits::{RULE_COUNTS_EVERY, RULE_COUNTS_PER_REQUEST};
use crate::rulebook::Rulebook;
use crate::trust::Trust;

/// The counts of the rules that this verifier applies, since its process began. They are told again when they changed; one
/// that is lost is told with the next one.
pub(super) struct Rules {
    trust: Arc<Trust>,
    /// The counts of this process.
    line: u64,
    told: Mutex<Told>,
}

#[derive(Default)]
struct Told {
    /// The counts that provisioning has.
    known: HashMap<(TenantId, String), Counts>,
    /// Those of the request on its way.
    waiting: Vec<((TenantId, String), Counts)>,
    requests: u64,
}

/// The counts of one rule.
#[derive(Clone, PartialEq)]
struct Counts {
    version: u64,
    asked: u64,
    matched: u64,
    broke: u64,
    suspended: bool,
    /// Why it is not applied here.
    code: Option<&'static str>,
}

impl Rules {
    pub(super) fn new(trust: Arc<Trust>, random: &dyn Random) -> Result<Self, RandomError> {
        Ok(Self { trust, line: random::number(random)?, told: Mutex::default() })
    }

    fn present(&self) -> HashMap<(TenantId, String), Counts> {
        let trust = self.trust.load();
        let books = trust.rulebooks();
        books
            .flat_map(|(tenant, book)| {
                counts(book).into_iter().map(move |(rule, counts)| ((tenant.clone(), rule), counts))
            })
            .collect()
    }
}

fn counts(book: &Rulebook) -> Vec<(String, Counts)> {
    let read = book.counters().read(book.set()).map(|one| {
        let draft = one.rule.draft();
        let counts = Counts {
            version: draft.version,
            asked: one.evaluated,
            matched: one.held,
            broke: one.broke,
            suspended: one.suspended,
            code: None,
        };
        (draft.id.clone(), counts)
    });
    let unread = book.unread().map(|(rule, code)| {
        let none = Counts {
            version: 0,
            asked: 0,
            matched: 0,
            broke: 0,
            suspended: false,
            code: Some(code),
        };
        (rule.to_owned(), none)
    });
    read.chain(unread).collect()
}

impl Pieces for Rules {
    const NAME: &'static str = "counts of rules";
    const REPORT: UplinkReport = UplinkReport::Rules;
    const LETS_GO: bool = true;

    fn next(&self) -> Result<Option<(u64, Value)>, Fault> {
        let present = self.present();
        let mut told = self.told.lock();
        told.known.retain(|of, _| present.contains_key(of));
        let changed = present.into_iter().filter(|(of, counts)| told.known.get(of) != Some(counts));
        let waiting: Vec<_> = changed.take(RULE_COUNTS_PER_REQUEST).collect();
        if waiting.is_empty() {
            return Ok(None);
        }
        let rules = waiting.iter().map(|((tenant, rule), of)| {
            json!({
                "tenant": tenant.as_str(), "rule": rule, "version": of.version, "asked": of.asked,
                "matched": of.matched, "broke": of.broke, "suspended": of.suspended, "code": of.code,
            })
        });
        let body =
            json!({ "line": format!("{:016x}", self.line), "rules": rules.collect::<Vec<_>>() });
        told.waiting = waiting;
        told.requests += 1;
        Ok(Some((told.requests, body)))
    }

    async fn taken(&self, number: u64) -> Result<(), Fault> {
        let mut told = self.told.lock();
        if number == told.requests {
            let waiting = std::mem::take(&mut told.waiting);
            told.known.extend(waiting);
        }
        Ok(())
    }

    async fn more(&self) {
        tokio::time::sleep(RULE_COUNTS_EVERY).await;
    }
}
