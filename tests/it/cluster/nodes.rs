//! The harness's cluster itself, on servers without the module: what other tests lean on must hold
//! first.

use std::time::Duration;

use crate::harness::{
    Binary, Cluster, ClusterClient, Conn, PATIENCE, Setup, cmd, each_binary, must, until,
};
use crate::model::slots::Slot;

/// The slot of all keys with this tag.
fn slot() -> Slot {
    Slot::of(b"{tag}")
}

fn plain(binary: &Binary) -> Setup {
    Cluster::with(binary).without_module()
}

fn key(n: usize) -> String {
    format!("key:{n}")
}

fn write(client: &mut ClusterClient, keys: usize) {
    (0..keys).for_each(|n| must!(client, "SET", key(n), n).ok());
}

#[track_caller]
fn assert_written(client: &mut ClusterClient, keys: usize) {
    (0..keys).for_each(|n| assert_eq!(must!(client, "GET", key(n)).str(), n.to_string()));
}

/// How many redirections with this code the client has followed.
fn followed(client: &ClusterClient, code: &str) -> u64 {
    client.followed.get(code).copied().unwrap_or(0)
}

#[test]
fn a_cluster_serves_all_slots_and_its_replicas_are_equal() {
    each_binary(|binary| {
        let cluster = plain(binary).replicas(1).start();
        assert_eq!(cluster.masters(), [0, 1, 2]);
        let mut client = cluster.client();
        write(&mut client, 100);
        assert_written(&mut client, 100);
        assert!(client.followed.is_empty(), "{:?}", client.followed);
        let held = |n| must!(cluster.connect(n), "DBSIZE").int();
        assert!((0..3).all(|n| held(n) > 10));
        cluster.assert_equal_replicas();
        assert_eq!((0..6).map(held).sum::<i64>(), 200);
        assert_eq!((0..3).map(|n| cluster.replica_of(n)).collect::<Vec<_>>(), [3, 4, 5]);
        let server_says = must!(client, "CLUSTER", "KEYSLOT", "{tag}").int();
        assert_eq!(server_says, i64::from(slot().number()));
        assert_eq!(cluster.owner_of("{tag}"), cluster.owner(slot()));
        assert_eq!(cluster.others("{tag}").len(), 2);
    });
}

#[test]
fn a_slot_moves_step_by_step_and_a_client_follows() {
    each_binary(|binary| {
        let cluster = plain(binary).start();
        let (from, to) = (cluster.owner(slot()), cluster.others("{tag}")[0]);
        let mut client = cluster.client();
        must!(client, "MSET", "{tag}a", 1, "{tag}b", 2).ok();
        let moving = cluster.begin_move(slot(), to);
        assert_eq!((moving.from(), moving.to()), (from, to));
        assert_eq!(moving.keys(), [b"{tag}a".to_vec(), b"{tag}b".to_vec()]);
        moving.migrate(b"{tag}a");
        assert_eq!(moving.keys_at(to), [b"{tag}a".to_vec()]);

        assert_eq!(must!(client, "GET", "{tag}a").str(), "1");
        assert_eq!(followed(&client, "ASK"), 1);
        assert_eq!(must!(client, "GET", "{tag}b").str(), "2");
        // Half of it is here and half is there.
        let mut hasty = cluster.client().with_bound(Duration::ZERO);
        assert_eq!(cmd!(hasty, "MGET", "{tag}a", "{tag}b").err_code(), "TRYAGAIN");

        moving.migrate_all();
        moving.finish();
        assert_eq!(followed(&client, "MOVED"), 0);
        assert_eq!(must!(client, "MGET", "{tag}a", "{tag}b").at(1).str(), "2");
        assert_eq!(followed(&client, "MOVED"), 1);
        must!(client, "GET", "{tag}a");
        assert_eq!(followed(&client, "MOVED"), 1, "it knows the owner now");
    });
}

#[test]
fn a_command_that_waits_for_a_slot_is_carried_out_when_it_has_moved() {
    each_binary(|binary| {
        let cluster = plain(binary).start();
        let mut client = cluster.client();
        must!(client, "MSET", "{tag}a", 1, "{tag}b", 2).ok();
        let moving = cluster.begin_move(slot(), cluster.others("{tag}")[0]);
        moving.migrate(b"{tag}a");
        let (told, said) = std::sync::mpsc::channel();
        std::thread::scope(|threads| {
            let waiting = threads.spawn(move || {
                let mut client = client.with_bound(PATIENCE);
                told.send(()).unwrap();
                (must!(client, "MGET", "{tag}a", "{tag}b"), client)
            });
            said.recv().unwrap();
            moving.migrate_all();
            moving.finish();
            let (reply, _) = waiting.join().unwrap();
            assert_eq!(reply.at(1).str(), "2");
        });
    });
}

#[test]
fn a_move_can_be_given_up() {
    each_binary(|binary| {
        let cluster = plain(binary).start();
        let (from, to) = (cluster.owner(slot()), cluster.others("{tag}")[0]);
        let mut client = cluster.client();
        must!(client, "MSET", "{tag}a", 1, "{tag}b", 2).ok();
        let moving = cluster.begin_move(slot(), to);
        assert_eq!(cmd!(cluster.connect(from), "GET", "{tag}c").err_code(), "ASK");
        moving.cancel();
        assert_eq!(cluster.owner(slot()), from);
        assert!(cmd!(cluster.connect(from), "GET", "{tag}c").is_null());
        assert_eq!(must!(client, "MGET", "{tag}a", "{tag}b").at(0).str(), "1");
        assert!(client.followed.is_empty());
    });
}

