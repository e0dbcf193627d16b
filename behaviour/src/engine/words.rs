//! Signals in words with their numbers, and the command that an operator may want next.

use super::signal::{Alarm, SignalName};

/// The signal of an alarm in words.
pub(super) fn words(alarm: &Alarm) -> String {
    let (seen, usual) = (number(alarm.seen), number(alarm.usual));
    let times = alarm.seen / alarm.usual.max(1e-3);
    match alarm.signal {
        SignalName::StolenToken => {
            format!("its token was shown without the device's key {seen} times; usual is once in {usual} days")
        }
        SignalName::Impersonation => {
            format!("its token was shown under the name of another device {seen} times; usual is once in {usual} days")
        }
        SignalName::ReplayedProof => {
            format!("a proof that was used before was shown {seen} times; usual is once in {usual} days")
        }
        SignalName::ForeignTopics => {
            format!("it asked for topics of {seen} others; usual is one in {usual} days")
        }
        SignalName::TwoHolders => {
            format!("a client program came back {seen} times after another one; usual is once in {usual} days")
        }
        SignalName::SharedCredential => {
            format!("two sessions worked in turns {seen} times; usual is once in {usual} days")
        }
        SignalName::Alternation => {
            format!("it moved back to a network that it had left {seen} times in an hour; usual is {usual}")
        }
        SignalName::ForeignPlace => {
            format!(
                "it connected {seen} times from a country that is new to its group, while it was elsewhere; usual is once in {usual} days"
            )
        }
        SignalName::ProtocolFaults => {
            format!("its sessions broke the protocol {seen} times; usual is once in {usual} days")
        }
        SignalName::IdleSessions => {
            format!(
                "it holds {seen} sessions that say nothing; usual is such an hour in {usual} days"
            )
        }
        SignalName::Refusals => format!("{seen} requests were refused in an hour"),
        SignalName::OddTargets => {
            format!("it sent to {seen} topics that it never used, at an hour at which it never worked; usual is one in {usual} days")
        }
        SignalName::NewTargets => {
            format!("it sent to {seen} topics in an hour that it never used; usual is {usual}")
        }
        SignalName::Flood if alarm.usual <= 0.0 => {
            format!("{seen} messages in ten seconds, more than a device without habits may send")
        }
        SignalName::Burst if alarm.usual <= 0.0 => {
            format!("{seen} bytes in five minutes, more than a device without habits may send")
        }
        SignalName::Flood => {
            format!("{seen} messages in ten seconds, {times:.1} times as many as usual ({usual})")
        }
        SignalName::Burst => {
            format!("{seen} bytes in five minutes, {times:.1} times as many as usual ({usual})")
        }
        SignalName::BurstOfMessages => {
            format!("{seen} messages in five minutes, {times:.1} times as many as usual ({usual})")
        }
        SignalName::Volume => {
            format!("{seen} bytes in an hour, {times:.1} times as many as usual ({usual})")
        }
        SignalName::Size => {
            format!("messages of {seen} bytes, {times:.2} times as long as usual ({usual})")
        }
        SignalName::Pace => {
            format!("{seen} messages in five minutes with any, {times:.2} times as many as usual ({usual})")
        }
        SignalName::Mix => {
            format!("{seen} % of its messages are on topics that usually have {usual} %")
        }
        SignalName::NewTopics => {
            format!("{seen} topics in an hour that it never used; usual is {usual}")
        }
        SignalName::Drift => {
            format!("{seen} bytes a day, {times:.1} times as many as weeks ago ({usual})")
        }
        SignalName::Connects => format!("{seen} connects in an hour; usual is {usual}"),
        SignalName::Subscriptions => format!("{seen} subscriptions in an hour; usual is {usual}"),
        SignalName::Stranger => {
            format!(
                "{seen} bytes in an hour, {times:.1} times as many as its group sends ({usual})"
            )
        }
        SignalName::Unlike => {
            format!("its messages are {seen} times as long or as many as those of its group")
        }
        SignalName::Received => {
            format!("{seen} bytes were sent to it in an hour, {times:.1} times as many as usual ({usual})")
        }
    }
}

/// A number as people read it: no more digits than mean something.
fn number(value: f32) -> String {
    match value {
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 1.0 => format!("{value:.1}").trim_end_matches(".0").to_owned(),
        value => format!("{value:.3}"),
    }
}

/// The command for a device.
pub(super) fn device_advice(signal: SignalName, tenant: &str, device: &str) -> String {
    match signal {
        SignalName::StolenToken | SignalName::Impersonation | SignalName::ReplayedProof => {
            format!("tessera revoke device {device} --tenant {tenant}")
        }
        SignalName::TwoHolders
        | SignalName::SharedCredential
        | SignalName::Alternation
        | SignalName::ForeignPlace => {
            format!("tessera revoke device {device} --tenant {tenant}  # then enrol it again: its key may be copied")
        }
        _ => format!("tessera devices {device} --tenant {tenant}"),
    }
}

/// The command for a group or a campaign: it shows the changes of operators, and the attempts that were refused.
pub(super) fn tenant_advice(tenant: &str) -> String {
    match tenant {
        // Strangers at the door of a verifier of several tenants.
        "" => "tessera audit list".to_owned(),
        tenant => format!("tessera audit list --tenant {tenant}"),
    }
}
