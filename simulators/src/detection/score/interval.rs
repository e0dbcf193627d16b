//! The interval of a share, and the middle of a list.

/// The 95 % interval of `hits` of `all` after Wilson.
pub fn wilson(hits: u64, all: u64) -> (f64, f64) {
    if all == 0 {
        return (0.0, 1.0);
    }
    let (n, z) = (all as f64, 1.959_964);
    let share = hits as f64 / n;
    let middle = share + z * z / (2.0 * n);
    let half = z * (share * (1.0 - share) / n + z * z / (4.0 * n * n)).sqrt();
    let down = 1.0 + z * z / n;
    // The ends are exact where all or none were found.
    let low = if hits == 0 { 0.0 } else { (middle - half) / down };
    let high = if hits == all { 1.0 } else { (middle + half) / down };
    (low, high)
}

/// The value below which this share of the sorted list lies.
pub fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    sorted.get((share * last as f64).round() as usize).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_those_of_the_books() {
        let close = |found: (f64, f64), low: f64, high: f64| {
            assert!((found.0 - low).abs() < 0.001 && (found.1 - high).abs() < 0.001, "{found:?}");
        };
        close(wilson(194, 200), 0.936, 0.986);
        close(wilson(198, 200), 0.964, 0.997);
        close(wilson(0, 36), 0.0, 0.0964);
        close(wilson(36, 36), 0.9036, 1.0);
        close(wilson(0, 0), 0.0, 1.0);
        assert_eq!(quantile(&[1.0, 2.0, 3.0], 0.5), Some(2.0));
        assert_eq!(quantile(&[1.0, 2.0, 3.0], 0.9), Some(3.0));
        assert_eq!(quantile(&[], 0.9), None);
    }
}
