//! The command line: names, help and examples. The commands themselves are in other modules.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use tessera_runtime::http::Server;
use tessera_runtime::tls::Trust;

mod account;
mod answer;
mod audit;
mod backup;
mod bench;
mod bulk;
mod claim;
mod config;
mod detection;
mod device;
mod device_proxy;
mod life;
mod list;
mod load;
mod operator;
mod pages;
mod partner;
mod place;
mod play;
mod revoke;
mod role;
mod root;
mod rule;
mod server;
mod sim;
#[cfg(test)]
mod tests;
mod token;
mod trust;
mod ways;
mod webhook;

pub(crate) use account::{MatchArgs, OperatorArgs, TenantArgs};
pub(crate) use answer::{AnswerCommand, AnswerSetArgs};
pub(crate) use audit::AuditCommand;
pub(crate) use backup::{
    BackupArgs, CheckArgs, MarkRestoredArgs, MoveArgs, RestoreArgs, StoreCommand, TicketKeysArgs,
};
pub(crate) use bench::{BenchArgs, Peer, Which};
pub(crate) use bulk::{Exported, Imported};
pub(crate) use claim::ClaimCommand;
pub(crate) use config::{ConfigCommand, ConfiguredServer};
pub(crate) use detection::{
    AgentCommand, AgentWork, ConvertArgs, ObserveArgs, ReplayArgs, ScoreArgs, Source,
};
pub(crate) use device::{
    ConnectArgs, DeviceCommand, DoctorArgs, EnrolArgs, FolderArgs, KeyArgs, MeansArgs,
    PasswordArgs, PopArg, RefreshTokenArgs, RekeyArgs, TlsArgs, TokenArgs,
};
pub(crate) use device_proxy::{DeviceProxyArgs, Listen};
pub(crate) use life::{Again, RekeyCommand, Suspended};
pub(crate) use list::{Act, ListArgs};
pub(crate) use load::{
    ConnArgs, HeaderArg, LoadArgs, PubArgs, RemoveArgs, StormArgs, StormKind, SubArgs,
};
pub(crate) use operator::{
    AccountCommand, Changed, Deleted, GroupCommand, KeysCommand, OperatorCommand, TenantCommand,
};
pub(crate) use pages::{CompletionsArgs, Documented, ManArgs, OpenapiArgs};
pub(crate) use partner::PartnerTokenCommand;
pub(crate) use place::Place;
pub(crate) use play::PlayArgs;
pub(crate) use revoke::{Waits, What};
pub(crate) use role::{LineArgs, RoleCommand};
pub(crate) use root::{RootCommand, RootRequestArgs};
pub(crate) use rule::{RuleCheckArgs, RuleCommand, RulePutArgs, RuleTestArgs};
pub(crate) use server::{
    AgentArgs, AgentFeedArgs, BrokerArgs, DatabaseArgs, DerivationArgs, FeedArgs, ListenArgs,
    LogArgs, LogFormat, LossArgs, Pkcs11Args, ProvisionArgs, ProxyArgs, SeedsArgs, ServiceArgs,
    UpArgs,
};
pub(crate) use sim::{CredentialsArgs, DemoArgs, ProofArg, SimCommand, SimOperator, SimRunArgs};
pub(crate) use token::{ApiTokenCommand, TokenCommand};
pub(crate) use trust::TrustCommand;
pub(crate) use ways::{
    ApprovalCommand, AuthorityCommand, DeniedCertificateCommand, GroupKeyCommand, IdsArgs,
    ListedKeyCommand,
};
pub(crate) use webhook::{WebhookCommand, WebhookState};

/// Tessera gives every device of an MQTT fleet a key of its own, a short-lived token and rights on exactly its topics.
#[derive(Parser)]
#[command(
    name = "tessera",
    version,
    propagate_version = true,
    after_help = "Begin here:
  tessera demo --for 30s                 watch a fleet, a thief and a revoked device
  tessera up --data ./tessera-data       run provisioning and broker for real
  tessera claim create --role sensor     make a code by which one device may enrol
  tessera device enrol --http http://127.0.0.1:8080 --device d-17 --claim CODE
  mosquitto_pub -i d-17 -u d-17 -P \"$(tessera device password --dir d-17)\" -t d/d-17/telemetry -m 21.5

