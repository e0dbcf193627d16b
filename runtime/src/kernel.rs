//! Calls of the kernel that the standard library lacks. The only file that names `rustix`.

use std::time::Duration;

use rustix::fs::Mode;
use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::umask;
use rustix::time::{clock_gettime, ClockId};

/// `CLOCK_MONOTONIC` stands still while a machine sleeps; `CLOCK_BOOTTIME` goes on. Other systems have only the first.
#[cfg(any(target_os = "linux", target_os = "android"))]
const SINCE_BOOT: ClockId = ClockId::Boottime;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const SINCE_BOOT: ClockId = ClockId::Monotonic;

/// From now on no file, folder or socket that this process creates can be opened by others, whatever made it.
pub fn owner_alone() {
    let _ = umask(Mode::RWXG | Mode::RWXO);
}

/// Time since the machine started, sleep included. Never goes back. For [`crate::clock`] alone.
#[allow(clippy::disallowed_methods, reason = "the clock reads through here")]
pub(crate) fn since_boot() -> Duration {
    let now = clock_gettime(SINCE_BOOT);
    Duration::new(
        u64::try_from(now.tv_sec).unwrap_or_default(),
        u32::try_from(now.tv_nsec).unwrap_or_default(),
    )
}

/// Ticks of a second in `/proc/PID/stat`, and bytes of a page of memory there.
pub(crate) fn units() -> (u64, usize) {
    (clock_ticks_per_second(), page_size())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    /// `/proc/uptime` counts sleep, and the offset of a time namespace.
    #[test]
    fn time_since_boot_is_that_of_the_kernel() {
        let told = |text: &str| text.split(' ').next().unwrap().parse::<f64>().unwrap();
        let before = told(&std::fs::read_to_string("/proc/uptime").unwrap());
        let now = since_boot().as_secs_f64();
        let after = told(&std::fs::read_to_string("/proc/uptime").unwrap());
        assert!(before - 0.02 <= now && now <= after + 0.02, "{before} {now} {after}");
    }
}
