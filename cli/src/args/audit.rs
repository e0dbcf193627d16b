use clap::Args;
use tessera_simulators::operator::segment;

use crate::time::parse_moment;

/// The entries of the audit log that are wanted. An entry must meet all conditions that are given.
#[derive(Args, Clone, Default)]
pub(crate) struct AuditArgs {
    /// Only entries of this tenant.
    #[arg(long, value_name = "ID")]
    tenant: Option<String>,
    /// Only entries of this account, of a device such as "device d-17", or of "service".
    #[arg(long, value_name = "NAME")]
    actor: Option<String>,
    /// Only this action, such as device.revoke or request.refused.
    #[arg(long, value_name = "NOUN.VERB")]
    action: Option<String>,
    /// Only entries about this device, role, group or account.
    #[arg(long, value_name = "NAME")]
    subject: Option<String>,
    /// Not before this moment: 2026-11-01, 2026-11-01T10:00:00Z, or seconds since 1970.
    #[arg(long, value_name = "TIME", value_parser = parse_moment)]
    since: Option<u64>,
    /// Not after this moment.
    #[arg(long, value_name = "TIME", value_parser = parse_moment)]
    until: Option<u64>,
}

impl AuditArgs {
    /// The conditions as parameters of a query, each with `&` before it.
    pub(crate) fn query(&self) -> String {
        let Self { tenant, actor, action, subject, since, until } = self;
        let texts =
            [("tenant", tenant), ("actor", actor), ("action", action), ("subject", subject)];
        let texts = texts.map(|(name, text)| (name, text.as_deref().map(segment)));
        let times = [("since", since), ("until", until)];
        let times = times.map(|(name, time)| (name, time.map(|time| time.to_string())));
        let given = texts.into_iter().chain(times);
        given.filter_map(|(name, value)| Some(format!("&{name}={}", value?))).collect()
    }
}
