use std::time::Duration;

use clap::{ArgGroup, Args, Subcommand};

use super::account::{MatchArgs, OperatorArgs, TenantArgs};
use super::answer::AnswerCommand;
use super::audit::AuditCommand;
use super::bulk::{Exported, Imported};
use super::claim::ClaimCommand;
use super::life::{Again, RekeyCommand, Suspended};
use super::list::{attribute, Act, ListArgs};
use super::partner::PartnerTokenCommand;
use super::revoke::{Waits, What};
use super::role::RoleCommand;
use super::token::{ApiTokenCommand, TokenCommand};
use super::trust::TrustCommand;
use super::ways::{
    ApprovalCommand, AuthorityCommand, DeniedCertificateCommand, GroupKeyCommand, ListedKeyCommand,
};
use super::webhook::WebhookCommand;
use crate::time::parse_span;

#[derive(Subcommand)]
pub(crate) enum OperatorCommand {
    /// Tenants: create, list, show, allow bearer tokens.
    #[command(subcommand)]
    Tenant(TenantCommand),
    /// Operator accounts, each of some tenants or of all: create, list, delete.
    #[command(subcommand)]
    Operator(AccountCommand),
    /// API tokens, by which programs act with a part of your rights: create, list, delete.
    #[command(subcommand)]
    ApiToken(ApiTokenCommand),
    /// Partner tokens, by which systems of other parties connect to a broker: create, list, use by day, delete.
    #[command(subcommand)]
    PartnerToken(PartnerTokenCommand),
    /// Look at tokens of operators, programs and partners.
    #[command(subcommand)]
    Token(TokenCommand),
    /// Roles: which topics the devices of a kind may use.
    #[command(subcommand)]
    Role(RoleCommand),
    /// Groups of devices, which can be revoked together.
    #[command(subcommand)]
    Group(GroupCommand),
    /// Claim codes, by which a device enrols once.
    #[command(subcommand)]
    Claim(ClaimCommand),
    /// Public keys of devices that enrol by their keys alone, such as those of a manufacturer's list.
    #[command(subcommand)]
    ListedKey(ListedKeyCommand),
    /// Group keys: devices enrol by secrets that a factory derives from one.
    #[command(subcommand)]
    GroupKey(GroupKeyCommand),
    /// Authorities of manufacturers, whose certificates let devices enrol.
    #[command(subcommand)]
    Authority(AuthorityCommand),
    /// Certificates that let no device enrol.
    #[command(subcommand)]
    DeniedCertificate(DeniedCertificateCommand),
    /// Webhooks: events of a tenant are sent to a URL, signed.
    #[command(subcommand)]
    Webhook(WebhookCommand),
    /// Devices that ask to be enrolled: list, approve, refuse.
    #[command(subcommand)]
    Approval(ApprovalCommand),
    /// List devices, or show one.
    #[command(
        after_help = "Examples:\n  tessera devices\n  tessera devices d-17\n  tessera devices --tenant acme --json\n  tessera devices --where state=revoked --where group=floor-2 --limit 100\n  tessera devices --prefix pump- --where role=meter\n  tessera devices --where attr.site=hall-2"
    )]
    Devices {
        /// One device.
        #[arg(conflicts_with_all = ["conditions", "limit", "prefix"])]
        device: Option<String>,
        /// Only devices whose ids begin with this text.
        #[arg(long, value_name = "TEXT")]
        prefix: Option<String>,
        #[command(flatten)]
        rows: ListArgs,
        #[command(flatten)]
        tenant: TenantArgs,
    },
    /// Show the history of a device: enrolment, keys, roles, suspensions, revocations, each with time and account.
    #[command(
        after_help = "Example:\n  tessera history d-17\nThe entries are those of the audit log. device_number tells devices apart that had the id one after the other."
    )]
    History {
        /// The device.
        device: String,
        #[command(flatten)]
        rows: ListArgs,
        #[command(flatten)]
        tenant: TenantArgs,
    },
    /// Requests for new keys of devices that have lost theirs: list, approve, refuse.
    #[command(subcommand)]
    Rekey(RekeyCommand),
    /// Tell whether a token that the device got now would allow an act. The answer comes from the registry.
    #[command(
        after_help = "Examples:\n  tessera can d-17 publish d/d-17/telemetry\n  tessera can d-17 subscribe 'd/+/telemetry' --json\nThe exit code is 0 when the act is allowed, and 1 when it is not."
    )]
    Can {
        /// The device.
        device: String,
        #[command(subcommand)]
        act: Act,
    },
    /// Give a device another role, another group or attributes, or announce a change of a group.
    #[command(
        after_help = "Examples:\n  tessera change device d-17 --role meter\n  tessera change device d-17 --group floor-2\n  tessera change device d-17 --attr site=hall-2 --remove-attr floor\n  tessera change announce --group floor-2 --for 6h --reason 'firmware 2.1'\nWhen that changes its rights, its tokens end like revoked ones, its sessions too; it may ask for its next token at once, which\nhas the new rights. A new role or group does so always, an attribute when the role of the device names it.\nAn announced change says that the devices of a group will behave otherwise, so that no alert is raised about their habits\n(docs/behaviour.md)."
    )]
    Change {
        #[command(subcommand)]
        what: Changed,
    },
    /// Import devices whose keys are known, or claims, from a file.
    Import {
        #[command(subcommand)]
        what: Imported,
    },
    /// Export devices into a file that an import takes.
    Export {
        #[command(subcommand)]
        what: Exported,
    },
    /// Delete a device; its tokens end for ever.
    #[command(
        after_help = "Examples:\n  tessera delete device d-17\n  tessera delete device d-17 --force\nThe id is free for another device when the longest life of a token (30 days) is over: an offline gateway may not have heard\nof the end of its tokens before. With --force it is free at once."
    )]
    Delete {
        #[command(subcommand)]
        what: Deleted,
    },
    /// Revoke one token, or every token of a device, a group, a tenant or an issuer key, at once and everywhere.
    #[command(
        after_help = "Examples:\n  tessera revoke device d-17\n  tessera revoke device d-17 --wait\n  tessera revoke group floor-2 --wait=10s\n  tessera revoke token --shown 2D3ShEOh\n  tessera revoke tenant acme\nWith --wait the command ends when the verifiers that were seen in the last two minutes have taken the revocation. The exit code\nis 1 when one of them has not; the revocation is made all the same."
    )]
    Revoke {
        #[command(subcommand)]
        what: What,
    },
    /// Suspend a device or a group: a pause until it is reinstated.
    #[command(
        after_help = "Examples:\n  tessera suspend device d-17 --reason 'sold, waits for its new owner'\n  tessera suspend group floor-2\nIts tokens end at once, as at a revocation, and no new one is issued. After `tessera reinstate` a device refreshes with its\nkey and goes on. A group that is reinstated leaves devices suspended that were suspended themselves."
    )]
    Suspend {
        #[command(subcommand)]
        what: Suspended,
    },
    /// Serve a revoked or suspended device, a suspended group or a suspended tenant again; old tokens stay ended.
    Reinstate {
        #[command(subcommand)]
        what: Again,
    },
    /// Devices that are held back, and answers to alerts: restrain, release, verdict, set.
    #[command(subcommand)]
    Answer(AnswerCommand),
    /// Issuer keys: list, rotate.
    #[command(subcommand)]
    Keys(KeysCommand),
    /// The audit log: list, verify, head.
    #[command(subcommand)]
    Audit(AuditCommand),
    /// The trust feed: its verifiers, and what readers knew beyond a service that came back from an older copy.
    #[command(subcommand)]
    Trust(TrustCommand),
}

