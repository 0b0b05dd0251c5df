//! The checker itself: each rule catches a planted violation and lets the rest pass.

use crate::rules;
use crate::source::blank;

/// What `code` breaks in a file at `path`, whose other lines are in order.
fn broken(path: &str, code: &str) -> Vec<String> {
    let commands = ["ack", "nack", "trigger"].map(str::to_owned);
    rules::source(path, &format!("//! Head.\n{code}\n"), &commands)
}

#[track_caller]
fn caught(path: &str, code: &str) {
    let broken = broken(path, code);
    assert_eq!(broken.len(), 1, "{path}: {code}: {broken:?}");
}

#[track_caller]
fn allowed(path: &str, code: &str) {
    assert_eq!(broken(path, code), Vec::<String>::new(), "{path}: {code}");
}

#[test]
fn the_model_knows_nothing_above_or_outside_it() {
    for code in [
        "use redis_module::Context;",
        "fn f(c: &redis_module::Context) {}",
        "use crate::server::key;",
        "use crate::{model::ids, server};",
        "use super::super::command::ack;",
        "use super::super::module as wiring;",
        "use std::{collections::HashMap, time::Duration};",
        "use std::time::SystemTime;",
        "fn f() { let now = Instant::now(); }",
        "fn f() { std :: env :: args(); }",
        "pub(crate) use std::fs;",
        "type T = Vec<std::net::IpAddr>;",
        "mod tests { use super::super::super::server; }",
    ] {
        caught("src/model/lease.rs", code);
    }
    for code in [
        "use std::collections::BTreeMap;\nuse super::ids::EventId;",
        "// as std::time would\n/* use std::fs; /* nested */ std::env */ fn f() {}",
        "fn f() -> &'static str { \"std::time // \\\" Instant\" }",
        "fn f() -> (&'static str, char) { (r#\"redis_module \" std::fs\"#, '\"') }",
        "struct Instants; fn instant<'a>(server: &'a str) {}",
        "mod tests { use super::*; use super::super::ids; }",
    ] {
        allowed("src/model/lease.rs", code);
    }
}

#[test]
fn a_command_knows_neither_the_module_api_nor_another_command() {
    for code in [
        "use redis_module::raw;",
        "use super::ack::run;",
        "use super::{Spec, trigger};",
        "fn f() { super::ack::run(); }",
        "fn f() { crate::command::ack::run(); }",
        "use crate::module::load;",
        "unsafe fn f() {}",
    ] {
        caught("src/command/nack.rs", code);
    }
    for code in [
        "use super::{Spec, Reply};\nuse crate::model::ids;\nuse crate::server::key;",
        "use crate::model::trigger;",
        "use super::nack::Part;",
    ] {
        allowed("src/command/nack.rs", code);
    }
    allowed("src/command/mod.rs", "mod ack; use ack::SPEC; use self::nack::run;");
    caught("src/command/mod.rs", "use redis_module::raw;");
}

#[test]
fn the_server_layer_knows_no_command() {
    caught("src/server/key.rs", "use crate::command;");
    caught("src/server/key.rs", "use super::super::module::wire;");
    allowed(
        "src/server/key.rs",
        "use crate::model::ids;\nuse redis_module::raw;\nunsafe fn f() {}",
    );
}

#[test]
fn unsafe_stands_in_the_server_layer_only() {
    caught("src/lib.rs", "unsafe extern \"C\" {}");
    caught("src/module.rs", "fn f() { unsafe { g() } }");
    allowed("src/module.rs", "#![deny(unsafe_code)] // unsafe\nfn f() { \"unsafe\" }");
}

#[test]
fn a_source_is_short_and_has_a_head() {
    allowed("src/lib.rs", &"\n".repeat(398));
    caught("src/lib.rs", &"\n".repeat(399));
    assert_eq!(rules::source("src/lib.rs", "// Head.\n", &[]).len(), 1);
}

#[test]
fn a_name_says_what_a_file_is() {
    for path in ["src/model/utils.rs", "scripts/helpers", "src/common/mod.rs", "a/manager.py"] {
        assert_eq!(rules::file(path, "").len(), 1, "{path}");
    }
    assert!(rules::file("src/model/commonly.rs", "").is_empty());
}

#[test]
fn unfinished_work_is_seen() {
    for code in [concat!("// TO", "DO: more"), concat!("fix FIX", "ME"), concat!("dbg", "!(x)")] {
        assert_eq!(rules::file("README.md", code).len(), 1, "{code}");
    }
}

#[test]
fn blanking_keeps_lines_and_code() {
    let text = "a /* x\n y */ b // c\n'\\'' 'd' &'e f r#type \"g\nh\" br\"\\\" i";
    let want = "a     \n      b     \n         &'e f r#type\n         i";
    let lines = |text: &str| text.lines().map(|l| l.trim_end().to_owned()).collect::<Vec<_>>();
    assert_eq!(lines(&blank(text)), lines(want));
}
