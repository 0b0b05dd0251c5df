//! One step of a history, as proptest makes it up and prints it.

use proptest::prelude::*;

use super::clients::{CLIENTS, Play, Pull};
use super::world::{At, GROUPS, Hands, PARTITIONS, RINGS};
use crate::model::simulator::action::pace;

#[derive(Clone, Debug)]
pub(super) enum Action {
    Append {
        ring: usize,
        partition: u32,
        poison: bool,
        by_hand: bool,
    },
    Pull(usize, Pull),
    /// The client does not read the reply, and may send the command once more.
    PullUnread {
        c: usize,
        pull: Pull,
        again: bool,
    },
    /// The same, once it waits.
    GiveUp {
        c: usize,
        again: bool,
    },
    /// The last answer of a client is sent once more.
    AnswerAgain(usize),
    Ack {
        c: usize,
        nth: usize,
    },
    Nack {
        c: usize,
        nth: usize,
        delay_ms: u64,
    },
    Release(usize),
    Seek {
        at: At,
        to_end: bool,
    },
    /// A barrier closes, or searches stop early so many times.
    Hinder {
        at: At,
        closed: bool,
        stops: u8,
    },
    Open {
        at: At,
        by_hand: bool,
    },
    /// XDEL.
    Delete {
        ring: usize,
        partition: u32,
        nth: usize,
    },
    Drop(usize),
    DeleteGroup {
        ring: usize,
        group: usize,
    },
    LoseRing(usize),
    Create(usize),
    Vanish(usize),
    /// CLIENT UNBLOCK.
    Unblock(usize),
    ChangeRole,
    Pause(bool),
    /// The timer fires if anything is due, and the clients that are told have yet to come.
    Fire,
    /// They come.
    Come,
    Pass(u64),
    /// The server stands still.
    Stall(u64),
    Rest,
    /// An append to a ring at rest.
    Prompt {
        ring: usize,
        partition: u32,
    },
}

/// One of so many, the first more often: histories are about something.
fn few(count: usize) -> impl Strategy<Value = usize> + Clone {
    prop_oneof![2 => Just(0), 1 => 0..count]
}

fn partition() -> impl Strategy<Value = u32> + Clone {
    few(PARTITIONS as usize).prop_map(|partition| partition as u32)
}

fn pull() -> impl Strategy<Value = (usize, Pull)> {
    let block = prop_oneof![
        2 => Just(None),
        5 => Just(Some(0)),
        3 => prop_oneof![Just(5), Just(40), Just(400)].prop_map(Some),
    ];
    let lease = prop_oneof![Just(1u64), Just(30), Just(2000)];
    let partition = prop_oneof![2 => Just(None), 3 => partition().prop_map(Some)];
    (0..CLIENTS, few(RINGS), partition, few(GROUPS), 1..3usize, block, lease, pace()).prop_map(
        |(c, ring, partition, group, count, block_ms, lease_ms, pace)| {
            (c, Pull { ring, partition, group, count, block_ms, lease_ms, pace })
        },
    )
}

fn place() -> impl Strategy<Value = At> {
    (few(RINGS), partition(), few(GROUPS)).prop_map(|(ring, partition, group)| At {
        ring,
        partition,
        group,
    })
}

pub(super) fn action() -> impl Strategy<Value = Action> {
    let part = || (few(RINGS), partition());
    let flag = any::<bool>;
    let rarely = || prop::bool::weighted(0.1);
    let time = || prop_oneof![Just(1u64), Just(9), Just(35), Just(1500)];
    prop_oneof![
        20 => (part(), rarely(), flag()).prop_map(|((ring, partition), poison, by_hand)| {
            Action::Append { ring, partition, poison, by_hand }
        }),
        40 => pull().prop_map(|(c, pull)| Action::Pull(c, pull)),
        8 => (pull(), flag())
            .prop_map(|((c, pull), again)| Action::PullUnread { c, pull, again }),
        4 => (0..CLIENTS, flag()).prop_map(|(c, again)| Action::GiveUp { c, again }),
        5 => (0..CLIENTS).prop_map(Action::AnswerAgain),
        20 => (0..CLIENTS, 0..4usize).prop_map(|(c, nth)| Action::Ack { c, nth }),
        6 => (0..CLIENTS, 0..4usize, prop_oneof![Just(0u64), Just(25), Just(700)])
            .prop_map(|(c, nth, delay_ms)| Action::Nack { c, nth, delay_ms }),
        6 => (0..CLIENTS).prop_map(Action::Release),
        1 => (place(), flag()).prop_map(|(at, to_end)| Action::Seek { at, to_end }),
        3 => (place(), flag(), 0..3u8)
            .prop_map(|(at, closed, stops)| Action::Hinder { at, closed, stops }),
        5 => (place(), flag()).prop_map(|(at, by_hand)| Action::Open { at, by_hand }),
        2 => (part(), 0..4usize)
            .prop_map(|((ring, partition), nth)| Action::Delete { ring, partition, nth }),
        1 => (0..RINGS).prop_map(Action::Drop),
        1 => (0..RINGS, 0..GROUPS).prop_map(|(ring, group)| Action::DeleteGroup { ring, group }),
        1 => (0..RINGS).prop_map(Action::LoseRing),
        3 => (0..RINGS).prop_map(Action::Create),
        6 => (0..CLIENTS).prop_map(Action::Vanish),
        5 => (0..CLIENTS).prop_map(Action::Unblock),
        1 => Just(Action::ChangeRole),
        4 => flag().prop_map(Action::Pause),
        20 => Just(Action::Fire),
        6 => Just(Action::Come),
        12 => time().prop_map(Action::Pass),
        3 => time().prop_map(Action::Stall),
        6 => Just(Action::Rest),
        5 => part().prop_map(|(ring, partition)| Action::Prompt { ring, partition }),
    ]
}

impl Play {
    pub(super) fn act(&mut self, action: Action) {
        self.catch_up();
        match action {
            Action::Append { ring, partition, poison, by_hand } => {
                self.append(ring, partition, poison, by_hand);
            }
            Action::Pull(c, pull) => self.pull(c, pull),
            Action::PullUnread { c, pull, again } => self.pull_unread(c, pull, again),
            Action::GiveUp { c, again } => self.give_up(c, again),
            Action::AnswerAgain(c) => self.answer_again(c),
            Action::Ack { c, nth } => self.ack(c, nth),
            Action::Nack { c, nth, delay_ms } => self.nack(c, nth, delay_ms),
            Action::Release(c) => self.release(c),
            Action::Seek { at, to_end } => self.seek(at, to_end),
            Action::Hinder { at, closed, stops } => self.hinder(at, closed, stops),
            Action::Open { at, by_hand } => self.open(at, by_hand),
            Action::Delete { ring, partition, nth } => self.delete(ring, partition, nth),
            Action::Drop(ring) => self.drop_ring(ring),
            Action::DeleteGroup { ring, group } => self.delete_group(ring, group),
            Action::LoseRing(ring) => self.lose_ring(ring),
            Action::Create(ring) => self.create(ring),
            Action::Vanish(c) => self.vanish(c),
            Action::Unblock(c) => self.unblock_by_hand(c),
            Action::ChangeRole => self.change_role(),
            Action::Pause(paused) => self.pause(paused),
            Action::Fire => self.fire_if_due(),
            Action::Come => self.unblock(),
            Action::Pass(ms) => drop(self.pass(ms, Hands::None)),
            Action::Stall(ms) => self.stall(ms),
            Action::Rest => self.rest(),
            Action::Prompt { ring, partition } => self.check_prompt(ring, partition),
        }
        self.check();
    }
}