Exit codes:
  0    done
  1    not done, or not as it should be: the error output says why
  2    the words on the command line are wrong
  74   standard output could not be written; the command itself is done
  141  the reader of standard output has gone; the command itself is done"
)]
pub(crate) struct Cli {
    /// The command.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The verbs.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Run provisioning and broker together, for real use.
    Up(UpArgs),
    /// Run provisioning alone.
    Provision(ProvisionArgs),
    /// Run the broker alone; it talks to provisioning over HTTP.
    Broker(BrokerArgs),
    /// Run the offline validator on a gateway, or judge recorded behaviour.
    Agent(AgentCommand),
    /// Copy everything of a server that must survive, while it runs or when it is stopped.
    Backup(BackupArgs),
    /// Make the data folder of a server from a backup.
    Restore(RestoreArgs),
    /// Look after the database of provisioning while its server does not run.
    #[command(subcommand)]
    Store(StoreCommand),
    /// Change the root keys, also by one that is kept on a machine without network.
    #[command(subcommand)]
    Root(RootCommand),
    /// Discard the ticket keys of a broker, and with them every resumption secret.
    NewTicketKeys(TicketKeysArgs),
    /// Show a simulated fleet, with four devices that misbehave, on a system of its own in a temporary folder.
    Demo(DemoArgs),
    /// Act as a device: enrol, keep key and token in a folder, make passwords, find out why a device is refused.
    #[command(subcommand)]
    Device(DeviceCommand),
    /// Run simulated devices against a running system.
    #[command(subcommand)]
    Sim(SimCommand),
    /// Rules: check, test, put, list, show, approve, remove.
    #[command(subcommand)]
    Rule(RuleCommand),
    /// Measure Tessera beside mosquitto, or FlashMQ, on this machine.
    Bench(BenchArgs),
    /// Print or check the configuration of the servers.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print the completion script of a shell.
    Completions(CompletionsArgs),
    /// Write the manual pages, one file for each command.
    Man(ManArgs),
    /// Print the OpenAPI document of provisioning or of the agent, without a server.
    Openapi(OpenapiArgs),
    /// The commands of an operator.
    #[command(flatten)]
    Operator(OperatorCommand),
}

/// Where provisioning is, for a device or a simulator.
#[derive(Args, Clone)]
pub(crate) struct HttpArg {
    /// Provisioning, as a URL; host:port is http:// on this machine and https:// elsewhere.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    pub(crate) http: String,
    #[command(flatten)]
    pub(crate) trust: TrustArgs,
}

impl HttpArg {
    /// The service, with the trust settings.
    pub(crate) fn server(&self) -> Server {
        Server::of_text(&self.http, self.trust.trust())
    }
}

/// The trust settings for servers.
#[derive(Args, Clone, Default)]
pub(crate) struct TrustArgs {
    /// The authorities that may sign the certificates of servers, a file in PEM (else: the variable TESSERA_CAFILE, or
    /// the authorities of the system).
    #[arg(long, value_name = "FILE")]
    pub(crate) cafile: Option<PathBuf>,
    /// Allow http:// to another machine: tokens can be read on the way.
    #[arg(long)]
    pub(crate) http_in_clear: bool,
}

impl TrustArgs {
    /// The settings, with the variables of the environment.
    pub(crate) fn trust(&self) -> Trust {
        let cafile = folder_or_env(self.cafile.as_ref(), "TESSERA_CAFILE");
        Trust { cafile, in_clear: self.http_in_clear }
    }
}

/// A folder that the user named, or the one of the environment.
pub(crate) fn folder_or_env(given: Option<&PathBuf>, variable: &str) -> Option<PathBuf> {
    given.cloned().or_else(|| std::env::var_os(variable).map(PathBuf::from))
}
