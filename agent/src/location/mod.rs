//! Where an address is, by files in the MaxMind format: the autonomous system, the country, and the place with its accuracy.
//!
//! A file is read into memory and verified as a whole before it is used. A mapped file would end the process when it is
//! replaced in place.

#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::Read;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use maxminddb::{path, Reader};
use parking_lot::RwLock;
pub use tessera_behaviour::observation::{Place, Point};

/// Bytes of a file: several times those of the largest that are published.
pub const FILE_BYTES: u64 = 256 * 1024 * 1024;

/// Flags of a record that say that the peer may be anywhere.
const RELAYS: [&str; 3] = ["is_satellite_provider", "is_anonymous_proxy", "is_anycast"];

/// The files, each optional.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocationFiles {
    /// Countries, and places when it has them.
    pub city: Option<PathBuf>,
    /// Autonomous systems.
    pub asn: Option<PathBuf>,
}

impl LocationFiles {
    /// Whether there is one.
    pub fn any(&self) -> bool {
        self.city.is_some() || self.asn.is_some()
    }
}

/// Why a file cannot be used.
#[derive(Debug)]
pub enum LocationError {
    /// It cannot be read.
    Unreadable(PathBuf, std::io::Error),
    /// It is larger than [`FILE_BYTES`].
    TooLarge(PathBuf),
    /// It is no sound file of this format.
    Damaged(PathBuf, String),
}

impl std::fmt::Display for LocationError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unreadable(path, error) => {
                write!(f, "the location file {} cannot be read: {error}", path.display())
            }
            Self::TooLarge(path) => write!(
                f,
                "the location file {} is larger than {} MiB: use a smaller one",
                path.display(),
                FILE_BYTES / 1024 / 1024
            ),
            Self::Damaged(path, error) => write!(
                f,
                "the location file {} is damaged or of another format: {error}: download it again",
                path.display()
            ),
        }
    }
}

impl std::error::Error for LocationError {}

/// The files as they were last read. Cheap to clone.
#[derive(Clone)]
pub struct Locator(Arc<Inner>);

struct Inner {
    files: LocationFiles,
    loaded: RwLock<Arc<Loaded>>,
}

#[derive(Default)]
struct Loaded {
    city: Option<Reader<Vec<u8>>>,
    asn: Option<Reader<Vec<u8>>>,
}

impl Locator {
    /// Reads and verifies the files.
    ///
    /// # Errors
    /// The first that cannot be used.
    pub fn open(files: LocationFiles) -> Result<Self, LocationError> {
        let loaded = RwLock::new(Arc::new(Loaded::read(&files)?));
        Ok(Self(Arc::new(Inner { files, loaded })))
    }

    /// Reads the files again. The readers of before stay when one of them cannot be used.
    ///
    /// # Errors
    /// The first that cannot be used.
    pub fn reload(&self) -> Result<(), LocationError> {
        let loaded = Arc::new(Loaded::read(&self.0.files)?);
        *self.0.loaded.write() = loaded;
        Ok(())
    }

    /// The files.
    pub fn files(&self) -> &LocationFiles {
        &self.0.files
    }

    /// The place of an address.
    pub fn place(&self, address: IpAddr) -> Place {
        let loaded = Arc::clone(&self.0.loaded.read());
        loaded.place(address.to_canonical())
    }
}

impl Loaded {
    fn read(files: &LocationFiles) -> Result<Self, LocationError> {
        let read = |path: &Option<PathBuf>| path.as_deref().map(verified).transpose();
        Ok(Self { city: read(&files.city)?, asn: read(&files.asn)? })
    }

    /// A member that is not found, or is of another type, is not known.
    fn place(&self, address: IpAddr) -> Place {
        let mut place = Place::default();
        if let Some(found) = self.asn.as_ref().and_then(|file| file.lookup(address).ok()) {
            let asn = found.decode_path(&path!["autonomous_system_number"]);
            place.asn = asn.ok().flatten().unwrap_or(0);
        }
        let Some(city) = &self.city else { return place };
        place.built = city.metadata().build_epoch;
        let Ok(found) = city.lookup(address) else { return place };
        let code: Option<&str> = found.decode_path(&path!["country", "iso_code"]).ok().flatten();
        place.country = code.and_then(Place::country_of);
        let says =
            |name| found.decode_path::<bool>(&path!["traits", name]).ok().flatten() == Some(true);
        place.relay = RELAYS.into_iter().any(says);
        let number = |name| found.decode_path::<f64>(&path!["location", name]).ok().flatten();
        let radius = found.decode_path::<u16>(&path!["location", "accuracy_radius"]);
        let point = number("latitude").zip(number("longitude")).zip(radius.ok().flatten());
        let is_on_earth = |latitude: f64, longitude: f64| {
            (-90.0..=90.0).contains(&latitude) && (-180.0..=180.0).contains(&longitude)
        };
        place.point = point.and_then(|((latitude, longitude), radius_km)| {
            #[allow(clippy::cast_possible_truncation, reason = "degrees: a few metres are lost")]
            let (north, east) = (latitude as f32, longitude as f32);
            let point = Point { latitude: north, longitude: east, radius_km };
            is_on_earth(latitude, longitude).then_some(point)
        });
        place
    }
}

fn verified(path: &Path) -> Result<Reader<Vec<u8>>, LocationError> {
    let unreadable = |error| LocationError::Unreadable(path.to_owned(), error);
    let damaged = |error: maxminddb::MaxMindDbError| {
        LocationError::Damaged(path.to_owned(), error.to_string())
    };
    let file = File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > FILE_BYTES {
        return Err(LocationError::TooLarge(path.to_owned()));
    }
    let reader = Reader::from_source(bytes).map_err(damaged)?;
    reader.verify().map_err(damaged)?;
    Ok(reader)
}
