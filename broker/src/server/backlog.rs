//! The kernel cuts the backlog to a limit of its own, without a word.

use crate::limits::BACKLOG;

const SOMAXCONN: &str = "/proc/sys/net/core/somaxconn";

/// Warns when fewer connections can wait than asked for. Systems without that file say nothing.
pub(super) fn check() {
    let Ok(text) = std::fs::read_to_string(SOMAXCONN) else { return };
    if let Some(most) = cut(&text) {
        tracing::warn!(
            most,
            wanted = BACKLOG,
            "the system lets fewer connections wait to be accepted: raise net.core.somaxconn"
        );
    }
}

/// The system's limit, when it is smaller than ours.
fn cut(somaxconn: &str) -> Option<u32> {
    somaxconn.trim().parse().ok().filter(|most| *most < BACKLOG)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_smaller_limit_cuts() {
        assert_eq!(cut("128\n"), Some(128));
        assert_eq!(cut(&format!("{BACKLOG}\n")), None);
        assert_eq!(cut("65535\n"), None);
        assert_eq!(cut("many\n"), None);
    }
}
