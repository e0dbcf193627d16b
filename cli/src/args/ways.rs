//! The verbs about the ways of enrolment.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand};

use super::account::TenantArgs;
use super::list::ListArgs;

/// Role and group of the devices that enrol.
#[derive(Args, Clone)]
pub(crate) struct RightsArgs {
    /// The role of the devices.
    #[arg(long, value_name = "ROLE")]
    pub(crate) role: String,
    /// The group of the devices; it must take the way (`tessera group ways`).
    #[arg(long, value_name = "GROUP", default_value = "default")]
    pub(crate) group: String,
}

#[derive(Subcommand)]
pub(crate) enum ListedKeyCommand {
    /// List the public key of a device, which then enrols by its key alone, once.
    #[command(
        group(ArgGroup::new("by").required(true).args(["key", "thumbprint"])),
        after_help = "Examples:
  tessera group ways default --set claim,key
  tessera listed-key add d-17 --role sensor --thumbprint \"$(tessera device key --dir d-17 --thumbprint)\"
The same entry once more changes nothing."
    )]
    Add {
        /// The device id.
        device: String,
        /// The public key as base64url: 32 bytes on Ed25519, 65 on P-256.
        #[arg(long, value_name = "KEY")]
        key: Option<String>,
        /// The RFC 9679 thumbprint of the public key, as base64url or hexadecimal, or a file with it.
        #[arg(long, value_name = "THUMBPRINT|FILE")]
        thumbprint: Option<String>,
        #[command(flatten)]
        rights: RightsArgs,
        #[command(flatten)]
        tenant: TenantArgs,
    },
    /// Listed keys, and whether they were used.
    List {
        #[command(flatten)]
        rows: ListArgs,
        #[command(flatten)]
        tenant: TenantArgs,
    },
    /// Take a key off the list; a device that has enrolled stays enrolled.
    Delete {
        /// The device id.
        device: String,
        #[command(flatten)]
        tenant: TenantArgs,
    },
}

