use super::*;

#[test]
fn ten_lines_are_a_scenario_and_the_rest_is_the_default() {
    let file = "devices = 500\ndays = 20\n\n[personas.sensor]\nperiod_s = 5\n\n[personas.drone]\nlike = \"tracker\"\nburst = [2, 4]\n";
    let scenario = Scenario::read(file).unwrap();
    assert_eq!((scenario.devices, scenario.days, scenario.tenants), (500, 20, 1));
    let sensor = scenario.personas.get("sensor").unwrap();
    assert_eq!((sensor.period_s, sensor.bytes), (Span::one(5.0), Span { low: 40.0, high: 200.0 }));
    let drone = scenario.personas.get("drone").unwrap();
    assert_eq!((drone.burst, drone.trip_days.low), (Span { low: 2.0, high: 4.0 }, 0.7));
    assert_eq!(scenario.groups.len(), 8);
    assert!(
        scenario.attacks.specs.len() > 36 && scenario.attacks.specs.iter().all(|s| s.count == 2)
    );
    let empty = Scenario::read("").unwrap();
    assert_eq!(empty.devices, 2_000);
}

/// Each class of the twelve is there in each grade.
#[test]
fn twelve_classes_have_three_grades() {
    let specs = Scenario::read("").unwrap().attacks.specs;
    for class in Class::ALL.iter().take(12) {
        for grade in ["loud", "medium", "careful"] {
            let found = specs.iter().filter(|s| s.class == *class && s.grade == grade).count();
            assert_eq!(found, 1, "{} {grade}", class.as_str());
        }
    }
    let only = Scenario::read("[attacks]\neach = 3\nclasses = [\"flood\"]\n[[attacks.variants]]\nclass = \"flood\"\ngrade = \"x7\"\namount = 7\nhours = 0.1\n");
    let specs = only.unwrap().attacks.specs;
    assert_eq!(specs.len(), 4);
    assert_eq!((specs[3].grade.as_str(), specs[3].amount, specs[3].count), ("x7", 7.0, 3));
}

/// A wrong file is refused with the line or the key, and with what is possible.
#[test]
fn wrong_files_are_refused_with_line_and_cure() {
    let bad: [(&str, &[&str]); 14] = [
        ("devices = 10\nspeed = 3\n", &["line 2", "unknown field `speed`", "`devices`"]),
        ("[personas.sensor]\nperiod = 3\n", &["line 2", "unknown field `period`", "`period_s`"]),
        ("\n[personas.sensor]\nperiod_s = 0\n", &["line 3", "0 is not possible here: use 0.1 to"]),
        ("[personas.sensor]\nbytes = [9, 3]\n", &["line 2", "9 is above 3"]),
        ("[personas.sensor]\nbytes = [1, 2, 3]\n", &["line 2", "a range has two numbers"]),
        ("[personas.sensor]\nbytes = nan\n", &["line 2", "NaN is not possible here"]),
        ("days = 400\n", &["line 1", "400 is not possible here: use 1 to 365"]),
        ("[personas.x]\nlike = \"y\"\n", &["personas.x", "`y` is not there: use actuator"]),
        (
            "[[groups]]\npersona = \"robot\"\nshare = 1\nnetwork = \"site\"\n",
            &["persona `robot` is not there"],
        ),
        (
            "[[groups]]\npersona = \"sensor\"\nshare = 1\nnetwork = \"moon\"\n",
            &["network `moon` is not there: use carrier, home, site"],
        ),
        (
            "[[groups]]\npersona = \"sensor\"\nshare = 0.5\nnetwork = \"site\"\n",
            &["add up to 0.500: they must be 1"],
        ),
        ("[[phases]]\nkind = \"season\"\nhours = 3\n", &["number 1", "`hours` means nothing"]),
        ("[attacks]\nclasses = [\"magic\"]\n", &["line 2", "unknown variant `magic`", "`theft`"]),
        ("devices = 5\n", &["5 devices are fewer than", "use 9 or more"]),
    ];
    for (text, words) in bad {
        let error = Scenario::read(text).unwrap_err().to_string();
        for word in words {
            assert!(error.contains(word), "{text}\n  lacks `{word}`:\n{error}");
        }
    }
}
