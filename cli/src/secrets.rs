//! Secrets that come by the command line, the environment or a file. None is ever printed from here.

use std::path::Path;

use tessera_runtime::secret::{read_secret_text, Secret};

use crate::fault::Fault;

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
    read_secret_text(Path::new(OPERATOR_FILE)).map_err(|_| {
        Fault::new("no operator token")
            .hint(format!("give --operator-token @DATA/operator.token, or set {OPERATOR_VARIABLE}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_taken_as_it_is_or_from_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t");
        std::fs::write(&path, "abc\n").unwrap();
        assert_eq!(text_or_file("plain").unwrap().expose(), "plain");
        let named = format!("@{}", path.display());
        assert_eq!(text_or_file(&named).unwrap().expose(), "abc");
        assert_eq!(operator_token(Some(&named)).unwrap().expose(), "abc");
        assert!(text_or_file("@/nowhere/at/all").is_err());
    }
}