#[derive(Subcommand)]
pub(crate) enum AccountCommand {
    /// A new account; its token is shown once.
    #[command(
        after_help = "Examples:\n  tessera operator create ann --role viewer --role fleet --tenant acme\n  tessera operator create night-shift --role security --all-tenants"
    )]
    Create {
        /// Its name.
        name: String,
        /// A role of the account; no role includes another. Give it several times for several roles.
        #[arg(long = "role", value_name = "ROLE", required = true,
              value_parser = ["viewer", "fleet", "security", "admin", "feed"])]
        roles: Vec<String>,
        #[command(flatten)]
        whose: Whose,
        #[command(flatten)]
        operator: OperatorArgs,
    },
    /// The accounts of your tenants.
    List {
        #[command(flatten)]
        rows: ListArgs,
        #[command(flatten)]
        operator: OperatorArgs,
    },
    /// One account; its token is not kept and cannot be shown.
    Show {
        /// Its name.
        name: String,
        #[command(flatten)]
        operator: OperatorArgs,
    },
    /// End an account at once.
    Delete {
        /// Its name.
        name: String,
        #[command(flatten)]
        matches: MatchArgs,
        #[command(flatten)]
        operator: OperatorArgs,
    },
}

/// The tenants of a new account. One of the two is required.
#[derive(Args, Clone)]
#[group(required = true, multiple = false)]
pub(crate) struct Whose {
    /// A tenant that the account belongs to. Given several times, several.
    #[arg(long = "tenant", value_name = "ID")]
    pub(crate) tenants: Vec<String>,
    /// The account belongs to all tenants, and may do what concerns all.
    #[arg(long)]
    pub(crate) all_tenants: bool,
}

