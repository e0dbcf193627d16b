use super::*;
use crate::behaviour::observer::What;

fn used() -> Profile {
    let mut profile = Profile::new(1_800_000_000_000);
    let config = BehaviourConfig::default();
    for number in 0..200u64 {
        let now = 1_800_000_000_000 + number * 7_000;
        let what = match number % 4 {
            0 => What::Topic(number),
            1 => What::Outside { code: RefusalCode::ProofInvalid, network: 5 },
            2 => What::Gap(u32::try_from(number).unwrap()),
            _ => What::Connected { network: 9, key: 3, group: 77, kind: SubjectKind::Service },
        };
        profile.take(&what, 1, (3, 500), &config, now);
    }
    profile
}

#[test]
fn the_learned_part_comes_back_from_its_record() {
    let profile = used();
    let record = profile.to_record();
    assert!(record.len() <= 600, "{}", record.len());
    let back = Profile::from_record(&record).unwrap();
    assert_eq!(back.to_record(), record);
    assert_eq!(back.rate.usual(), profile.rate.usual());
    assert_eq!(back.totals, profile.totals);
    assert_eq!((back.group, back.kind), (77, SubjectKind::Service));
    assert!(back.networks.knows(9) && !back.networks.knows(10));
    assert!(!back.is_live());
}

#[test]
fn every_cut_or_longer_record_is_told() {
    let record = used().to_record();
    for end in 0..record.len() {
        assert_eq!(Profile::from_record(&record[..end]), Err(Cut));
    }
    let longer = [record.as_slice(), &[0]].concat();
    assert_eq!(Profile::from_record(&longer), Err(Cut));
    let mut newer = record;
    newer[0] = VERSION + 1;
    assert_eq!(Profile::from_record(&newer), Err(Cut));
}
