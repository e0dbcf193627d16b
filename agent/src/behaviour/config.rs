/// When behaviour is told. The defaults are meant for a fleet of small devices.
#[derive(Clone, Debug)]
pub struct BehaviourConfig {
    /// Score (0 to 100) from which an alert is raised.
    pub alert_score: u32,
    /// Seconds of quiet after which the same signal of the same device is told again.
    pub cool_down_seconds: u32,
    /// Publishes a second, as a mean over ten seconds, that a device without a baseline may reach.
    pub ceiling_publishes: u32,
    /// Bytes a second, as a mean over ten seconds, that a device without a baseline may reach.
    pub ceiling_bytes: u32,
    /// How many times these ceilings hold for services, which act for many devices.
    pub service_factor: u32,
    /// Profiles held in memory; the longest idle is let go. About 2 KiB each.
    pub most_devices: usize,
}

impl Default for BehaviourConfig {
    fn default() -> Self {
        Self {
            alert_score: 50,
            cool_down_seconds: 600,
            ceiling_publishes: 50,
            ceiling_bytes: 256 * 1024,
            service_factor: 40,
            most_devices: 50_000,
        }
    }
}
