//! The shape of a topic: the topic with the device's own name taken out, so that the devices of a role use the same ones.

/// The level that stands for the name of the device, as in the templates of roles.
const DEVICE: &str = "{device}";

/// The shape of a topic or filter. A level with braces is any level: it would be read as the name of something.
pub(super) fn of(topic: &str, device: &str) -> String {
    let mut shape = String::with_capacity(topic.len());
    for (place, level) in topic.split('/').enumerate() {
        if place > 0 {
            shape.push('/');
        }
        shape.push_str(match level {
            level if level == device => DEVICE,
            level if level.contains(['{', '}']) => "+",
            level => level,
        });
    }
    shape
}

/// All that has the first levels of a shape: `#` for none of them.
pub(super) fn widened(shape: &str, levels: usize) -> String {
    let first: Vec<&str> = shape.split('/').take(levels).collect();
    match first.is_empty() {
        true => "#".to_owned(),
        false => format!("{}/#", first.join("/")),
    }
}

/// Whether there are more levels than these.
pub(super) fn is_deeper(shape: &str, levels: usize) -> bool {
    shape.split('/').nth(levels).is_some()
}
