//! How events reach replicas and the append-only file. One whose id just follows its stream's last
//! travels as the command that was sent, any other as XADD with its id. Whatever is done to the
//! streams in between, by hand or not: primary, replica, the replica's replica, and each of them
//! loaded again hold the same, down to the id that each stream would give out next.

use crate::harness::{
    Binary, Conn, PATIENCE, Server, Value, args, each_binary, must, until, wait_for_sync,
};

/// A primary, its replica and the replica's replica, all with append-only files.
pub(crate) struct Chain {
    pub(crate) servers: [Server; 3],
    pub(crate) conn: Conn,
}

/// Everything in all databases, and what the streams remember besides their entries.
pub(crate) fn state(server: &Server) -> Vec<String> {
    let mut conn = server.connect();
    let mut all = vec![conn.digest()];
    for db in [0, 5] {
        must!(conn, "SELECT", db);
        let keys = must!(conn, "KEYS", "evq:*");
        for key in keys.array() {
            if must!(conn, "TYPE", key.bytes()).str() == "stream" {
                let info = must!(conn, "XINFO", "STREAM", key.bytes());
                let fields = ["length", "last-generated-id", "max-deleted-entry-id"];
                let fields = fields.map(|field| format!("{:?}", info.get(field)));
                all.push(format!("{db} {} {fields:?}", key.bytes().escape_ascii()));
            }
        }
    }
    all.sort();
    all
}

impl Chain {
    pub(crate) fn start(binary: &Binary, config: &[&str]) -> Self {
        let config = [&["appendonly yes"], config].concat();
        let primary = Server::with(binary).tcp().config(&config).start();
        let middle = Server::replica_of(&primary);
        let last = Server::replica_of(&middle);
        let conn = primary.connect();
        Self { servers: [primary, middle, last], conn }
    }

    /// How often the replica has carried out each command, by its name in INFO.
    pub(crate) fn carried_out(&self, name: &str) -> i64 {
        let stats = self.servers[1].connect().info("commandstats", &format!("cmdstat_{name}"));
        let calls =
            stats.map(|stats| stats["calls=".len()..].split(',').next().unwrap().to_owned());
        calls.map_or(0, |calls| calls.parse().unwrap())
    }

    #[track_caller]
    pub(crate) fn assert_same(&self) {
        let [primary, middle, last] = &self.servers;
        wait_for_sync(primary, middle);
        wait_for_sync(primary, last);
        let wanted = state(primary);
        assert_eq!(state(middle), wanted);
        assert_eq!(state(last), wanted);
    }

    /// Checks that all have the same data, now and after each has loaded what it has saved.
    #[track_caller]
    pub(crate) fn assert_same_for_good(mut self) {
        self.assert_same();
        let wanted = state(&self.servers[0]);
        for server in &self.servers {
            // A replica begins a new file once it has copied its primary.
            server.connect().until_saved();
            for how in ["LOADAOF", "RELOAD"] {
                must!(server.connect(), "DEBUG", how).ok();
                assert_eq!(state(server), wanted, "{how}");
            }
            assert!(!server.log().contains("EVQBUG"), "{}", server.log());
        }
        // The file as a crash leaves it.
        for server in &mut self.servers {
            server.kill9();
            server.restart_with(&["replicaof no one"]);
            assert_eq!(state(server), wanted);
        }
    }
}

/// The last id of each of these streams lies in the future, so that every event follows.
pub(crate) fn run_ahead(conn: &mut Conn, ring: &str, partitions: u32) {
    for p in 0..partitions {
        must!(conn, "XADD", format!("evq:{{{ring}:{p}}}"), "9000000000000-0", "key", "k");
    }
}

/// Events of every form for every partition of the rings `default` and `r`.
pub(crate) fn trigger(conn: &mut Conn) {
    for ring in ["default", "r"] {
        for n in 0..20 {
            let key = format!("k\0{n}");
            must!(conn, "EVQ.TRIGGER", key, n, "RING", ring);
            must!(conn, "EVQ.TRIGGER", key, "\r\n", "HEADER", "h", n, "TYPE", "T", "ring", ring);
            must!(conn, "EVQ.MTRIGGER", 3, key, 1, "other", 2, key, 3, "RING", ring, "TYPE", "T");
        }
    }
}

