//! Bytes as a tape of choices. A tape that has run out gives zeros, so every input is a whole scenario.

/// The tape.
pub struct Draw<'a> {
    rest: &'a [u8],
}

impl<'a> Draw<'a> {
    /// Starts at the first byte.
    pub fn new(data: &'a [u8]) -> Self {
        Self { rest: data }
    }

    /// Whether there are no bytes left.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// One byte.
    pub fn u8(&mut self) -> u8 {
        match self.rest.split_first() {
            Some((first, rest)) => {
                self.rest = rest;
                *first
            }
            None => 0,
        }
    }

    /// Two bytes, big end first.
    pub fn u16(&mut self) -> u16 {
        u16::from_be_bytes([self.u8(), self.u8()])
    }

    /// Eight bytes, big end first.
    pub fn u64(&mut self) -> u64 {
        u64::from_be_bytes(std::array::from_fn(|_| self.u8()))
    }

    /// A number below `most`, which is at most 256.
    pub fn below(&mut self, most: usize) -> usize {
        usize::from(self.u8()) % most.max(1)
    }

    /// True once in `of` times.
    pub fn one_in(&mut self, of: usize) -> bool {
        self.below(of) == of - 1
    }

    /// One of several.
    pub fn pick<'t, T>(&mut self, of: &'t [T]) -> &'t T {
        &of[self.below(of.len())]
    }

    /// Up to `most` bytes, as many as the next byte says.
    pub fn bytes(&mut self, most: usize) -> &'a [u8] {
        let wanted = self.below(most + 1);
        self.take(wanted)
    }

    /// Exactly `wanted` bytes, or what is left.
    pub fn take(&mut self, wanted: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(wanted.min(self.rest.len()));
        self.rest = rest;
        taken
    }

    /// All that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }
}

/// An integer near a place where code goes wrong, or any.
pub fn interesting(draw: &mut Draw<'_>, near: u64) -> u64 {
    let offset = u64::from(draw.u8() & 3);
    match draw.below(12) {
        0..=2 => near,
        3 => near.saturating_add(offset),
        4 => near.saturating_sub(offset),
        5 => near.saturating_add(61 * offset),
        6 => near.saturating_sub(61 * offset),
        7 => near.saturating_add(30 * 86_400 + offset),
        8 => offset,
        9 => u64::MAX - offset,
        10 => u64::from(u32::MAX) + offset,
        _ => draw.u64(),
    }
}
