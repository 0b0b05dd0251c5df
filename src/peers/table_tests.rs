//! Replies to CLUSTER SLOTS as servers write them.

use super::*;

/// The node that was asked.
fn asked() -> SocketAddr {
    address("10.0.0.9:7009")
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// A table of one range, 0 to 9, with these nodes.
fn table(nodes: &[Value]) -> Option<Table> {
    let range = [&[Value::Int(0), Value::Int(9)], nodes].concat();
    Table::parse(&Value::Array(vec![Value::Array(range)]), asked())
}

fn bulk(text: &str) -> Value {
    Value::BulkString(text.into())
}

/// A node with its endpoint and what is added to it.
fn node(endpoint: Value, port: i64, more: &[(&str, &str)]) -> Value {
    let more = more.iter().map(|(name, value)| (bulk(name), bulk(value))).collect();
    Value::Array(vec![endpoint, Value::Int(port), bulk("id"), Value::Map(more)])
}

fn owner(endpoint: Value, more: &[(&str, &str)]) -> Option<SocketAddr> {
    table(&[node(endpoint, 7001, more)])?.owner(Slot::new(9)?)
}

#[test]
fn a_node_is_where_the_cluster_reaches_it() {
    let found = Some(address("10.0.0.1:7001"));
    assert_eq!(owner(bulk("10.0.0.1"), &[]), found);
    assert_eq!(owner(bulk("10.0.0.1"), &[("hostname", "a.b")]), found);
    assert_eq!(owner(bulk("a.b"), &[("ip", "10.0.0.1")]), found);
    assert_eq!(owner(Value::Nil, &[("ip", "10.0.0.1"), ("hostname", "a.b")]), found);
    assert_eq!(owner(bulk("?"), &[("ip", "10.0.0.1")]), found);
    assert_eq!(owner(bulk("::1"), &[]), Some(address("[::1]:7001")));
}

#[test]
fn a_node_without_an_address_is_the_one_that_was_asked() {
    let found = Some(address("10.0.0.9:7001"));
    assert_eq!(owner(Value::Nil, &[]), found);
    assert_eq!(owner(bulk(""), &[]), found);
    assert_eq!(owner(bulk(""), &[("ip", "")]), found);
    assert_eq!(owner(bulk("?"), &[]), found);
}

#[test]
fn what_resp2_adds_is_read_too() {
    let more = Value::Array(vec![bulk("hostname"), bulk("a.b"), bulk("ip"), bulk("10.0.0.1")]);
    let node = Value::Array(vec![bulk("a.b"), Value::Int(7001), bulk("id"), more]);
    let table = table(&[node]).unwrap();
    assert_eq!(table.masters(), [address("10.0.0.1:7001")]);
}

#[test]
fn names_of_redirections_are_known_from_the_table() {
    let nodes = [
        node(bulk("a.b"), 7001, &[("ip", "10.0.0.1")]),
        node(bulk("10.0.0.2"), 7002, &[("hostname", "c.d")]),
    ];
    let table = table(&nodes).unwrap();
    let locate =
        |host: &str, port| table.locate(&Endpoint { host: host.to_owned(), port }, asked());
    assert_eq!(locate("a.b", 7001), Some(address("10.0.0.1:7001")));
    assert_eq!(locate("c.d", 7002), Some(address("10.0.0.2:7002")));
    assert_eq!(locate("c.d", 7001), None, "a name alone is no node");
    assert_eq!(locate("10.0.0.7", 1), Some(address("10.0.0.7:1")));
    assert_eq!(locate("", 7005), Some(address("10.0.0.9:7005")));
    assert_eq!(locate("?", 7005), Some(address("10.0.0.9:7005")));
}

#[test]
fn masters_have_slots_and_replicas_are_known() {
    let nodes = [node(bulk("10.0.0.1"), 7001, &[]), node(bulk("10.0.0.2"), 7002, &[])];
    let mut table = table(&nodes).unwrap();
    assert_eq!(table.masters(), [address("10.0.0.1:7001")]);
    assert_eq!(table.nodes(), [address("10.0.0.1:7001"), address("10.0.0.2:7002")]);
    assert_eq!(table.owner(Slot::new(10).unwrap()), None);
    table.note(Slot::new(10).unwrap(), address("10.0.0.3:7003"));
    assert_eq!(table.owner(Slot::new(10).unwrap()), Some(address("10.0.0.3:7003")));
    assert_eq!(table.masters().len(), 2);
}

#[test]
fn what_is_no_table_is_none() {
    assert!(Table::parse(&Value::Array(Vec::new()), asked()).is_none(), "a node without a cluster");
    for bad in [Value::Nil, Value::Int(1), Value::Array(vec![Value::Nil])] {
        assert!(Table::parse(&bad, asked()).is_none(), "{bad:?}");
    }
    let range = |first, last| {
        let nodes = node(bulk("10.0.0.1"), 7001, &[]);
        let parts = vec![Value::Int(first), Value::Int(last), nodes];
        Table::parse(&Value::Array(vec![Value::Array(parts)]), asked())
    };
    assert!(range(0, 16_383).is_some());
    for (first, last) in [(0, 16_384), (-1, 5), (5, 3)] {
        assert!(range(first, last).is_none(), "{first} to {last}");
    }
}
