use super::*;

/// The rules of the size of messages: a median that moved by a tenth is a change.
fn end_hour(stat: &mut GroupStat, hour: u32, devices: u32, moved: f32) -> bool {
    for _ in 0..devices {
        stat.add_scale(0.05);
        stat.add(5.0 + moved, Some(moved), Some(0.1), Stat::Size.rules().effect);
    }
    stat.end_hour(hour, &Stat::Size.rules())
}

#[test]
fn median_of_few_devices_moves_by_chance_and_that_of_many_does_not() {
    let mut few = GroupStat::default();
    assert!(!end_hour(&mut few, 1000, 12, 0.11));
    let mut many = GroupStat::default();
    assert!(end_hour(&mut many, 1000, 200, 0.11));
}

#[test]
fn move_that_a_group_makes_in_usual_hours_is_no_change() {
    let mut stat = GroupStat::default();
    let changes = (0..24 * 30).filter(|hour| end_hour(&mut stat, 1000 + hour, 200, 0.09));
    assert_eq!(changes.count(), 0);
    assert!(!end_hour(&mut stat, 1000 + 24 * 30, 200, 0.15));
    assert!(end_hour(&mut stat, 1001 + 24 * 30, 200, 0.3));
}

#[test]
fn change_that_comes_again_within_nine_days_is_a_habit_of_the_group() {
    let mut group = Group::new(0, 1, Policy::default(), 0);
    assert!(!group.recurs(SignalName::Pace, 1000));
    assert!(!group.recurs(SignalName::Size, 1100), "another statistic");
    assert!(group.recurs(SignalName::Pace, 1000 + 24 * 7));
    assert!(!group.recurs(SignalName::Pace, 1000 + 24 * 17));
}
