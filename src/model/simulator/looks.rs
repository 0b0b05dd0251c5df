//! What is remembered of what is due makes no difference to what is handed out, only to how long it
//! takes: before every look and after it the rules say what they say where nothing is remembered.
//! What is counted is as many as there are.

use crate::model::ids::EventId;
use crate::model::now::Now;
use crate::model::progress::Progress;
use crate::model::progress::exceptions::{Exception, State};
use crate::model::rules::gate::Gate;

/// Looks as a shell does before every step, and checks that.
pub(super) fn look(progress: &mut Progress, gate: &Gate<'_>, now: Now) {
    let anew = progress.without_looks();
    let said = |progress: &Progress| {
        let lease = progress.lease();
        // The order in which they became due is remembered only.
        [progress.due(lease, gate, now).is_some(), progress.due(None, gate, now).is_some()]
    };
    assert_eq!(said(progress), said(&anew), "before the look: {progress:?}");
    progress.look(gate, now);
    assert_eq!(said(progress), said(&anew), "after the look: {progress:?}");
    assert_eq!(progress.next_due_ms(now), anew.next_due_ms(now), "{progress:?}");
    let (due, end) = (progress.exceptions().due(), progress.reached(gate));
    assert_eq!(due.unknown_until(now.ms()).count(), 0, "all that is due is known");
    let all = due.unknown_after(0).map(|(_, id)| id).chain(due.unknown_until(0));
    let mut all: Vec<_> = all
        .chain(due.come())
        .chain(due.beyond(EventId::MAX))
        .chain(due.behind(EventId::MAX))
        .collect();
    all.sort_unstable();
    let waits = |(id, e): (EventId, &Exception)| matches!(e.state, State::Retry(_)).then_some(id);
    let waiting: Vec<_> = progress.exceptions().iter().filter_map(waits).collect();
    assert_eq!(all, waiting, "each is in exactly one set");
    let in_flight = |id| progress.lease().is_some_and(|lease| lease.redelivering.contains(&id));
    let mut come = due.come().filter(|id| *id <= end && !in_flight(*id));
    assert!(come.next().is_none_or(|id| progress.is_first(id, gate)), "found at once");
}
