//! Secrets that come by the command line, the environment or a file. None is ever printed from here.

use std::fs;
use std::path::Path;

use tessera_runtime::secret::{read_public_text, read_secret_text, Secret, SecretFileError};
use tessera_token::encoding::{from_base64url, hex};
use tessera_token::key::Thumbprint;
use tessera_token::limits::{ROOT_LINKS, ROOT_LINK_BYTES};
use tessera_token::proof::SymmetricKey;
use tessera_token::trust::RootRequest;

use crate::error::Fault;

const OPERATOR_VARIABLE: &str = "TESSERA_OPERATOR_TOKEN";
const OPERATOR_FILE: &str = "tessera-data/operator.token";

/// `TEXT`, or the content of FILE for `@FILE`.
pub(crate) fn text_or_file(given: &str) -> Result<Secret<String>, Fault> {
    match given.strip_prefix('@') {
        Some(path) => Ok(read_secret_text(Path::new(path))?),
        None => Ok(Secret::new(given.to_owned())),
    }
}

/// The operator token: as given, else of the environment, else of the folder that `tessera up` makes.
pub(crate) fn operator_token(given: Option<&str>) -> Result<Secret<String>, Fault> {
    if let Some(given) = given {
        return text_or_file(given);
    }
    if let Ok(text) = std::env::var(OPERATOR_VARIABLE) {
        return text_or_file(&text);
    }
    read_secret_text(Path::new(OPERATOR_FILE)).map_err(|error| match error {
        SecretFileError::Io(..) => Fault::new("no operator token").hint(format!(
            "give --operator-token @DATA/operator.token, or set {OPERATOR_VARIABLE}"
        )),
        error => error.into(),
    })
}

/// A symmetric key as base64url.
pub(crate) fn symmetric(text: &Secret<String>) -> Result<SymmetricKey, Fault> {
    let bytes = from_base64url(text.expose()).map(Secret::new);
    let key = bytes.and_then(|bytes| SymmetricKey::from_bytes(bytes.expose()));
    key.ok_or_else(|| Fault::new("a key is 32 to 64 bytes as base64url without padding"))
}

/// A thumbprint, or the one in a file of this name. It is no secret.
pub(crate) fn read_thumbprint(given: &str) -> Result<Thumbprint, Fault> {
    match Path::new(given).is_file() {
        true => thumbprint(&read_public_text(Path::new(given))?),
        false => thumbprint(given),
    }
}

/// Bytes of a root request, with room.
const REQUEST_BYTES: u64 = ((ROOT_LINKS + 2) * ROOT_LINK_BYTES) as u64;

/// A request for other root keys, signed or not; `root.links` of a data folder is one.
pub(crate) fn read_root_request(file: &Path) -> Result<RootRequest, Fault> {
    let named = |why: String| Fault::new(format!("{}: {why}", file.display()));
    let size = fs::metadata(file).map_err(|error| named(error.to_string()))?.len();
    if size > REQUEST_BYTES {
        return Err(named(format!("larger than {REQUEST_BYTES} bytes: it is no root request")));
    }
    let bytes = fs::read(file).map_err(|error| named(error.to_string()))?;
    RootRequest::from_cbor(&bytes).map_err(|error| named(format!("it is no root request: {error}")))
}

/// A thumbprint as 64 hexadecimal digits or 43 characters of base64url.
fn thumbprint(text: &str) -> Result<Thumbprint, Fault> {
    let bytes = match text.len() {
        64 => hex::decode(text),
        _ => from_base64url(text),
    };
    let bytes = bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    bytes.map(Thumbprint::from_bytes).ok_or_else(|| {
        Fault::new(format!("{text:?} is neither a thumbprint nor a file with one"))
            .hint("provisioning writes it to DATA/root.thumbprint")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_taken_as_it_is_or_from_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t");
        tessera_runtime::secret::write_secret_file(&path, b"abc\n").unwrap();
        assert_eq!(text_or_file("plain").unwrap().expose(), "plain");
        let named = format!("@{}", path.display());
        assert_eq!(text_or_file(&named).unwrap().expose(), "abc");
        assert_eq!(operator_token(Some(&named)).unwrap().expose(), "abc");
        assert!(text_or_file("@/nowhere/at/all").is_err());
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        std::fs::set_permissions(&path, open).unwrap();
        let told = text_or_file(&named).err().unwrap().to_string();
        assert!(told.contains("0644") && told.contains("chmod 600"), "{told}");
    }
}