/// Does something to the streams `evq:{r:0}` and `evq:{r:1}` of a ring between events.
pub(crate) fn after(by_hand: impl Fn(&mut Conn)) {
    each_binary(|binary| {
        for ahead in [false, true] {
            let mut chain = Chain::start(binary, &[]);
            must!(chain.conn, "EVQ.CREATE", "r", 2);
            if ahead {
                run_ahead(&mut chain.conn, "r", 2);
            }
            trigger(&mut chain.conn);
            by_hand(&mut chain.conn);
            trigger(&mut chain.conn);
            by_hand(&mut chain.conn);
            by_hand(&mut chain.conn);
            trigger(&mut chain.conn);
            chain.assert_same_for_good();
        }
    });
}

pub(crate) fn last_id(conn: &mut Conn, stream: &str) -> Value {
    must!(conn, "XINFO", "STREAM", stream).get("last-generated-id").clone()
}

#[test]
fn an_event_whose_id_follows_travels_as_its_command() {
    each_binary(|binary| {
        let mut chain = Chain::start(binary, &[]);
        must!(chain.conn, "EVQ.CREATE", "r", 2);
        run_ahead(&mut chain.conn, "r", 2);
        wait_for_sync(&chain.servers[0], &chain.servers[1]);
        let xadds = chain.carried_out("xadd");
        for n in 1..=10 {
            let got = must!(chain.conn, "EVQ.TRIGGER", "k", n, "RING", "r", "HEADER", "h", "\0");
            assert_eq!(got.at(1).str(), format!("9000000000000-{n}"));
        }
        must!(chain.conn, "EVQ.MTRIGGER", 3, "a", 1, "b", 2, "c", 3, "RING", "r", "TYPE", "T");
        chain.assert_same();
        assert_eq!(chain.carried_out("EVQ.TRIGGER"), 10);
        assert_eq!(chain.carried_out("EVQ.MTRIGGER"), 1);
        assert_eq!(chain.carried_out("xadd"), xadds);
        chain.assert_same_for_good();
    });
}

#[test]
fn the_first_event_of_a_stream_or_a_millisecond_travels_as_xadd() {
    each_binary(|binary| {
        let mut chain = Chain::start(binary, &[]);
        must!(chain.conn, "EVQ.CREATE", "r", 1);
        let (mut first, mut follows) = (0, 0);
        until(PATIENCE, || {
            let some = vec![args!["EVQ.TRIGGER", "k", "p", "RING", "r"]; 50];
            for got in chain.conn.pipeline(&some) {
                let begins = got.at(1).str().ends_with("-0");
                *(if begins { &mut first } else { &mut follows }) += 1;
            }
            first > 3 && follows > 3
        });
        chain.assert_same();
        assert_eq!((chain.carried_out("xadd"), chain.carried_out("EVQ.TRIGGER")), (first, follows));
        chain.assert_same_for_good();
    });
}

#[test]
fn events_of_a_batch_travel_each_in_its_own_way() {
    each_binary(|binary| {
        let mut chain = Chain::start(binary, &[]);
        must!(chain.conn, "EVQ.CREATE", "r", 8);
        // In these partitions events follow; in the others the first one does not.
        run_ahead(&mut chain.conn, "r", 4);
        wait_for_sync(&chain.servers[0], &chain.servers[1]);
        let xadds = chain.carried_out("xadd");
        let events: Vec<_> = (0..100).flat_map(|n| args![format!("k{n}"), n]).collect();
        let batch = [args!["EVQ.MTRIGGER", 100].to_vec(), events, args!["RING", "r"].to_vec()];
        for _ in 0..50 {
            assert_eq!(chain.conn.must(&batch.concat()).array().len(), 100);
        }
        chain.assert_same();
        assert!(chain.carried_out("xadd") >= xadds + 4);
        assert!(chain.carried_out("EVQ.MTRIGGER") >= 1);
        chain.assert_same_for_good();
    });
}

