//! Where an address is, as the observer's location files say.

/// The place of a peer. Each part may be unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Place {
    /// The number of the autonomous system; 0 when it is not known.
    pub asn: u32,
    /// Two capital letters; none when it is not known.
    pub country: Option<[u8; 2]>,
    /// The point, when its accuracy is known too.
    pub point: Option<Point>,
    /// When the file of places was built, in seconds since 1970; 0 without one.
    pub built: u64,
    /// Whether the address is a satellite's, a relay's or an anonymous proxy's: the peer may be anywhere.
    pub relay: bool,
}

/// A point on the earth.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Degrees north.
    pub latitude: f32,
    /// Degrees east.
    pub longitude: f32,
    /// Kilometres around it in which the address is.
    pub radius_km: u16,
}

impl Place {
    /// The country from two letters; none when they are not.
    pub fn country_of(text: &str) -> Option<[u8; 2]> {
        let letters: [u8; 2] = text.as_bytes().try_into().ok()?;
        letters.iter().all(u8::is_ascii_uppercase).then_some(letters)
    }

    /// The country as text; empty when it is not known.
    pub fn country(&self) -> &str {
        let letters = self.country.as_ref().map(|letters| core::str::from_utf8(letters));
        letters.and_then(Result::ok).unwrap_or_default()
    }

    /// Whether anything is known.
    pub fn is_known(&self) -> bool {
        self.asn != 0 || self.country.is_some()
    }
}

impl Point {
    /// Kilometres to another point, on a sphere.
    pub fn distance_km(&self, other: &Self) -> f32 {
        let [a, b, c, d] = [self.latitude, other.latitude, self.longitude, other.longitude]
            .map(|degrees| f64::from(degrees).to_radians());
        let half =
            ((b - a) / 2.0).sin().powi(2) + a.cos() * b.cos() * ((d - c) / 2.0).sin().powi(2);
        (2.0 * 6371.0 * half.clamp(0.0, 1.0).sqrt().asin()) as f32
    }
}