#[test]
fn a_slot_moves_by_the_servers_own_means() {
    each_binary(|binary| {
        let cluster = plain(binary).replicas(1).start();
        let mut client = cluster.client();
        must!(client, "MSET", "{tag}a", 1, "{tag}b", 2).ok();
        for _ in 0..2 {
            let to = cluster.others("{tag}")[0];
            cluster.move_somehow(slot(), to);
            assert_eq!(cluster.owner(slot()), to);
            assert_eq!(must!(client, "MGET", "{tag}a", "{tag}b").at(1).str(), "2");
        }
        assert!(followed(&client, "MOVED") >= 1);
        cluster.assert_equal_replicas();
    });
}

#[test]
fn a_dead_master_is_replaced_by_hand_and_comes_back_as_a_replica() {
    each_binary(|binary| {
        let mut cluster = plain(binary).replicas(1).start();
        let mut client = cluster.client();
        write(&mut client, 50);
        cluster.assert_equal_replicas();
        let master = cluster.owner_of("key:1");
        let replica = cluster.replica_of(master);
        cluster.kill9(master);
        cluster.take_over(replica);
        assert_eq!(cluster.owner_of("key:1"), replica);
        assert_written(&mut client.with_patience(PATIENCE), 50);
        cluster.restart(master);
        assert_eq!(cluster.replicas_of(replica), [master]);
        cluster.assert_equal_replicas();
        cluster.assert_healthy();
    });
}

#[test]
fn a_master_and_its_replica_change_places() {
    each_binary(|binary| {
        let cluster = plain(binary).replicas(1).start();
        let mut client = cluster.client();
        write(&mut client, 50);
        for _ in 0..2 {
            let master = cluster.owner_of("key:1");
            let replica = cluster.replica_of(master);
            cluster.fail_over(replica);
            assert_eq!(cluster.replica_of(replica), master);
            assert_written(&mut client, 50);
        }
        assert!(followed(&client, "MOVED") >= 1);
        cluster.assert_equal_replicas();
    });
}

#[test]
fn a_cluster_that_heals_replaces_a_dead_master() {
    each_binary(|binary| {
        let mut cluster = plain(binary).replicas(1).heals().start();
        let mut client = cluster.client();
        write(&mut client, 50);
        cluster.assert_equal_replicas();
        let master = cluster.owner_of("key:1");
        let replicas = cluster.replicas_of(master);
        cluster.kill9(master);
        assert_eq!(cluster.until_healed(master, &replicas), replicas[0]);
        client.close();
        assert_written(&mut client, 50);
        cluster.restart(master);
        assert_eq!(cluster.replicas_of(replicas[0]), [master]);
    });
}

#[test]
fn a_cluster_that_is_calm_waits_for_a_stopped_master() {
    each_binary(|binary| {
        let mut cluster = plain(binary).replicas(1).start();
        let mut client = cluster.client();
        must!(client, "SET", "key:1", 1).ok();
        let master = cluster.owner_of("key:1");
        cluster.pause(master);
        assert_eq!(cluster.masters().len(), 2);
        let mut other = cluster.connect(cluster.masters()[0]);
        assert_eq!(cmd!(other, "GET", "key:1").err_code(), "MOVED");
        cluster.resume(master);
        cluster.settle();
        assert_eq!(must!(client, "GET", "key:1").str(), "1");
        assert_eq!(cluster.masters().len(), 3);
    });
}

#[test]
fn without_a_shard_the_others_serve_or_not_as_the_setup_says() {
    each_binary(|binary| {
        for coverage in [false, true] {
            let setup = plain(binary).heals();
            let setup = if coverage { setup.with_full_coverage() } else { setup };
            let mut cluster = setup.start();
            let (lost, there) = (cluster.owner_of("key:1"), cluster.others("key:1")[0]);
            let here = (0..).map(key).find(|key| cluster.owner_of(key) == there).unwrap();
            cluster.kill9(lost);
            let mut conn = cluster.connect(there);
            let info = |conn: &mut Conn| must!(conn, "CLUSTER", "INFO").str().to_owned();
            until(PATIENCE, || !info(&mut conn).contains("cluster_slots_fail:0\r"));
            let reply = cmd!(conn, "SET", here, 1);
            assert_eq!(reply.is_error(), coverage, "{reply:?}");
        }
    });
}

#[test]
fn nodes_are_added_and_forgotten() {
    each_binary(|binary| {
        let mut cluster = plain(binary).replicas(1).start();
        let mut client = cluster.client();
        must!(client, "SET", "{tag}", 1).ok();
        let added = cluster.add_master();
        let replica = cluster.add_replica(added);
        cluster.move_slot(slot(), added);
        assert_eq!(cluster.owner_of("{tag}"), added);
        assert_eq!(cluster.replicas_of(added), [replica]);
        assert_eq!(must!(client, "GET", "{tag}").str(), "1");
        cluster.assert_equal_replicas();

        cluster.move_slot(slot(), 0);
        cluster.forget(replica);
        cluster.forget(added);
        client.close();
        assert_eq!(cluster.masters(), [0, 1, 2]);
        assert_eq!(must!(client, "GET", "{tag}").str(), "1");
    });
}

#[test]
fn a_client_is_told_that_nobody_is_there() {
    each_binary(|binary| {
        let mut cluster = plain(binary).masters(1).start();
        let mut client = cluster.client().with_bound(Duration::ZERO);
        must!(client, "SET", "key", 1).ok();
        cluster.kill9(0);
        // The connection breaks, and whether the command was carried out nobody knows.
        assert!(client.try_cmd(&["GET", "key"]).is_err());
        // Nobody listens: it was not.
        let error = client.try_cmd(&["GET", "key"]).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::NotConnected);
    });
}