#[test]
fn a_batch_that_is_taken_back_leaves_the_same_everywhere() {
    each_binary(|binary| {
        let mut chain = Chain::start(binary, &[]);
        let conn = &mut chain.conn;
        must!(conn, "EVQ.CREATE", "full", 8);
        run_ahead(conn, "full", 3);
        let of = |conn: &mut Conn, key| must!(conn, "EVQ.ROUTE", key, "RING", "full").at(1).clone();
        let keys: Vec<_> = (0..200).map(|n| format!("k{n}")).collect();
        let full = of(conn, "full");
        let last = "18446744073709551615-18446744073709551615";
        must!(conn, "DEL", full.bytes());
        must!(conn, "XADD", full.bytes(), last, "key", "k");
        let others: Vec<_> = keys.iter().filter(|key| of(conn, key.as_str()) != full).collect();
        let events = others.iter().flat_map(|key| args![key, "p"]);
        let mut batch = args!["EVQ.MTRIGGER", others.len() + 1].to_vec();
        batch.extend(events);
        batch.extend(args!["full", "p", "RING", "full"]);
        for _ in 0..5 {
            let refused = "ERR the stream has reached the last possible id; nothing was added";
            assert_eq!(conn.cmd(&batch).err(), refused);
            for key in &others {
                must!(conn, "EVQ.TRIGGER", key, "p", "RING", "full");
            }
        }
        chain.assert_same_for_good();
    });
}

#[test]
fn after_xdel_of_the_last_event() {
    after(|conn| {
        for stream in ["evq:{r:0}", "evq:{r:1}"] {
            let last = last_id(conn, stream);
            must!(conn, "XDEL", stream, last.bytes());
        }
    });
}

#[test]
fn after_xdel_of_several_last_events() {
    after(|conn| {
        for _ in 0..3 {
            let last = must!(conn, "XREVRANGE", "evq:{r:0}", "+", "-", "COUNT", 1);
            must!(conn, "XDEL", "evq:{r:0}", last.at(0).at(0).bytes());
        }
    });
}

#[test]
fn after_xtrim_to_nothing() {
    after(|conn| {
        must!(conn, "XTRIM", "evq:{r:0}", "MAXLEN", 0);
        must!(conn, "XTRIM", "evq:{default:0}", "MAXLEN", 0);
    });
}

#[test]
fn after_xsetid() {
    after(|conn| {
        for (stream, ahead, seq) in [("evq:{r:0}", 1, 7), ("evq:{r:1}", 2, u64::MAX)] {
            let last = last_id(conn, stream);
            let (ms, _) = last.str().split_once('-').unwrap();
            let ms: u64 = ms.parse().unwrap();
            must!(conn, "XSETID", stream, format!("{}-{seq}", ms + ahead));
        }
    });
}

#[test]
fn after_xadd_by_hand() {
    after(|conn| {
        must!(conn, "XADD", "evq:{r:0}", "*", "other", "field");
        let last = last_id(conn, "evq:{r:1}");
        let (ms, _) = last.str().split_once('-').unwrap();
        must!(conn, "XADD", "evq:{r:1}", format!("{ms}-*"), "other", "field");
    });
}

#[test]
fn after_del() {
    after(|conn| {
        must!(conn, "DEL", "evq:{r:0}", "evq:{default:7}");
        must!(conn, "UNLINK", "evq:{r:1}");
    });
}

#[test]
fn after_flushall() {
    after(|conn| {
        must!(conn, "FLUSHALL");
        must!(conn, "EVQ.CREATE", "r", 2);
        run_ahead(conn, "r", 1);
    });
}

#[test]
fn after_rename_and_copy() {
    after(|conn| {
        must!(conn, "RENAME", "evq:{r:0}", "elsewhere");
        must!(conn, "COPY", "evq:{r:1}", "evq:{r:0}", "REPLACE");
        must!(conn, "RENAME", "elsewhere", "evq:{r:1}");
    });
}

#[test]
fn after_dump_and_restore() {
    after(|conn| {
        let dump = must!(conn, "DUMP", "evq:{r:0}");
        trigger(conn);
        must!(conn, "RESTORE", "evq:{r:0}", 0, dump.bytes(), "REPLACE");
        must!(conn, "RESTORE", "evq:{r:1}", 0, dump.bytes(), "REPLACE");
    });
}

#[test]
fn after_a_stream_has_expired() {
    after(|conn| {
        must!(conn, "PEXPIRE", "evq:{r:0}", 1);
        until(PATIENCE, || must!(conn, "EXISTS", "evq:{r:0}").int() == 0);
    });
}

#[test]
fn after_move_and_swapdb() {
    after(|conn| {
        must!(conn, "SWAPDB", 0, 5);
        must!(conn, "EVQ.CREATE", "r", 2);
        trigger(conn);
        must!(conn, "MOVE", "evq:{r:0}", 5);
        must!(conn, "SELECT", 5);
        trigger(conn);
        must!(conn, "SELECT", 0);
    });
}
