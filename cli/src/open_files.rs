//! The limit of open files of this process and of its children.

use crate::error::Fault;

/// Raises it as far as this user may.
///
/// # Errors
/// It stays below `needed`; `fewer` names the flag that needs less.
pub(crate) fn raise(needed: u64, fewer: &str) -> Result<(), Fault> {
    let limit = rlimit::increase_nofile_limit(u64::MAX)?;
    if limit >= needed {
        return Ok(());
    }
    let words = format!("{needed} open files are needed, and this user may have {limit}");
    Err(Fault::new(words)
        .hint(format!("raise it (ulimit -Hn {needed}, as root), or use fewer {fewer}")))
}
