use tessera_behaviour::alert::Alert;
use tessera_behaviour::engine::{SignalName, Totals};
use tessera_runtime::metrics::{Counter, Gauge, Metrics, MetricsError};

/// Metrics of behaviour tracking.
pub(super) struct Counters {
    alerts: Counter,
    observations: Counter,
    dropped: Told,
    strangers_dropped: Told,
    evicted: Told,
    rows_left: Told,
    leaps: Told,
    excused: Told,
    let_go: Told,
    inventory_left_out: Told,
    recorded: Told,
    record_errors: Told,
    inventory_devices: Gauge,
    waiting: Gauge,
    devices: Gauge,
    pub(super) store_errors: Counter,
    pub(super) written: Counter,
}

/// A counter that follows a total.
struct Told {
    counter: Counter,
    told: u64,
}

impl Told {
    fn follow(&mut self, total: u64) {
        if total > self.told {
            self.counter.add(&[], total - self.told);
            self.told = total;
        }
    }
}

impl Counters {
    pub(super) fn new(metrics: &Metrics) -> Result<Self, MetricsError> {
        let counter = |name, help| metrics.counter(name, help, &[]);
        let told_counter =
            |name, help| counter(name, help).map(|counter| Told { counter, told: 0 });
        let alerts = metrics.counter(
            "tessera_behaviour_alerts_total",
            "Messages of alerts, by the signal that caused them",
            &["signal"],
        )?;
        SignalName::ALL.iter().for_each(|name| alerts.present(&[name.as_str()]));
        Ok(Self {
            alerts,
            observations: counter(
                "tessera_behaviour_observations_total",
                "Observations processed",
            )?,
            dropped: told_counter(
                "tessera_behaviour_dropped_total",
                "Observations dropped because the queue was full",
            )?,
            strangers_dropped: told_counter(
                "tessera_behaviour_strangers_dropped_total",
                "Refused peers without a signed token that were dropped because their queue was full",
            )?,
            evicted: told_counter(
                "tessera_behaviour_evicted_total",
                "Profiles removed because the table was full",
            )?,
            rows_left: told_counter(
                "tessera_behaviour_rows_left_total",
                "Rows of removed profiles that stay in the store until the next start",
            )?,
            leaps: told_counter(
                "tessera_behaviour_clock_leaps_total",
                "Times that the clock was set by more than ten minutes",
            )?,
            excused: told_counter(
                "tessera_behaviour_excused_total",
                "Alarms that were not told, since their group changed or a change was announced",
            )?,
            let_go: told_counter(
                "tessera_behaviour_alerts_let_go_total",
                "Alerts that provisioning had not taken when too many waited",
            )?,
            recorded: told_counter(
                "tessera_behaviour_recorded_total",
                "Observations that were recorded in files",
            )?,
            record_errors: told_counter(
                "tessera_behaviour_record_errors_total",
                "Times that the record of observations could not be written",
            )?,
            inventory_left_out: told_counter(
                "tessera_inventory_left_out_total",
                "Devices and refused topics that the inventory of topics had no room for",
            )?,
            inventory_devices: metrics.gauge(
                "tessera_inventory_devices",
                "Devices in the inventory of topics until they are told to provisioning",
                &[],
            )?,
            waiting: metrics.gauge(
                "tessera_behaviour_alerts_waiting",
                "Alerts that wait until provisioning has taken them",
                &[],
            )?,
            devices: metrics.gauge("tessera_behaviour_devices", "Profiles in memory", &[])?,
            store_errors: counter(
                "tessera_behaviour_store_errors_total",
                "Profiles that could not be written or read",
            )?,
            written: counter(
                "tessera_behaviour_profiles_written_total",
                "Profiles written to the store",
            )?,
        })
    }

    pub(super) fn alert(&self, alert: &Alert) {
        for signal in &alert.signals {
            self.alerts.inc(&[&signal.name]);
        }
    }

    pub(super) fn follow(&mut self, taken: usize, dropped: u64, rows_left: u64, totals: Totals) {
        if taken > 0 {
            self.observations.add(&[], taken as u64);
        }
        self.dropped.follow(dropped);
        self.rows_left.follow(rows_left);
        self.evicted.follow(totals.evicted);
        self.leaps.follow(totals.leaps);
        self.excused.follow(totals.excused);
    }

    pub(super) fn kept(&mut self, waiting: u64, let_go: u64) {
        self.waiting.set(&[], i64::try_from(waiting).unwrap_or(i64::MAX));
        self.let_go.follow(let_go);
    }

    /// The lines and the errors of the record.
    pub(super) fn recorded(&mut self, (lines, errors): (u64, u64)) {
        self.recorded.follow(lines);
        self.record_errors.follow(errors);
    }

    /// The devices in the inventory, and how many things it had no room for.
    pub(super) fn inventory(&mut self, (devices, left_out): (usize, u64)) {
        self.inventory_devices.set(&[], i64::try_from(devices).unwrap_or(i64::MAX));
        self.inventory_left_out.follow(left_out);
    }

    pub(super) fn strangers(&mut self, dropped: u64) {
        self.strangers_dropped.follow(dropped);
    }

    pub(super) fn devices(&self, devices: usize) {
        self.devices.set(&[], i64::try_from(devices).unwrap_or(i64::MAX));
    }
}
