//! What is on the screen and what a key does to it. Pure: keys and news in, a wish out.
//!
//! Three pages: a ring with its groups and partitions, the list of rings, the events of one
//! partition. Of the ring's two panels one has the focus, which is where the cursor moves and what
//! sorting and filtering are about. A cursor follows its row by name, not by place: rows move as
//! figures change.

use std::collections::HashMap;

use crate::look::Wish;
use crate::order::{Arrangement, RingRow};
use crate::snapshot::{Group, Partition, Snapshot};

/// The most rings whose sums are asked for at once: about what a screen shows.
const MAX_RING_TOTALS: usize = 40;

/// The shortest and the longest pause between two looks, and what one key changes it by.
const INTERVALS_MS: [u64; 7] = [500, 1_000, 2_000, 5_000, 10_000, 30_000, 60_000];

/// A key, as far as this program has a use for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    Char(char),
    Up,
    Down,
    Left,
    Right,
    PageUp,
    PageDown,
    Home,
    End,
    Tab,
    Enter,
    Escape,
    Backspace,
    /// Control and C.
    Interrupt,
}

/// What happened elsewhere.
#[derive(Clone, Debug)]
pub(crate) enum News {
    /// A look has found this, and took so many milliseconds.
    Found(Box<Snapshot>, u64),
    /// The server cannot be asked.
    Lost(String),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Page {
    #[default]
    Ring,
    Rings,
    Pending,
}

/// The panel of the ring's page that has the focus.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Panel {
    Groups,
    #[default]
    Partitions,
}

/// The state of the whole screen.
#[derive(Debug, Default)]
pub(crate) struct App {
    /// What the server was called on the command line, without a password.
    pub(crate) address: String,
    pub(crate) page: Page,
    pub(crate) panel: Panel,
    pub(crate) found: Option<Snapshot>,
    /// Why there is nothing newer than `found`.
    pub(crate) trouble: Option<String>,
    pub(crate) groups: Arrangement,
    pub(crate) partitions: Arrangement,
    pub(crate) rings: Arrangement,
    /// The filter is being typed.
    pub(crate) is_typing: bool,
    pub(crate) is_paused: bool,
    pub(crate) is_helping: bool,
    pub(crate) is_over: bool,
    pub(crate) interval_ms: u64,
    /// How long the last look took.
    pub(crate) took_ms: u64,
    pub(crate) rates: Rates,
    /// The most events of before a resize that a group had unfinished, by ring and group.
    resize_tops: HashMap<(String, Option<i64>, String), i64>,
    pub(crate) ring: Option<String>,
    pub(crate) group: Option<String>,
    pub(crate) partition: Option<i64>,
    /// The ring under the cursor of the list of rings.
    pub(crate) listed_ring: Option<String>,
    /// The first of the events that is shown.
    pub(crate) event_at: usize,
}

/// Events triggered and handed out in a second, between the last two looks.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Rates {
    pub(crate) triggered: Option<i64>,
    pub(crate) delivered: Option<i64>,
}

impl App {
    pub(crate) fn new(address: &str, ring: Option<String>, group: Option<String>) -> Self {
        let address = address.to_owned();
        Self { address, ring, group, interval_ms: 2_000, ..Self::default() }
    }

    /// What to look at for this screen; none while nothing is to be asked.
    pub(crate) fn wish(&self) -> Option<Wish> {
        if self.is_paused || self.is_over {
            return None;
        }
        let rings = match self.page {
            Page::Rings => self.rings_around_cursor(),
            Page::Ring | Page::Pending => Vec::new(),
        };
        let pending = self.partition.filter(|_| self.page == Page::Pending);
        Some(Wish { ring: self.ring.clone(), group: self.group.clone(), pending, rings })
    }

    /// Takes in what happened.
    pub(crate) fn hear(&mut self, news: News, since_last_ms: Option<u64>) {
        match news {
            News::Found(found, took_ms) => {
                self.rates = self.rates_to(&found, since_last_ms);
                self.remember_resize(&found);
                self.trouble = None;
                self.took_ms = took_ms;
                self.found = Some(*found);
                self.settle_cursors();
            }
            News::Lost(why) => self.trouble = Some(why),
        }
    }

