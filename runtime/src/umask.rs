//! Files that the process creates are for its owner alone. The only file that names `rustix`.

use rustix::fs::Mode;
use rustix::process::umask;

/// From now on no file, folder or socket that this process creates can be opened by others, whatever made it.
pub fn owner_alone() {
    let _ = umask(Mode::RWXG | Mode::RWXO);
}