#[derive(Subcommand)]
pub(crate) enum Changed {
    /// One device.
    #[command(group(ArgGroup::new("new").required(true).multiple(true)
              .args(["role", "group", "attributes", "removed"])))]
    Device {
        /// Its id.
        device: String,
        /// Its role from now on.
        #[arg(long, value_name = "ROLE")]
        role: Option<String>,
        /// Its group from now on.
        #[arg(long, value_name = "GROUP")]
        group: Option<String>,
        /// The value of an attribute from now on; may be repeated.
        #[arg(long = "attr", value_name = "NAME=VALUE", value_parser = attribute)]
        attributes: Vec<(String, String)>,
        /// An attribute that it has no longer; may be repeated.
        #[arg(long = "remove-attr", value_name = "NAME")]
        removed: Vec<String>,
        #[command(flatten)]
        matches: MatchArgs,
        #[command(flatten)]
        tenant: TenantArgs,
    },
    /// A change of the devices of a group, from now on.
    #[command(
        after_help = "Examples:\n  tessera change announce --group floor-2 --for 6h --reason 'firmware 2.1'\n  tessera change announce --group floor-2 --end --reason 'rolled back'\nBrokers and gateways hear of it at once. Until it is over, and a day longer, they learn the new habits and raise no alert about\nthem. Evidence, such as a token without its key, raises alerts all the same. The newest announcement of a group counts alone."
    )]
    #[command(group(ArgGroup::new("when").required(true).args(["lasts", "end"])))]
    Announce {
        /// The group.
        #[arg(long, value_name = "GROUP")]
        group: String,
        /// How long the change goes on, up to 168h.
        #[arg(long = "for", value_name = "TIME", value_parser = parse_span)]
        lasts: Option<Duration>,
        /// The change is over.
        #[arg(long)]
        end: bool,
        /// Why, for people and the audit log.
        #[arg(long, value_name = "TEXT")]
        reason: String,
        #[command(flatten)]
        tenant: TenantArgs,
    },
}

#[derive(Subcommand)]
pub(crate) enum Deleted {
    /// One device.
    Device {
        /// Its id.
        device: String,
        /// Its id is free for another device at once.
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        matches: MatchArgs,
        #[command(flatten)]
        tenant: TenantArgs,
    },
}

