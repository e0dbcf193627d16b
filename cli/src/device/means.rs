//! The means that entitle a device which enrols, read from the command line and its files.

use tessera_runtime::clock::SystemClock;
use tessera_runtime::secret::{read_secret_text, Secret};
use tessera_runtime::tls::signing::CertificateKey;
use tessera_runtime::x509;
use tessera_token::ids::DeviceId;
use tessera_token::messages::{device_secret, Means};
use tessera_token::proof::SymmetricKey;

use crate::args::MeansArgs;
use crate::error::Fault;
use crate::secrets;

/// The means that the user gave.
pub(super) enum Given {
    Claim(Secret<String>),
    Key,
    Secret(SymmetricKey),
    /// A group key: the device's secret follows from it and the id.
    GroupKey(SymmetricKey),
    Certificate(CertificateKey),
    Approval,
}

impl Given {
    pub(super) fn read(args: &MeansArgs) -> Result<Self, Fault> {
        if let Some(claim) = &args.claim {
            return Ok(Self::Claim(secrets::text_or_file(claim)?));
        }
        if let Some(secret) = &args.device_secret {
            return Ok(Self::Secret(secrets::symmetric(&secrets::text_or_file(secret)?)?));
        }
        if let Some(file) = &args.group_key_file {
            return Ok(Self::GroupKey(secrets::symmetric(&read_secret_text(file)?)?));
        }
        if let Some((cert, key)) = args.cert.as_ref().zip(args.cert_key.as_ref()) {
            return Ok(Self::Certificate(CertificateKey::load(cert, key)?));
        }
        match args.approval {
            true => Ok(Self::Approval),
            false => Ok(Self::Key),
        }
    }

    /// The device id: as given, else the common name of the certificate.
    pub(super) fn device(&self, given: Option<&str>) -> Result<DeviceId, Fault> {
        if let Some(given) = given {
            return Ok(DeviceId::parse(given)?);
        }
        let unnamed = || Fault::new("the certificate has no common name").hint("give --device ID");
        let Self::Certificate(key) = self else { return Err(unnamed()) };
        let leaf = key.chain().first().ok_or_else(unnamed)?;
        let read = x509::device_certificate(leaf, SystemClock::shared().unix())?;
        Ok(DeviceId::parse(&read.common_name.ok_or_else(unnamed)?)?)
    }

    /// The same for a device of this id.
    pub(super) fn of(self, device: &DeviceId) -> Self {
        match self {
            Self::GroupKey(key) => Self::Secret(device_secret(&key, device)),
            other => other,
        }
    }

    /// The means as the request takes them.
    pub(super) fn means<'a>(
        &'a self,
        sign: &'a (dyn Fn(&[u8]) -> Option<[u8; 64]> + Sync),
    ) -> Means<'a> {
        match self {
            Self::Claim(claim) => Means::Claim(claim.expose()),
            Self::Key => Means::Key,
            Self::Secret(secret) | Self::GroupKey(secret) => Means::GroupKey(secret),
            Self::Certificate(key) => Means::Certificate { chain: key.chain().to_vec(), sign },
            Self::Approval => Means::Approval,
        }
    }

    /// Signs by the key of the certificate, where there is one.
    pub(super) fn sign(&self, message: &[u8]) -> Option<[u8; 64]> {
        match self {
            Self::Certificate(key) => key.sign(message),
            _ => None,
        }
    }
}
