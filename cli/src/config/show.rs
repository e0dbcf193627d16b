//! `tessera config`: the settings that hold, and the check of a file before a server reads it.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use serde_json::{json, Map, Value};
use tessera_broker::RawBrokerConfig;

use super::{
    loopback, Raw, AUDIENCE, DRAIN_SECONDS, HTTP, LOG_LEVEL, METRICS, MQTT, TOKEN_SECONDS,
};
use crate::args::{ConfigCommand, ConfiguredServer, Place};
use crate::error::{Fault, Outcome};
use crate::output;

/// Carries out one verb.
pub(crate) fn run(command: ConfigCommand) -> Outcome {
    match command {
        ConfigCommand::Print(args) => {
            let raw = Raw::read(args.config.as_deref())?;
            let data = default_folder(args.server);
            raw.clone().validate(data)?;
            let settings = serde_json::to_value(raw.filled(data))?;
            output::result(args.json, to_toml(&settings).trim_end(), &settings);
        }
        ConfigCommand::Check(args) => {
            let files = check(&args.file)?;
            let text =
                format!("{}: good; it names {files} files, which can be read", args.file.display());
            output::result(args.json, &text, &json!({ "file": args.file, "good": true }));
        }
    }
    Ok(0)
}

/// Checks a file as a server does at its start, and gives the number of files that it names.
pub(super) fn check(file: &Path) -> Result<usize, Fault> {
    let raw = Raw::read(Some(file))?;
    let named = |fault: Fault| fault.at(&file.display().to_string());
    raw.clone().validate(default_folder(ConfiguredServer::Up)).map_err(named)?;
    let files = raw.files();
    files.iter().try_for_each(|(key, path)| readable(key, path)).map_err(named)?;
    Ok(files.len())
}

/// The folder of a server that was given none.
fn default_folder(server: ConfiguredServer) -> &'static str {
    match server {
        ConfiguredServer::Up | ConfiguredServer::Provision => "./tessera-data",
        ConfiguredServer::Broker => "./tessera-broker",
    }
}

fn readable(key: &str, path: &Path) -> Result<(), Fault> {
    match std::fs::File::open(path) {
        Ok(_) => Ok(()),
        Err(error) => Err(Fault::new(format!("{key} = {}: {error}", path.display()))
            .hint("name a file that the server can read")),
    }
}

impl Raw {
    /// With the default of every setting that has one.
    pub(super) fn filled(mut self, data: &str) -> Self {
        let broker = RawBrokerConfig::default();
        self.data.get_or_insert_with(|| data.into());
        self.mqtt.get_or_insert(Place::At(loopback(MQTT)));
        self.http.get_or_insert(loopback(HTTP));
        self.metrics.get_or_insert(loopback(METRICS));
        self.audience.get_or_insert_with(|| AUDIENCE.to_owned());
        self.token_seconds.get_or_insert(TOKEN_SECONDS);
        self.drain_seconds.get_or_insert(DRAIN_SECONDS);
        self.not_followed_seconds.get_or_insert(tessera_agent::limits::TRUST_NOT_FOLLOWED_SECONDS);
        self.log.level.get_or_insert_with(|| LOG_LEVEL.to_owned());
        self.log.format.get_or_insert_with(|| "text".to_owned());
        let auth = if self.tls.client_ca.is_some() { "ca" } else { "off" };
        self.tls.client_auth.get_or_insert_with(|| auth.to_owned());
        self.tls.min_version.get_or_insert_with(|| "1.2".to_owned());
        self.tls.extended_main_secret.get_or_insert(true);
        let sessions = tessera_runtime::limits::PKCS11_SESSIONS;
        self.provisioning.pkcs11.sessions.get_or_insert(sessions);
        let most = tessera_provisioning::limits::PUSH_PER_SECOND;
        self.provisioning.push.per_second.get_or_insert(most);
        let ports = tessera_runtime::http::Outward::default().ports;
        self.provisioning.webhooks.ports.get_or_insert(ports);
        let behaviour = tessera_agent::behaviour::BehaviourConfig::default();
        let own = &mut self.behaviour;
        own.budget.get_or_insert(behaviour.policy.budget);
        own.shadow.get_or_insert(behaviour.policy.shadow);
        own.ceiling_messages.get_or_insert(behaviour.policy.ceiling_messages);
        own.ceiling_bytes.get_or_insert(behaviour.policy.ceiling_bytes);
        own.devices.get_or_insert(behaviour.most_devices);
        let own = &mut self.broker;
        own.ace_challenge.get_or_insert_with(|| "clear_only".to_owned());
        own.authz_info.get_or_insert(broker.authz_info);
        own.enrolment.get_or_insert(broker.enrolment);
        own.partner_tokens.get_or_insert_with(|| "off".to_owned());
        own.reason_strings.get_or_insert(broker.reason_strings);
        own.shared_for_v311.get_or_insert(broker.shared_for_v311);
        own.suppress_will_on_revocation.get_or_insert(broker.suppress_will_on_revocation);
        self
    }

    /// The files that it names, each with its key.
    fn files(&self) -> Vec<(&'static str, PathBuf)> {
        let all = [
            ("cafile", &self.cafile),
            ("behaviour.location.city", &self.behaviour.location.city),
            ("behaviour.location.asn", &self.behaviour.location.asn),
            ("derivation_key_file", &self.derivation_key_file),
            ("https.cert", &self.https.cert),
            ("https.key", &self.https.key),
            ("tls.cert", &self.tls.cert),
            ("tls.key", &self.tls.key),
            ("tls.client_ca", &self.tls.client_ca),
            ("provisioning.database.cafile", &self.provisioning.database.cafile),
            ("provisioning.pkcs11.module", &self.provisioning.pkcs11.module),
            ("provisioning.pkcs11.pin_file", &self.provisioning.pkcs11.pin_file),
            ("provisioning.push.cafile", &self.provisioning.push.cafile),
            ("provisioning.webhooks.cafile", &self.provisioning.webhooks.cafile),
            ("broker.resumption.ticket_key_file", &self.broker.resumption.ticket_key_file),
        ];
        all.into_iter().filter_map(|(key, path)| Some((key, path.clone()?))).collect()
    }
}

/// The settings as a file. Texts are written as in JSON, which TOML reads too.
pub(super) fn to_toml(settings: &Value) -> String {
    let mut out = String::new();
    if let Some(members) = settings.as_object() {
        section(&mut out, "", members);
    }
    out
}

fn section(out: &mut String, name: &str, members: &Map<String, Value>) {
    if !name.is_empty() {
        let _ = writeln!(out, "\n[{name}]");
    }
    for (key, value) in members {
        match value {
            Value::Object(_) => {}
            Value::Null => drop(writeln!(out, "# {key} is not set")),
            value => drop(writeln!(out, "{key} = {value}")),
        }
    }
    for (key, value) in members {
        if let Value::Object(below) = value {
            let is_bare = key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
            let key = if is_bare { key.clone() } else { format!("{key:?}") };
            let name = if name.is_empty() { key } else { format!("{name}.{key}") };
            section(out, &name, below);
        }
    }
}
