//! A folder that goes when the demo goes.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use tessera_runtime::random::{self, SystemRandom};
use tessera_token::encoding::hex;

use crate::error::Fault;

/// A new folder for its owner alone; removed with everything in it when dropped.
pub(super) struct TemporaryFolder(PathBuf);

impl TemporaryFolder {
    pub(super) fn new() -> Result<Self, Fault> {
        let name: [u8; 8] = random::bytes(&SystemRandom)?;
        let path = std::env::temp_dir().join(format!("tessera-demo-{}", hex::encode(name)));
        let made = DirBuilder::new().mode(0o700).create(&path);
        made.map_err(|error| Fault::new(format!("{}: {error}", path.display())))?;
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        // A file that cannot be removed stays in the system's temporary folder, which the system clears.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
