//! Lines of slots, without any node.

use super::*;

fn lines() -> (Arc<Lines>, Key) {
    let key = (Slot::of(b"key"), Lane::Data);
    (Arc::default(), key)
}

#[test]
fn those_over_one_link_travel_together() {
    let (lines, key) = lines();
    let [mut first, mut second] = [(); 2].map(|()| Place::join(&lines, key));
    assert!(!second.depart(1), "the first has not left");
    assert!(first.depart(1) && second.depart(1));
}

#[test]
fn another_link_waits_until_the_way_is_clear() {
    let (lines, key) = lines();
    let [mut first, mut second, mut third] = [(); 3].map(|()| Place::join(&lines, key));
    assert!(first.depart(1) && second.depart(1) && !third.depart(2));
    drop(second);
    assert!(!third.depart(2));
    drop(first);
    assert!(third.depart(2));
}

#[test]
fn one_that_comes_back_goes_first_and_alone() {
    let (lines, key) = lines();
    let [mut first, mut second, mut third] = [(); 3].map(|()| Place::join(&lines, key));
    assert!(first.depart(1) && second.depart(1));
    first.come_back(false);
    assert!(first.is_first() && !third.is_first());
    assert!(!first.depart(1), "the second is still on the way");
    second.come_back(false);
    assert!(!second.depart(1) && first.depart(1));
    assert!(!second.depart(1) && !third.depart(1));
    drop(first);
    assert!(second.depart(1) && !third.depart(1));
    drop(second);
    assert!(third.depart(1));
}

#[test]
fn slots_and_lanes_do_not_wait_for_each_other() {
    let (lines, key) = lines();
    let places: Vec<_> = [key, (key.0, Lane::Control), (Slot::of(b"other"), Lane::Data)]
        .map(|key| Place::join(&lines, key))
        .into();
    assert!(places.iter().all(Place::is_first));
    assert_eq!(lines.count(), 3);
    drop(places);
    assert_eq!(lines.count(), 0);
}

#[test]
fn one_that_gives_up_lets_the_next_go() {
    let (lines, key) = lines();
    let [first, mut second] = [(); 2].map(|()| Place::join(&lines, key));
    drop(first);
    assert!(second.depart(1));
}

#[test]
fn all_in_a_line_wait_for_a_moving_slot() {
    let (lines, key) = lines();
    let [mut first, mut second, third] = [(); 3].map(|()| Place::join(&lines, key));
    assert!(first.depart(1) && !third.is_moving());
    first.come_back(true);
    assert!(first.is_moving() && third.is_moving());
    drop(first);
    assert!(third.is_moving(), "the one that gave up was not answered otherwise");
    assert!(second.depart(1));
    drop(second);
    assert!(!third.is_moving(), "the next one has its answer");
}
