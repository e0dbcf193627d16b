use super::*;

fn observation<'a>(device: &'a str, event: Event<'a>) -> Observation<'a> {
    Observation { at: 1_765_432_100_123, tenant: "acme", device, session: 7, event }
}

/// Each kind comes back from its line as it went in.
#[test]
fn a_line_holds_the_whole_observation() {
    let network = Network::Address("192.0.2.7".parse().unwrap());
    let messages = Messages { topic: "d/d-1/\"up\"", count: 3, bytes: 70_000 };
    let code = RefusalCode::PublishNotAuthorised;
    let connected = Connected {
        network,
        key: 9,
        group: 4,
        kind: SubjectKind::Service,
        fingerprint: 5,
        keep_alive: 60,
        client: "d-1~x",
        place: None,
    };
    let point = Some(Point { latitude: -23.5, longitude: 13.25, radius_km: 20 });
    let place = Place { asn: 3320, country: Some(*b"DE"), point, built: 9, relay: true };
    let country_alone = Place { country: Some(*b"BR"), ..Place::default() };
    let events = [
        Event::Connected(connected),
        Event::Connected(Connected { place: Some(place), ..connected }),
        Event::Connected(Connected { place: Some(country_alone), ..connected }),
        Event::Disconnected { clean: true },
        Event::Published(messages),
        Event::Received(messages),
        Event::Subscribed { filter: "d/d-1/#" },
        Event::Pinged { count: 2 },
        Event::Refused { code, topic: Some("d/d-2/up"), denial: Some(Denial::Owner("d-2")) },
        Event::Refused { code, topic: None, denial: None },
        Event::Refused { code, topic: Some("$SYS/x"), denial: Some(Denial::System) },
        Event::Refused { code, topic: Some("d/+/up"), denial: Some(Denial::Wide) },
        Event::Refused { code, topic: Some("d/d-1/old"), denial: Some(Denial::Own) },
        Event::Faulted(Fault::Malformed),
        Event::Outside { code: RefusalCode::ProofMissing, network },
        Event::Skipped { step: 12 },
    ];
    for event in events {
        let seen = observation("d-1", event);
        let text = to_line(&seen);
        let line = Line::parse(&text).unwrap().unwrap();
        assert_eq!(line.observation(), seen, "{text}");
    }
    let about_no_device = [
        Event::Stranger {
            code: RefusalCode::KeyUnknown,
            network,
            name: Some("admin"),
            credential: 77,
        },
        Event::Announced { group: 3, until: 1_765_440_000_000 },
    ];
    for event in about_no_device {
        let seen = observation("", event);
        let text = to_line(&seen);
        assert_eq!(Line::parse(&text).unwrap().unwrap().observation(), seen, "{text}");
    }
}

#[test]
fn a_bad_line_says_its_fault() {
    let bad = [
        (r#"{"t":1,"device":"d","kind":"dance"}"#, "kind `dance` is not known"),
        (r#"{"t":1,"kind":"disconnect"}"#, "the member `device` is missing"),
        (r#"{"t":1,"device":"d","kind":"publish"}"#, "the member `topic` is missing"),
        (
            r#"{"t":1,"device":"d","kind":"refuse","code":"no"}"#,
            "the member `code` has the value `no`",
        ),
        (r#"{"t":-1,"device":"d","kind":"disconnect"}"#, "the member `t` has the value `-1`"),
        (r#"{"t":1e12,"device":"d","kind":"disconnect"}"#, "the member `t` has the value"),
        (
            r#"{"t":1,"device":"d","kind":"connect","net":"home"}"#,
            "the member `net` has the value `home`",
        ),
        (r#"["t"]"#, "the line is no observation"),
    ];
    for (text, words) in bad {
        let error = Line::parse(text).unwrap_err().to_string();
        assert!(error.contains(words), "{text}: {error}");
    }
    let long = format!(r#"{{"t":1,"device":"{}","kind":"disconnect"}}"#, "d".repeat(9_000));
    assert!(matches!(Line::parse(&long), Err(LineError::TooLong)));
}

#[test]
fn unknown_members_and_the_line_of_the_format_are_passed_over() {
    assert!(Line::parse(r#"{"format": "tessera-observations-1"}"#).unwrap().is_none());
    assert!(Line::parse("  ").unwrap().is_none());
    let line =
        Line::parse(r#"{"t":1.5,"device":"d","kind":"ping","colour":"red"}"#).unwrap().unwrap();
    assert_eq!(line.observation().at, 1_500);
    assert_eq!(line.observation().event, Event::Pinged { count: 1 });
}