#[derive(Subcommand)]
pub(crate) enum TenantCommand {
    /// Make a tenant with issuer keys of its own.
    #[command(after_help = "Example:\n  tessera tenant create acme")]
    Create {
        /// Its id, which becomes the issuer of its tokens.
        id: String,
        /// Give bearer tokens to devices that cannot sign.
        #[arg(long)]
        bearer: bool,
        #[command(flatten)]
        operator: OperatorArgs,
    },
    /// All tenants.
    List {
        #[command(flatten)]
        rows: ListArgs,
        #[command(flatten)]
        operator: OperatorArgs,
    },
    /// One tenant.
    Show {
        /// Its id.
        id: String,
        #[command(flatten)]
        operator: OperatorArgs,
    },
    /// Set how old trust data may be when brokers and gateways decide on the tenant's tokens.
    #[command(
        after_help = "Example:\n  tessera tenant staleness acme --telemetry 86400 --command 86400 --actuation 600"
    )]
    Staleness {
        /// Its id.
        id: String,
        /// Seconds for scopes that only publish, on exact topics.
        #[arg(long, value_name = "SECONDS")]
        telemetry: u64,
        /// Seconds for scopes that also receive on exact topics.
        #[arg(long, value_name = "SECONDS")]
        command: u64,
        /// Seconds for scopes with a wildcard: services.
        #[arg(long, value_name = "SECONDS")]
        actuation: u64,
        #[command(flatten)]
        matches: MatchArgs,
        #[command(flatten)]
        operator: OperatorArgs,
    },
    /// Allow or forbid bearer tokens.
    Bearer {
        /// Its id.
        id: String,
        /// `on` or `off`.
        #[arg(value_parser = ["on", "off"])]
        state: String,
        #[command(flatten)]
        matches: MatchArgs,
        #[command(flatten)]
        operator: OperatorArgs,
    },
}

#[derive(Subcommand)]
pub(crate) enum GroupCommand {
    /// One group.
    Show {
        /// Its name.
        name: String,
        #[command(flatten)]
        tenant: TenantArgs,
    },
    /// Set the fresh claims by which a device of the group may enrol with another key.
    #[command(after_help = "Example:\n  tessera group set floor-2 --reenrol device")]
    Set {
        /// Its name.
        name: String,
        /// `off`; `device`: a claim that names the device; `group`: any claim of the group.
        #[arg(long, value_name = "WHICH", value_parser = ["off", "device", "group"])]
        reenrol: String,
        #[command(flatten)]
        matches: MatchArgs,
        #[command(flatten)]
        tenant: TenantArgs,
    },
    /// Make a group.
    Create {
        /// Its name.
        name: String,
        #[command(flatten)]
        tenant: TenantArgs,
    },
    /// Show or set the ways of enrolment that a group takes.
    #[command(after_help = "Examples:
  tessera group ways default
  tessera group ways default --set claim,approval
  tessera group ways old-line --set none
A new group takes claims alone. Devices that are enrolled stay enrolled.")]
    Ways {
        /// Its name.
        name: String,
        /// The ways from now on: claim, key, group_key, certificate, approval; or none.
        #[arg(long, value_name = "WAY,…", value_delimiter = ',',
              value_parser = ["claim", "key", "group_key", "certificate", "approval", "none"])]
        set: Option<Vec<String>>,
        #[command(flatten)]
        tenant: TenantArgs,
    },
    /// All groups.
    List {
        #[command(flatten)]
        rows: ListArgs,
        #[command(flatten)]
        tenant: TenantArgs,
    },
}

#[derive(Subcommand)]
pub(crate) enum KeysCommand {
    /// The issuer keys of a tenant, and when each leaves its state.
    #[command(after_help = "Example:
  tessera keys list --where state=active
`until` says when the schedule (`[provisioning.keys]` of the configuration) ends the state: the next key becomes active, the
active one retiring, a retiring one retired. It is empty for a compromised key, and when keys are rotated by hand alone.")]
    List {
        #[command(flatten)]
        rows: ListArgs,
        #[command(flatten)]
        tenant: TenantArgs,
    },
    /// Promote the next issuer key and publish a new next one; running devices notice nothing.
    Rotate {
        #[command(flatten)]
        tenant: TenantArgs,
    },
    /// Withdraw a stolen issuer key: every token that it signed ends at once.
    Compromise {
        /// Its key id, from the list.
        kid: String,
        #[command(flatten)]
        waits: Waits,
        #[command(flatten)]
        tenant: TenantArgs,
    },
}
