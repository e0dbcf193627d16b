//! All that keeps a verifier from judging a credential that comes now.

use tessera_runtime::ready::Reason;
use tessera_token::refusal::RefusalCode;

use super::Validator;

impl Validator {
    /// Each part that is not as it should be, for `/readyz`.
    pub fn reasons(&self) -> Vec<Reason> {
        let store = (!self.parts.store.is_healthy()).then(|| {
            let why = self.parts.store.waits_for().unwrap_or(
                "the store of trust data stopped writing after an error: look at the log, and start the process anew",
            );
            Reason::because("agent_store", RefusalCode::NotReady, why)
        });
        let trust = self.ready().err().filter(|code| *code != RefusalCode::NotReady);
        let trust = trust.map(|code| Reason::because("trust", code, self.why_not_ready(code)));
        let clock = self.clock_ready().err().map(|code| Reason::new("clock", code));
        let ledger = self.decides_proofs().err().map(|code| Reason::new("ledger", code));
        [store, trust, clock, ledger].into_iter().flatten().collect()
    }
}