    /// A key was pressed.
    pub(crate) fn press(&mut self, key: Key) {
        match key {
            Key::Interrupt => self.is_over = true,
            _ if self.is_typing => self.type_filter(key),
            _ if self.is_helping => self.is_helping = false,
            Key::Char('q') => self.is_over = true,
            Key::Char('p' | ' ') => self.is_paused = !self.is_paused,
            Key::Char('?' | 'h') => self.is_helping = true,
            Key::Char('+') => self.change_interval(false),
            Key::Char('-') => self.change_interval(true),
            Key::Char('R') => self.page = Page::Rings,
            Key::Char('/') if self.page != Page::Pending => {
                self.is_typing = true;
                self.arrangement().filter.clear();
                self.settle_cursors();
            }
            Key::Char('s') => self.next_column(),
            Key::Char('r') => self.arrangement().reverse(),
            Key::Tab if self.page == Page::Ring => {
                self.panel = match self.panel {
                    Panel::Groups => Panel::Partitions,
                    Panel::Partitions => Panel::Groups,
                };
            }
            Key::Left | Key::Char('[') if self.page == Page::Ring => self.step_ring(-1),
            Key::Right | Key::Char(']') if self.page == Page::Ring => self.step_ring(1),
            Key::Enter => self.enter(),
            Key::Escape | Key::Backspace => self.leave(),
            Key::Up | Key::Char('k') => self.step(-1),
            Key::Down | Key::Char('j') => self.step(1),
            Key::PageUp => self.step(-10),
            Key::PageDown => self.step(10),
            Key::Home => self.step(isize::MIN),
            Key::End => self.step(isize::MAX),
            _ => {}
        }
    }

    /// How far `group` is with the events from before a resize: unfinished ones, of the most seen.
    pub(crate) fn resize_progress(&self, group: &str) -> Option<(i64, i64)> {
        let ring = self.found.as_ref()?.ring.as_ref()?;
        let unfinished = ring.resizing.as_ref()?.unfinished.iter();
        let now = unfinished.filter(|(name, _)| name == group).find_map(|(_, now)| *now)?;
        let key = (ring.name.clone(), ring.generation, group.to_owned());
        Some((now, self.resize_tops.get(&key).copied().unwrap_or(now)))
    }

    /// The groups in their order.
    pub(crate) fn shown_groups(&self) -> Vec<&Group> {
        self.found.as_ref().map_or(Vec::new(), |found| self.groups.arrange(&found.groups))
    }

    /// The partitions in their order.
    pub(crate) fn shown_partitions(&self) -> Vec<&Partition> {
        self.found.as_ref().map_or(Vec::new(), |found| self.partitions.arrange(&found.partitions))
    }

    /// The rings in their order.
    pub(crate) fn shown_rings(&self) -> Vec<RingRow> {
        let rows = self.found.as_ref().map_or(Vec::new(), RingRow::list);
        self.rings.arrange(&rows).into_iter().cloned().collect()
    }

    fn arrangement(&mut self) -> &mut Arrangement {
        match (self.page, self.panel) {
            (Page::Rings, _) => &mut self.rings,
            (_, Panel::Groups) => &mut self.groups,
            (_, Panel::Partitions) => &mut self.partitions,
        }
    }

    fn next_column(&mut self) {
        match (self.page, self.panel) {
            (Page::Rings, _) => self.rings.next_column::<RingRow>(),
            (Page::Pending, _) => {}
            (_, Panel::Groups) => self.groups.next_column::<Group>(),
            (_, Panel::Partitions) => self.partitions.next_column::<Partition>(),
        }
    }

    fn type_filter(&mut self, key: Key) {
        match key {
            Key::Char(c) => self.arrangement().filter.push(c),
            Key::Backspace => {
                self.arrangement().filter.pop();
            }
            Key::Enter => self.is_typing = false,
            Key::Escape => {
                self.arrangement().filter.clear();
                self.is_typing = false;
            }
            _ => {}
        }
        self.settle_cursors();
    }

    fn enter(&mut self) {
        match (self.page, self.panel) {
            (Page::Rings, _) => {
                self.ring = self.listed_ring.clone().or(self.ring.take());
                self.group = None;
                self.partition = None;
                self.page = Page::Ring;
            }
            (Page::Ring, Panel::Groups) => self.panel = Panel::Partitions,
            (Page::Ring, Panel::Partitions) if self.partition.is_some() => {
                self.event_at = 0;
                self.page = Page::Pending;
            }
            _ => {}
        }
    }

    /// Back to where this page was entered from; on the ring's page the filter goes.
    fn leave(&mut self) {
        match self.page {
            Page::Pending | Page::Rings => self.page = Page::Ring,
            Page::Ring => self.arrangement().filter.clear(),
        }
        self.settle_cursors();
    }

    fn change_interval(&mut self, is_longer: bool) {
        let mut longer = INTERVALS_MS.iter().filter(|ms| **ms > self.interval_ms);
        let mut shorter = INTERVALS_MS.iter().rev().filter(|ms| **ms < self.interval_ms);
        let next = if is_longer { longer.next() } else { shorter.next() };
        self.interval_ms = next.copied().unwrap_or(self.interval_ms);
    }

