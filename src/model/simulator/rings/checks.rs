//! What must hold: the guarantees, by watching what the server gives and comparing what it saved
//! with the truth.

use super::truth::Stage;
use super::world::{GROUPS, World, name};
use crate::model::progress::Progress;
use crate::model::progress::exceptions::State;
use crate::model::progress::lease::Pace;
use crate::model::rules::source::Source;
use crate::model::simulator::stream::Event;

impl World {
    /// The server hands this event out: Guarantee 1, word for word, over all partitions.
    pub(super) fn check_given(&self, p: u32, g: usize, event: &Event, pace: Pace) {
        let (truth, settings) = (&self.truths[g], self.ring.group(&name(g)).unwrap());
        let fact = truth.fact((p, event.id));
        assert!(settings.takes(&event.kind), "{p}:{} is of a type that is not taken", event.id);
        assert_eq!(fact.stage, Stage::Open, "{p}:{} is given to {g}", event.id);
        let latest = truth.latest.get(&p).copied().unwrap_or_default();
        let twice = truth.is_handed((p, event.id)) && event.id <= latest;
        assert!(!twice || pace == Pace::Steady, "{p}:{} is given twice", event.id);
        if fact.left {
            return;
        }
        let before = self.triggered.iter().take_while(|(q, other)| (*q, other.id) != (p, event.id));
        let of_key = before.filter(|(_, e)| e.key == event.key && settings.takes(&e.kind));
        for (q, earlier) in of_key.filter(|(q, e)| self.stream(*q).get(e.id).is_some()) {
            let fact = truth.fact((*q, earlier.id));
            let over = matches!(fact.stage, Stage::Finished | Stage::Skipped) || fact.left;
            let here = *q == p && truth.is_handed((*q, earlier.id));
            assert!(
                over || here,
                "order: {p}:{} of key {} is given to {g} before {q}:{} is finished: {fact:?}",
                event.id,
                event.key[0],
                earlier.id
            );
        }
    }

    /// What is saved is the truth: nothing is dropped, nothing finished comes back.
    pub(super) fn check_state(&self) {
        self.ring.check().unwrap();
        for g in 0..GROUPS {
            let Some(settings) = self.ring.group(&name(g)) else { continue };
            for (p, keys) in &self.keys {
                let beginning = Progress::default();
                let progress = keys.state.get(&name(g)).unwrap_or(&beginning);
                for event in keys.stream.events.iter().filter(|e| settings.takes(&e.kind)) {
                    let open = match progress.exceptions().get(event.id) {
                        Some(exception) => exception.state != State::Finished,
                        None => event.id > progress.cursor(),
                    };
                    let fact = self.truths[g].fact((*p, event.id));
                    let truly = matches!(fact.stage, Stage::Open | Stage::Dead);
                    assert_eq!(open, truly, "{p}:{} for {g}: {fact:?}", event.id);
                }
            }
        }
    }
}
