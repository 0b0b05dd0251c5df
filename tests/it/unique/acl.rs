//! The keys that a user needs for tokens.

use crate::acl::user;
use crate::harness::{args, cmd, each_server, must};

#[test]
fn tokens_need_their_keys_wherever_they_are_looked_for() {
    each_server(|server| {
        let mut admin = server.connect();
        must!(admin, "EVQ.CREATE", "r", 1);
        let first = must!(admin, "EVQ.TRIGGER", "k", "p", "RING", "r", "UNIQUE", "t");
        must!(admin, "EVQ.RESIZE", "r", 8);
        let p = must!(admin, "EVQ.ROUTE", "k", "RING", "r").at(0).int();
        assert_ne!(p, 0, "a key that moves");
        let new = format!("%W~evq:{{r:{p}}}*");
        let words = args!["EVQ.TRIGGER", "k", "p", "RING", "r", "UNIQUE", "t"];
        let digest = admin.digest();
        let mut conn = user(&server, &["%R~evq:{r}", &new]);
        assert_eq!(conn.cmd(&words).err_code(), "NOPERM");
        assert_eq!(admin.digest(), digest);
        let mut conn = user(&server, &["%R~evq:{r}", &new, "%W~evq:{r:0}:unique"]);
        assert_eq!(conn.must(&words), first);
        // EVQ.DROP needs those that are there.
        must!(admin, "EVQ.CREATE", "s", 1);
        must!(admin, "EVQ.TRIGGER", "k", "p", "RING", "s", "UNIQUE", "t");
        let mut conn = user(&server, &["~evq:{s}", "~evq:{s:0}", "~evq:{s:0}:groups"]);
        assert_eq!(cmd!(conn, "EVQ.DROP", "s").err_code(), "NOPERM");
        let mut conn = user(&server, &["~evq:{s}", "~evq:{s:0}*"]);
        must!(conn, "EVQ.DROP", "s").ok();
    });
}
