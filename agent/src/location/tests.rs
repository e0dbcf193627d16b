use super::testing::{asn, city, file, Value};
use super::*;

const BUILT: u64 = 1_790_000_000;

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn cities() -> Vec<u8> {
    let networks = [
        ([192, 0, 2, 0].into(), 24, city("DE", (52.5, 13.4), Some(20))),
        ([198, 51, 100, 0].into(), 24, city("FR", (48.9, 2.3), None)),
        ([203, 0, 113, 0].into(), 25, city("xx", (95.0, 2.3), Some(5))),
    ];
    file("Test-City", BUILT, &networks)
}

fn systems() -> Vec<u8> {
    file("Test-ASN", BUILT, &[([192, 0, 0, 0].into(), 16, asn(64_500))])
}

/// A search tree in which a node leads to itself.
fn with_damaged_tree() -> Vec<u8> {
    let mut bytes = cities();
    bytes[..6].fill(0);
    bytes
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn with(files: &[(&str, Vec<u8>)]) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        files.iter().for_each(|(name, bytes)| folder.write(name, bytes));
        folder
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.0.path().join(name), bytes).unwrap();
    }

    fn files(&self, city: Option<&str>, asn: Option<&str>) -> LocationFiles {
        let path = |name: Option<&str>| name.map(|name| self.0.path().join(name));
        LocationFiles { city: path(city), asn: path(asn) }
    }
}

#[test]
fn an_address_has_its_system_its_country_and_its_point_with_accuracy() {
    let folder = Folder::with(&[("city", cities()), ("asn", systems())]);
    let locator = Locator::open(folder.files(Some("city"), Some("asn"))).unwrap();
    let point = Point { latitude: 52.5, longitude: 13.4, radius_km: 20 };
    let country = Some(*b"DE");
    let known = Place { asn: 64_500, country, point: Some(point), built: BUILT, relay: false };
    assert_eq!(locator.place(address("192.0.2.7")), known);
    assert_eq!(locator.place(address("::ffff:192.0.2.7")), known);
    assert_eq!(known.country(), "DE");
    // Without an accuracy there is no point; what is no country and no point on the earth is neither.
    let france = Place { country: Some(*b"FR"), built: BUILT, ..Place::default() };
    assert_eq!(locator.place(address("198.51.100.200")), france);
    let nothing = Place { built: BUILT, ..Place::default() };
    for unknown in ["203.0.113.9", "203.0.113.200", "10.0.0.1", "2001:db8::1"] {
        assert_eq!(locator.place(address(unknown)), nothing, "{unknown}");
    }
}

#[test]
fn each_file_is_optional() {
    let folder = Folder::with(&[("city", cities()), ("asn", systems())]);
    let asn = Locator::open(folder.files(None, Some("asn"))).unwrap();
    assert_eq!(asn.place(address("192.0.2.7")), Place { asn: 64_500, ..Place::default() });
    let city = Locator::open(folder.files(Some("city"), None)).unwrap();
    assert_eq!((city.place(address("192.0.2.7")).asn, asn.place(address("10.0.0.1")).asn), (0, 0));
    assert_eq!(
        Locator::open(LocationFiles::default()).unwrap().place(address("192.0.2.7")),
        Place::default()
    );
}

#[test]
fn damaged_cut_missing_and_other_files_are_refused() {
    let folder = Folder::with(&[("tree", with_damaged_tree()), ("text", b"no such file".to_vec())]);
    let whole = cities();
    let cuts = (1..whole.len()).step_by(37).chain([whole.len() - 1]);
    for cut in cuts {
        folder.write("cut", &whole[..cut]);
        let opened = Locator::open(folder.files(Some("cut"), None));
        assert!(matches!(opened.err(), Some(LocationError::Damaged(..))), "cut at {cut}");
    }
    for name in ["tree", "text"] {
        let opened = Locator::open(folder.files(Some(name), None));
        assert!(matches!(opened.err(), Some(LocationError::Damaged(..))), "{name}");
    }
    let missing = Locator::open(folder.files(None, Some("missing")));
    assert!(matches!(missing.err(), Some(LocationError::Unreadable(..))));
}

#[test]
fn a_file_that_is_too_large_is_refused() {
    let folder = Folder::with(&[]);
    let path = folder.0.path().join("large");
    // A file with a hole: it takes no room on the disk.
    File::create(&path).unwrap().set_len(FILE_BYTES + 1).unwrap();
    let opened = Locator::open(folder.files(Some("large"), None));
    assert!(matches!(opened.err(), Some(LocationError::TooLarge(_))));
}

#[test]
fn a_broken_new_file_leaves_the_old_one_in_use() {
    let folder = Folder::with(&[("city", cities())]);
    let locator = Locator::open(folder.files(Some("city"), None)).unwrap();
    folder.write("city", &with_damaged_tree());
    assert!(matches!(locator.reload(), Err(LocationError::Damaged(..))));
    assert_eq!(locator.place(address("192.0.2.7")).country(), "DE");
    let moved = file(
        "Test-City",
        BUILT + 1,
        &[([192, 0, 2, 0].into(), 24, city("AT", (48.2, 16.4), Some(5)))],
    );
    folder.write("city", &moved);
    locator.reload().unwrap();
    let place = locator.place(address("192.0.2.7"));
    assert_eq!((place.country(), place.built), ("AT", BUILT + 1));
}

#[test]
fn a_satellite_or_a_relay_is_marked() {
    let with = |flag: &'static str, value: bool| {
        let Value::Map(mut members) = city("DE", (52.5, 13.4), Some(20)) else { panic!() };
        members.push(("traits", Value::Map(vec![(flag, Value::Flag(value))])));
        file("Test-City", BUILT, &[([192, 0, 2, 0].into(), 24, Value::Map(members))])
    };
    for (flag, value, is_relay) in [
        ("is_satellite_provider", true, true),
        ("is_anonymous_proxy", true, true),
        ("is_anycast", true, true),
        ("is_anycast", false, false),
        ("is_legitimate_proxy", true, false),
    ] {
        let folder = Folder::with(&[("city", with(flag, value))]);
        let locator = Locator::open(folder.files(Some("city"), None)).unwrap();
        assert_eq!(locator.place(address("192.0.2.7")).relay, is_relay, "{flag}");
    }
}
