//! The checker on the client of the cluster, as `rules_test` on the other layers.

use crate::rules;

fn broken(path: &str, code: &str) -> Vec<String> {
    rules::source(path, &format!("//! Head.\n{code}\n"), &[])
}

#[test]
fn the_client_of_the_cluster_knows_the_model_only() {
    for code in [
        "use redis_module::raw;",
        "use crate::server::api::reply;",
        "use super::super::server;",
        "fn f() { crate::command::ack::run() }",
        "use crate::module;",
        "fn f() { unsafe {} }",
    ] {
        assert_eq!(broken("src/peers/link.rs", code).len(), 1, "{code}");
    }
    let code = "use crate::model::slots::Slot;\nuse std::time::Instant;\nuse redis::Value;";
    assert_eq!(broken("src/peers/link.rs", code), Vec::<String>::new());
}

#[test]
fn the_server_layer_alone_knows_the_client_of_the_cluster() {
    let code = "use crate::peers::Client;";
    for path in ["src/model/ids.rs", "src/command/ack.rs"] {
        assert_eq!(broken(path, code).len(), 1, "{path}");
    }
    assert_eq!(broken("src/server/entry/load.rs", code), Vec::<String>::new());
}
