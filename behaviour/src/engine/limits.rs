//! Bounds of the engine's state.

/// Devices with a profile.
pub const DEVICES: usize = 50_000;
/// One in so many profiles is let go at a time when the table is full, the longest idle first.
pub const EVICT_PART: usize = 64;
/// Bytes of one device, with all that it owns on the heap, without its names.
pub const DEVICE_BYTES: usize = 1024;
/// Groups with a baseline.
pub const GROUPS: usize = 2_048;
/// Tenants.
pub const TENANTS: usize = 1_024;
/// Services with a list of their targets; further ones have none.
pub const SERVICES: usize = 512;
/// Names that only outsiders showed, over all tenants.
pub const STRANGERS: usize = 4_096;
/// Networks of a tenant from which something was refused.
pub const SOURCES: usize = 256;
/// Devices whose place is remembered, and networks and countries with their devices of a day.
pub const PLACES: usize = 50_000;
/// Events of places that wait whether others come to the same country.
pub const PLACES_WAITING: usize = 1_024;
/// Devices of which topics are noted for an alert.
pub const NOTES: usize = 4_096;
/// Topics noted of a device.
pub const TOPICS_NOTED: usize = 4;
/// Bytes of a noted topic or client id.
pub const TEXT_BYTES: usize = 128;
/// Devices named by the alert of a group or of a campaign.
pub const DEVICES_NAMED: usize = 20;
/// Messages about one device on one day; the rest are counted in the next message.
pub const MESSAGES_A_DAY: u8 = 20;
/// Devices sampled of a group for its medians of one hour.
pub const SAMPLE: usize = 256;
/// Policies that differ from the default.
pub const POLICIES: usize = 4_096;

/// Milliseconds by which a clock may leap without being set.
pub const LEAP_MS: u64 = 600_000;
/// Hours that are judged one by one after a leap; what lies before them is skipped.
pub const HOURS_JUDGED: u32 = 24;
