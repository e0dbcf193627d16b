//! Small numbers: logarithms in 16 bits, and reads of a slice that cannot fail.

/// A number in 16 bits, 1/`PER` apart, held at the ends of its range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Fixed<const PER: i32>(pub(super) i16);

impl<const PER: i32> Fixed<PER> {
    pub(super) fn new(value: f32) -> Self {
        // A cast of a float holds at the ends, and takes a NaN for 0.
        Self((value * PER as f32).round() as i16)
    }

    pub(super) fn get(self) -> f32 {
        f32::from(self.0) / PER as f32
    }

    pub(super) fn set(&mut self, value: f32) {
        *self = Self::new(value);
    }
}

/// The logarithm of evidence.
pub(super) type Evidence = Fixed<256>;
/// A residual.
pub(super) type Residual = Fixed<1024>;

/// No evidence at all: so small a logarithm that it adds nothing.
pub(super) const NONE: f32 = -120.0;

/// `ln(1 + e^x)`.
pub(super) fn ln_one_plus(x: f32) -> f32 {
    match x {
        x if x > 15.0 => x,
        x if x < -15.0 => 0.0,
        x => x.exp().ln_1p(),
    }
}

/// The logarithm of the mean of what the logarithms stand for.
pub(super) fn ln_mean(values: &[f32]) -> f32 {
    let top = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if !top.is_finite() {
        return NONE;
    }
    let sum: f32 = values.iter().map(|value| (value - top).exp()).sum();
    top + (sum / values.len().max(1) as f32).ln()
}

/// The value at a place, or the default.
pub(super) fn at<T: Copy + Default>(values: &[T], place: usize) -> T {
    values.get(place).copied().unwrap_or_default()
}

/// Sets the value at a place that exists.
pub(super) fn put<T>(values: &mut [T], place: usize, value: T) {
    if let Some(slot) = values.get_mut(place) {
        *slot = value;
    }
}

/// A number of the wire as a float.
pub(super) fn float(value: u64) -> f32 {
    value as f32
}

/// A float as a count, held at the ends.
pub(super) fn count(value: f32) -> u32 {
    value as u32
}