#[derive(Subcommand)]
pub(crate) enum GroupKeyCommand {
    /// Make a group key, from which a factory derives the secret of each device.
    #[command(after_help = "Examples:
  tessera group ways default --set claim,group_key
  tessera group-key create line-1 --role sensor --plain > line-1.key
  tessera group-key create line-2 --role sensor --key @line-2.key
The service shows a key that it drew once, here. With --key it takes yours, and shows none.")]
    Create {
        /// Its name.
        name: String,
        #[command(flatten)]
        rights: RightsArgs,
        /// 32 to 64 bytes as base64url, or @FILE with them (default: the service draws 32).
        #[arg(long, value_name = "KEY|@FILE")]
        key: Option<String>,
        /// The key alone, for a file.
        #[arg(long, conflicts_with_all = ["json", "key"])]
        plain: bool,
        #[command(flatten)]
        tenant: TenantArgs,
    },
    /// Group keys, without their bytes.
    List {
        #[command(flatten)]
        rows: ListArgs,
        #[command(flatten)]
        tenant: TenantArgs,
    },
    /// Put a new primary key in place. The former one becomes the secondary: secrets of both are accepted.
    #[command(after_help = "Example:
  tessera group-key rotate line-1 --plain > line-1-new.key
When all devices with the former secrets have enrolled: tessera group-key drop-secondary line-1")]
    Rotate {
        /// Its name.
        name: String,
        /// As for `create`.
        #[arg(long, value_name = "KEY|@FILE")]
        key: Option<String>,
        /// The key alone, for a file.
        #[arg(long, conflicts_with_all = ["json", "key"])]
        plain: bool,
        #[command(flatten)]
        tenant: TenantArgs,
    },
    /// Forget the secondary key: secrets that follow from it are refused.
    DropSecondary {
        /// Its name.
        name: String,
        #[command(flatten)]
        tenant: TenantArgs,
    },
    /// Delete a group key: no further device enrols by it.
    Delete {
        /// Its name.
        name: String,
        #[command(flatten)]
        tenant: TenantArgs,
    },
    /// Let device ids enrol by a group key, each once.
    #[command(after_help = "Examples:
  tessera group-key add line-1 d-17 d-18
  tessera group-key add line-1 --ids ids.txt")]
    Add {
        /// The name of the group key.
        name: String,
        #[command(flatten)]
        ids: IdsArgs,
        #[command(flatten)]
        tenant: TenantArgs,
    },
    /// The device ids that may enrol by a group key, and whether they have.
    Devices {
        /// The name of the group key.
        name: String,
        #[command(flatten)]
        rows: ListArgs,
        #[command(flatten)]
        tenant: TenantArgs,
    },
    /// Take a device id off the list; a device that has enrolled stays enrolled.
    Remove {
        /// The name of the group key.
        name: String,
        /// The device id.
        device: String,
        #[command(flatten)]
        tenant: TenantArgs,
    },
    /// Derive the secrets of devices from a group key, offline: for the factory.
    #[command(after_help = "Examples:
  tessera group-key derive --key @line-1.key d-17
  tessera group-key derive --key @line-1.key --ids ids.txt > secrets.txt
Each line is an id and its secret: HMAC-SHA-256(group key, id) as base64url. Put into a device its own secret alone. No
server is asked.")]
    Derive {
        /// The group key as base64url, or @FILE with it.
        #[arg(long, value_name = "KEY|@FILE")]
        key: String,
        #[command(flatten)]
        ids: IdsArgs,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Device ids of the command line or of a file.
#[derive(Args, Clone)]
#[group(required = true, multiple = false)]
pub(crate) struct IdsArgs {
    /// Device ids.
    #[arg(value_name = "ID")]
    pub(crate) devices: Vec<String>,
    /// A file with device ids, one a line.
    #[arg(long, value_name = "FILE")]
    pub(crate) ids: Option<PathBuf>,
}

#[derive(Subcommand)]
pub(crate) enum AuthorityCommand {
    /// Let devices enrol by certificates that this authority of a manufacturer signed.
    #[command(after_help = "Examples:
  tessera group ways default --set claim,certificate
  tessera authority add maker-ca.pem --role sensor
  tessera authority add maker-ca.pem --role sensor --id-from serial-number
The certificate of a device must name its id there. Keys are on Ed25519 or P-256.")]
    Add {
        /// The certificate of the authority, in PEM.
        file: PathBuf,
        #[command(flatten)]
        rights: RightsArgs,
        /// The part of a device's certificate that names the device.
        #[arg(long, default_value = "common-name", value_parser = ["common-name", "serial-number", "alternative-name"])]
        id_from: String,
        #[command(flatten)]
        tenant: TenantArgs,
    },
    /// Authorities of manufacturers.
    List {
        #[command(flatten)]
        rows: ListArgs,
        #[command(flatten)]
        tenant: TenantArgs,
    },
    /// Remove an authority: no further device enrols by its certificates.
    Delete {
        /// Its fingerprint, from the list.
        authority: String,
        #[command(flatten)]
        tenant: TenantArgs,
    },
}

#[derive(Subcommand)]
pub(crate) enum DeniedCertificateCommand {
    /// Deny a certificate: no device enrols by it, nor by one that it signed.
    #[command(after_help = "Examples:
  tessera denied-certificate add serial:0a1b2c
  tessera denied-certificate add \"sha256:$(openssl x509 -in d-17.pem -noout -fingerprint -sha256 | cut -d= -f2)\"
A device that has enrolled stays enrolled: revoke it with `tessera revoke device`.")]
    Add {
        /// `sha256:` and the fingerprint, or `serial:` and the serial number, in hexadecimal digits.
        certificate: String,
        #[command(flatten)]
        tenant: TenantArgs,
    },
    /// Denied certificates.
    List {
        #[command(flatten)]
        rows: ListArgs,
        #[command(flatten)]
        tenant: TenantArgs,
    },
    /// Take a certificate off the list.
    Delete {
        /// As in the list.
        certificate: String,
        #[command(flatten)]
        tenant: TenantArgs,
    },
}

#[derive(Subcommand)]
pub(crate) enum ApprovalCommand {
    /// Requests of devices, with the thumbprints of their keys, and the decisions.
    #[command(after_help = "Examples:
  tessera approval list --where state=waiting
  tessera approval approve 0011223344556677 --role sensor
Compare the thumbprint with the one that `tessera device key --dir DIR` shows on the device.")]
    List {
        #[command(flatten)]
        rows: ListArgs,
        #[command(flatten)]
        tenant: TenantArgs,
    },
    /// Approve a request: the device enrols when it asks again.
    Approve {
        /// Its id, from the list.
        id: String,
        #[command(flatten)]
        rights: RightsArgs,
        #[command(flatten)]
        tenant: TenantArgs,
    },
    /// Refuse a request: the device is told so when it asks again.
    Refuse {
        /// Its id, from the list.
        id: String,
        #[command(flatten)]
        tenant: TenantArgs,
    },
    /// Forget a request: the device may ask anew.
    Delete {
        /// Its id, from the list.
        id: String,
        #[command(flatten)]
        tenant: TenantArgs,
    },
}
