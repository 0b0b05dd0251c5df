//! A second server that copies the first.

use super::server::Server;
use super::wait::{PATIENCE, until};

impl Server {
    /// Starts a replica with the primary's own settings and waits until its link is up. The
    /// primary must have been started with `Options::tcp`.
    #[track_caller]
    pub(crate) fn replica_of(primary: &Self) -> Self {
        let port = primary.port().expect("a primary started with Options::tcp");
        let line = format!("replicaof 127.0.0.1 {port}");
        // With a TCP port too, so that a test can promote it and let others follow it.
        let replica = primary.options().clone().tcp().config(&[&line]).start();
        replica.wait_for_link();
        replica
    }

    /// Waits until this replica's link to its primary is up.
    #[track_caller]
    pub(crate) fn wait_for_link(&self) {
        let mut conn = self.connect();
        until(PATIENCE, || {
            conn.info("replication", "master_link_status").is_some_and(|status| status == "up")
        });
    }
}

/// Waits until `replica` has applied all that `primary` has sent so far.
#[track_caller]
pub(crate) fn wait_for_sync(primary: &Server, replica: &Server) {
    let sent = offset(primary, "master_repl_offset").expect("a primary's offset");
    until(PATIENCE, || offset(replica, "slave_repl_offset").is_some_and(|applied| applied >= sent));
}

#[track_caller]
fn offset(server: &Server, field: &str) -> Option<i64> {
    server.connect().info("replication", field)?.parse().ok()
}
