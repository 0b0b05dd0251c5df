//! Commands of one slot keep their order, wherever the slot goes.

use super::servers::{Servers, each};
use super::{Answer, ask, bulk, command, send, start};
use crate::model::slots::Slot;

/// How often the slot moves.
const MOVES: usize = 12;

/// How many commands are sent in each state of the slot.
const AT_ONCE: usize = 40;

#[test]
fn commands_of_a_moving_slot_are_executed_in_their_order() {
    each(|program| {
        let servers = Servers::cluster(program, 3);
        let peers = start(&servers);
        let slot = Slot::of(b"{t}list").number();
        let mut from = servers.first_owner(slot);
        assert!(ask(&peers, &["DEL", "{t}list"]).is_ok());
        let mut count = 0;
        for _ in 0..MOVES {
            let to = (from + 1) % 3;
            let mut answers = Vec::new();
            let mut push = || {
                for _ in 0..AT_ONCE {
                    let value = count.to_string();
                    count += 1;
                    answers.push((count, send(&peers, command(&["RPUSH", "{t}list", &value]))));
                }
            };
            push();
            assert!(ask(&peers, &["LLEN", "{t}list"]).is_ok(), "there is something to move");
            push();
            servers.begin_to_move(slot, from, to);
            push();
            servers.migrate("{t}list", from, to);
            push();
            servers.end_move(slot, from, to);
            push();
            from = to;
            // None is on its way to a node that imports the slot while it does so once more: that
            // would make the key there.
            for (length, answer) in answers {
                assert_eq!(answer.recv().unwrap(), Ok(Answer::Int(length)));
            }
            servers.wait_until_moves_are_known();
        }
        let expected = (0..count).map(|number| bulk(&number.to_string())).collect();
        let found = ask(&peers, &["LRANGE", "{t}list", "0", "-1"]);
        assert_eq!(found, Ok(Answer::Array(expected)));
        let redirected: u64 = (0..3)
            .map(|n| servers.server(n).errors("MOVED") + servers.server(n).errors("ASK"))
            .sum();
        assert!(redirected > 0, "the moves were not noticed");
    });
}

#[test]
fn nothing_overtakes_a_command_that_is_repeated() {
    each(|program| {
        let servers = Servers::cluster(program, 3);
        let peers = start(&servers);
        let slot = Slot::of(b"{t}a").number();
        let from = servers.first_owner(slot);
        let to = (from + 1) % 3;
        assert!(ask(&peers, &["MSET", "{t}a", "1", "{t}b", "1"]).is_ok());
        servers.begin_to_move(slot, from, to);
        servers.migrate("{t}a", from, to);
        // Torn, and then one that could be executed at once. Only what is sent before the first
        // reply is there may be faster: the server alone orders what is on the way together.
        let both = send(&peers, command(&["MSET", "{t}a", "2", "{t}b", "2"]));
        let tried = || servers.server(from).errors("TRYAGAIN");
        super::wait::until(super::wait::PATIENCE, || tried() >= 2);
        let single = send(&peers, command(&["APPEND", "{t}b", "!"]));
        let seen = tried();
        super::wait::until(super::wait::PATIENCE, || tried() >= seen + 3);
        assert!(single.try_recv().is_err(), "overtook the one before it");
        assert_eq!(ask(&peers, &["SET", "another-slot", "x"]), super::ok());
        servers.migrate("{t}b", from, to);
        servers.end_move(slot, from, to);
        assert!(both.recv().unwrap().is_ok());
        assert_eq!(single.recv().unwrap(), Ok(Answer::Int(2)));
        assert_eq!(ask(&peers, &["GET", "{t}b"]), Ok(bulk("2!")));
    });
}
