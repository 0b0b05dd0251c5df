//! Condition waits. A fixed sleep is too short on a busy machine and too long on an idle one.

use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long a test waits for what must come. Long, for a passing test never waits it out.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `condition` holds; fails the test after `timeout`.
#[track_caller]
pub(crate) fn until(timeout: Duration, mut condition: impl FnMut() -> bool) {
    until_some(timeout, || condition().then_some(()));
}

/// Waits until `find` finds something and returns it; fails the test after `timeout`.
#[track_caller]
pub(crate) fn until_some<T>(timeout: Duration, mut find: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(found) = find() {
            return found;
        }
        assert!(start.elapsed() < timeout, "condition does not hold after {timeout:?}");
        sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}
