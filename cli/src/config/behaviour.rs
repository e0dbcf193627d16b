//! The settings of behaviour tracking, and their faults in words.

use tessera_agent::behaviour::BehaviourConfig;
use tessera_agent::settings::RawBehaviour;

use crate::error::Fault;

/// The settings that hold, and the bytes of observations that are kept in files.
pub(super) fn validate(raw: &RawBehaviour) -> Result<(BehaviourConfig, u64), Fault> {
    let validated = raw.validate().and_then(|config| Ok((config, raw.record_bytes()?)));
    validated.map_err(|wrong| {
        let fault = Fault::new(wrong.words);
        match wrong.hint {
            Some(hint) => fault.hint(hint),
            None => fault,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<BehaviourConfig, String> {
        let raw: RawBehaviour = toml::from_str(text).map_err(|error| error.to_string())?;
        validate(&raw).map(|(config, _)| config).map_err(|fault| fault.to_string())
    }

    #[test]
    fn groups_begin_from_their_tenant_and_tenants_from_the_rest() {
        let config = read(
            "budget = 2.0\nshadow = true\n[policies.acme]\nbudget = 0.5\n[policies.\"acme/3\"]\nshadow = false",
        )
        .unwrap();
        let of = |tenant, group| {
            let policy = config.policy(tenant, group);
            (policy.budget, policy.shadow)
        };
        assert_eq!(of("other", 1), (2.0, true));
        assert_eq!(of("acme", 1), (0.5, true));
        assert_eq!(of("acme", 3), (0.5, false));
    }

    #[test]
    fn wrong_settings_are_refused_with_their_key() {
        for (text, word) in [
            ("budget = 0.0", "budget"),
            ("budget = nan", "budget"),
            ("devices = 1", "devices"),
            ("ceiling_messages = 0", "ceiling_messages"),
            ("[policies.\"acme/x\"]", "acme/x"),
            ("[policies.\"a b\"]", "a b"),
            ("[policies.acme]\nbudget = 101", "acme"),
            ("weight = 1", "weight"),
        ] {
            let error = read(text).err().unwrap_or_else(|| panic!("{text}"));
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}
