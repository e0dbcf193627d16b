//! The service manager of the machine (`sd_notify(3)`): it is told that the process serves, that it is alive, and that it
//! stops. Without one, `NOTIFY_SOCKET` is not set, and nothing is said. The only file that names `sd_notify`.

use std::time::Duration;

use sd_notify::NotifyState;

/// The process serves; `status` is a word for people.
pub fn serving(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// A word for people.
pub fn status(status: &str) {
    tell(&[NotifyState::Status(status)]);
}

/// The process stops, as it was told.
pub fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("draining")]);
}

/// The process is alive: to be said within each span of [`watchdog`].
pub fn alive() {
    tell(&[NotifyState::Watchdog]);
}

/// The span after which a process that said nothing is restarted, when there is one.
pub fn watchdog() -> Option<Duration> {
    let mut micros = 0;
    let watched = sd_notify::watchdog_enabled(false, &mut micros);
    (watched && micros > 0).then(|| Duration::from_micros(micros))
}

fn tell(what: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(false, what) {
        tracing::warn!(%error, "the service manager cannot be told how the process stands");
    }
}
