//! The file `founded` of a data folder: all stores of a broker or an agent were made here. From then on a missing one is
//! a loss and no first start. It is written behind the last of them, so a first start that was cut off goes on.

use std::path::Path;

use tessera_runtime::secret::write_secret_file;

use crate::error::Fault;

const NAME: &str = "founded";

/// Whether the stores must be there.
pub(super) fn is_there(data: &Path) -> bool {
    data.join(NAME).exists()
}

/// Says that they are there, durably.
pub(super) fn note(data: &Path) -> Result<(), Fault> {
    match is_there(data) {
        true => Ok(()),
        false => Ok(write_secret_file(&data.join(NAME), b"")?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stays_once_it_was_noted() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!is_there(folder.path()));
        note(folder.path()).unwrap();
        note(folder.path()).unwrap();
        assert!(is_there(folder.path()));
    }
}