    /// Another ring, its groups and partitions unknown yet.
    fn step_ring(&mut self, by: isize) {
        let Some(found) = &self.found else { return };
        let now = found.ring.as_ref().map(|ring| ring.name.clone());
        let next = stepped(&found.rings, now.as_ref(), by);
        if next != self.ring {
            self.ring = next;
            self.group = None;
            self.partition = None;
        }
    }

    fn step(&mut self, by: isize) {
        match (self.page, self.panel) {
            (Page::Pending, _) => {
                let pending = self.found.as_ref().and_then(|found| found.pending.as_ref());
                let last = pending.map_or(0, |(_, events)| events.len().saturating_sub(1));
                self.event_at = self.event_at.saturating_add_signed(by).min(last);
            }
            (Page::Rings, _) => {
                let rings: Vec<_> = self.shown_rings().into_iter().map(|ring| ring.name).collect();
                self.listed_ring = stepped(&rings, self.listed_ring.as_ref(), by);
            }
            (Page::Ring, Panel::Groups) => {
                let groups: Vec<_> = self.shown_groups().iter().map(|g| g.name.clone()).collect();
                self.group = stepped(&groups, self.group.as_ref(), by);
            }
            (Page::Ring, Panel::Partitions) => {
                let numbers: Vec<_> = self.shown_partitions().iter().map(|p| p.number).collect();
                self.partition = stepped(&numbers, self.partition.as_ref(), by);
            }
        }
    }

    /// A cursor whose row is gone goes to the first.
    fn settle_cursors(&mut self) {
        let Some(found) = &self.found else { return };
        let ring = found.ring.as_ref().map(|ring| ring.name.clone());
        // Another ring than the found one may have been chosen meanwhile: its rows are to come.
        let is_current = self.ring.is_none() || self.ring == ring;
        if is_current || !found.rings.iter().any(|name| Some(name) == self.ring.as_ref()) {
            let groups: Vec<_> = self.shown_groups().iter().map(|g| g.name.clone()).collect();
            let numbers: Vec<_> = self.shown_partitions().iter().map(|p| p.number).collect();
            let wanted = self.group.clone().or(found.group.clone());
            self.group = stepped(&groups, wanted.as_ref(), 0);
            self.partition = stepped(&numbers, self.partition.as_ref(), 0);
            self.ring = ring.clone();
        }
        let rings: Vec<_> = self.shown_rings().into_iter().map(|ring| ring.name).collect();
        self.listed_ring = stepped(&rings, self.listed_ring.as_ref().or(ring.as_ref()), 0);
    }

    /// The rings whose sums the list shows.
    fn rings_around_cursor(&self) -> Vec<String> {
        let rings: Vec<_> = self.shown_rings().into_iter().map(|ring| ring.name).collect();
        let at = rings.iter().position(|name| Some(name) == self.listed_ring.as_ref());
        let first = at.unwrap_or(0).saturating_sub(MAX_RING_TOTALS / 2);
        rings.into_iter().skip(first).take(MAX_RING_TOTALS).collect()
    }

    fn rates_to(&self, found: &Snapshot, since_last_ms: Option<u64>) -> Rates {
        let before = self.found.as_ref().map(|found| &found.totals);
        let (Some(before), Some(ms)) = (before, since_last_ms.filter(|ms| *ms > 0)) else {
            return Rates::default();
        };
        let ms = i64::try_from(ms).unwrap_or(i64::MAX);
        // A server that was started again counts from 0.
        let rate = |before: Option<i64>, now: Option<i64>| {
            Some(now?.checked_sub(before?)?.checked_mul(1000)? / ms).filter(|rate| *rate >= 0)
        };
        Rates {
            triggered: rate(before.triggered, found.totals.triggered),
            delivered: rate(before.delivered, found.totals.delivered),
        }
    }

    fn remember_resize(&mut self, found: &Snapshot) {
        let Some(ring) = &found.ring else { return };
        let Some(resizing) = &ring.resizing else {
            self.resize_tops.retain(|(name, ..), _| *name != ring.name);
            return;
        };
        for (group, unfinished) in &resizing.unfinished {
            let key = (ring.name.clone(), ring.generation, group.clone());
            let top = self.resize_tops.entry(key).or_default();
            *top = unfinished.unwrap_or_default().max(*top);
        }
    }
}

/// The item `by` places from `now`, within the list; the first if `now` is not in it.
fn stepped<T: Clone + PartialEq>(items: &[T], now: Option<&T>, by: isize) -> Option<T> {
    let last = items.len().checked_sub(1)?;
    let at = now.and_then(|now| items.iter().position(|item| item == now));
    let at = at.map_or(0, |at| at.saturating_add_signed(by).min(last));
    items.get(at).cloned()
}

#[cfg(test)]
#[path = "app_tests.rs"]
mod tests;
