//! The checker itself: each rule catches a planted violation and lets the rest pass.

use crate::tokens::blank;
use crate::{File, arrows, circles, measures::measures, rooms, rules};

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
fn a_source_has_a_head() {
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

/// A tree of sources; the files at `names` are empty.
fn tree(files: &[(&str, &str)], names: &[&str]) -> Vec<File> {
    let empty = names.iter().map(|path| (*path, ""));
    files.iter().copied().chain(empty).map(|(path, text)| (path.into(), text.into())).collect()
}

/// The files that `code` names in a file at `path`, among others at `names`.
fn named(path: &str, code: &str, names: &[&str]) -> Vec<String> {
    let found = arrows::arrows(&tree(&[(path, code)], names));
    found.into_iter().filter(|arrow| arrow.from == path).map(|arrow| arrow.to).collect()
}

#[test]
fn no_spelling_of_an_arrow_escapes() {
    let leases = "src/server/delivery/leases.rs";
    let names = [leases, "src/lib.rs", "src/server/mod.rs", "src/server/delivery/mod.rs"];
    for code in [
        "use crate::server::delivery::leases;",
        "use crate::server::delivery::leases::{self, grant};",
        "use super::super::delivery::leases::grant;",
        "fn f() { super::super::delivery::leases::grant() }",
        "fn f() { use crate::server::{api, delivery::{leases::*, state}}; }",
        "pub(crate) use crate::server::delivery::leases::grant;",
        "macro_rules! m { () => { $crate::server::delivery::leases::grant() } }",
        "mod inner { use super::super::super::delivery::leases; }",
    ] {
        let found = named("src/server/api/key.rs", code, &names);
        assert!(found.contains(&leases.to_owned()), "{code}: {found:?}");
    }
    // By the name of a folder that a `use` brings in, or of a child.
    for code in [
        "use crate::server;\nfn f() { server::delivery::leases::grant() }",
        "use crate::server as s;\nuse s::delivery as d;\nfn f() { d::leases::grant() }",
        "use crate::server::*;\nfn f(l: delivery::leases::Lease) {}",
    ] {
        let found = named("src/server/api/key.rs", code, &names);
        assert!(found.contains(&leases.to_owned()), "{code}: {found:?}");
    }
    for code in ["mod leases; pub use leases::grant;", "mod leases; fn f() { leases::grant() }"] {
        assert_eq!(named("src/server/delivery/mod.rs", code, &names), [leases], "{code}");
    }
}

#[test]
fn a_binary_is_a_crate_of_its_own() {
    let names = ["src/model/mod.rs", "src/bin/top/view/mod.rs", "src/bin/top/view/rows.rs"];
    for (path, code) in [
        ("src/bin/top/view/mod.rs", "use crate::view::rows; use super::view::rows::row;"),
        ("src/bin/top/main.rs", "mod view; use view::rows::row;"),
    ] {
        assert_eq!(named(path, code, &names), ["src/bin/top/view/rows.rs"], "{path}");
    }
    assert_eq!(named("src/model/ids.rs", "use crate::view::rows;", &names), Vec::<String>::new());
}

#[test]
fn a_macro_is_an_arrow_to_its_file() {
    let files = [("src/server/api/ffi.rs", "macro_rules! api { () => {} }")];
    let user = ("src/server/ops/config.rs", "fn f() { api!(Name) }\nfn g(api: u8) { api != 1; }");
    let found = arrows::arrows(&tree(&[files[0], user], &[]));
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(
        (found[0].from.as_str(), found[0].to.as_str(), found[0].line),
        (user.0, files[0].0, 1)
    );
}

#[test]
fn a_word_in_passing_is_no_arrow() {
    let names = ["src/lib.rs", "src/model/mod.rs", "src/model/ids.rs", "src/model/ring/mod.rs"];
    for code in [
        "pub(crate) mod ids; pub(super) fn f() {} pub(in crate::model::ids) struct S;",
        "// crate::model::ids\nfn f() { \"crate::model::ids\" }",
        "fn f(ids: &[u8]) { ids.len(); self.ids(); std::mem::take(ids) }",
        "use std::ids; fn f() { ids::g() }",
        "#[cfg(test)]\nmod tests { use crate::model::ids; }",
        "#[cfg(test)] use crate::model::ids;\n#[cfg(test)] fn f(a: [u8; 2]) { crate::model::ids::g() }",
        "#[cfg(test)]\n#[path = \"name_tests.rs\"]\nmod tests;",
        "use crate::model::name::Own;",
        "fn f<'a>(ids: &'a S) -> impl T + use<'a> { ids.a(); ids.b() }",
    ] {
        assert_eq!(named("src/model/name.rs", code, &names), Vec::<String>::new(), "{code}");
    }
    let code = "use crate::model::ids;";
    assert_eq!(named("src/model/name.rs", code, &names), ["src/model/ids.rs"]);
    for path in ["src/model/name_tests.rs", "src/model/simulator/world.rs", "tests/ring.rs"] {
        assert_eq!(named(path, code, &names), Vec::<String>::new(), "{path}");
    }
    let released = "#[cfg(not(test))]\nuse crate::model::ids;";
    assert_eq!(named("src/model/name.rs", released, &names), ["src/model/ids.rs"]);
}

/// The complaints about the arrows of `code` in a file at `path`.
fn against_order(path: &str, code: &str) -> Vec<String> {
    let names = [
        "src/model/ids.rs",
        "src/model/mod.rs",
        "src/model/progress/mod.rs",
        "src/model/ring/mod.rs",
        "src/model/rules/offer.rs",
        "src/model/saved/effect.rs",
        "src/model/waiting/lines.rs",
        "src/server/api/ctx.rs",
        "src/server/dispatch/call.rs",
        "src/server/mod.rs",
        "src/server/producing/batch.rs",
        "src/server/retention/depth.rs",
        "src/server/unheard/of.rs",
    ];
    rooms::order(&arrows::arrows(&tree(&[(path, code)], &names)))
}

#[test]
fn a_room_of_the_server_knows_those_before_it() {
    let up = against_order("src/server/api/key.rs", "\nuse crate::server::dispatch::call::hand;");
    let want = "src/server/api/key.rs:2: api may not know dispatch: src/server/dispatch/call.rs";
    assert_eq!(up, [want]);
    let mods = against_order("src/server/retention/mod.rs", "pub use super::dispatch::call;");
    assert_eq!(mods.len(), 1, "{mods:?}");
    let door = against_order("src/server/entry/load.rs", "use crate::server::wire;");
    assert_eq!(door.len(), 1, "{door:?}");
    let code = "use crate::server::{api::ctx, dispatch::call, retention::depth, producing::batch};";
    for (path, code) in [
        ("src/server/producing/append.rs", code),
        ("src/server/dispatch/pull.rs", "use super::call; use crate::model::rules::offer;"),
        ("src/server/mod.rs", "mod api; pub use dispatch::call::hand;"),
        ("src/command/ack.rs", code),
    ] {
        assert_eq!(against_order(path, code), Vec::<String>::new(), "{path}");
    }
}

#[test]
fn a_room_of_the_model_knows_what_its_table_lists() {
    for (path, code) in [
        ("src/model/ids.rs", "use super::ring::Ring;"),
        ("src/model/ring/history.rs", "use crate::model::progress::Progress;"),
        ("src/model/progress/lease.rs", "use crate::model::saved::effect::Effect;"),
        ("src/model/saved/snapshot.rs", "use super::super::rules::offer;"),
        ("src/model/rules/drive.rs", "use crate::model::waiting::lines::Lines;"),
        ("src/model/waiting/any.rs", "use crate::model::saved::effect;"),
        ("src/model/ring/group.rs", "use crate::model::Shell;"),
    ] {
        assert_eq!(against_order(path, code).len(), 1, "{path}");
    }
    for (path, code) in [
        ("src/model/name.rs", "use super::ids::EventId;"),
        ("src/model/ring/history.rs", "use super::Ring; use super::super::ids;"),
        ("src/model/saved/snapshot.rs", "use crate::model::{ids, progress, ring, saved::effect};"),
        ("src/model/rules/drive.rs", "use crate::model::{progress, ring, saved::effect};"),
        ("src/model/waiting/any.rs", "use crate::model::{progress, ring, rules::offer};"),
        ("src/model/mod.rs", "pub mod ring; pub use ring::Ring;"),
        ("src/model/ring/group.rs", "#[cfg(test)] mod tests { use crate::model::rules::offer; }"),
        ("src/model/ring/group_tests.rs", "use crate::model::rules::offer;"),
    ] {
        assert_eq!(against_order(path, code), Vec::<String>::new(), "{path}");
    }
}

#[test]
fn a_file_lies_in_a_listed_room() {
    for path in ["src/server/key.rs", "src/server/parts/key.rs", "src/model/parts/mod.rs"] {
        assert!(rooms::place(path).is_some_and(|what| what.starts_with(path)), "{path}");
    }
    for path in [
        "src/server/mod.rs",
        "src/server/api/key.rs",
        "src/server/delivery/letters/mod.rs",
        "src/model/ids.rs",
        "src/model/waiting/lines.rs",
        "src/model/simulator/rings/mod.rs",
        "src/command/ack.rs",
        "src/lib.rs",
    ] {
        assert_eq!(rooms::place(path), None, "{path}");
    }
}

fn circles_among(files: &[(&str, &str)]) -> Vec<String> {
    circles::circles(&arrows::arrows(&tree(files, &[])))
}

#[test]
fn a_circle_is_seen_with_its_files_in_order() {
    let three = circles_among(&[
        ("src/b.rs", "\nuse crate::c;"),
        ("src/a.rs", "use crate::b::B; use crate::d;"),
        ("src/c.rs", "\n\nfn f() { super::a::g() }"),
        ("src/d.rs", "use crate::e::E;"),
    ]);
    let want = "src/a.rs:1: a circle of 3 files
    src/a.rs:1 names src/b.rs
    src/b.rs:2 names src/c.rs
    src/c.rs:3 names src/a.rs";
    assert_eq!(three, [want]);
    let parent = [("src/r/mod.rs", "mod a; use a::A;"), ("src/r/a.rs", "use super::R;")];
    assert_eq!(circles_among(&parent).len(), 1);
    // A knot: each of its files is in a circle that is shown.
    let knot = [("src/a.rs", "use crate::{b, c};"), ("src/b.rs", "use crate::a::A;")];
    let knot = circles_among(&[knot[0], knot[1], ("src/c.rs", "use crate::b::B;")]);
    assert_eq!(knot.len(), 2, "{knot:?}");
    assert!(knot[0].contains("2 files") && knot[1].contains("3 files"), "{knot:?}");
}

#[test]
fn arrows_that_lead_down_make_no_circle() {
    let diamond = [
        ("src/a.rs", "use crate::{b, c};"),
        ("src/b.rs", "use crate::d::D;"),
        ("src/c.rs", "use crate::d::D; use self::Own; use super::c::Own;"),
        ("src/d.rs", "#[cfg(test)] mod tests { use crate::a::A; }"),
    ];
    assert_eq!(circles_among(&diamond), Vec::<String>::new());
    let room = [("src/r/mod.rs", "mod a; mod b;"), ("src/r/a.rs", "use super::R; use super::b;")];
    assert_eq!(circles_among(&[room[0], room[1], ("src/r/b.rs", "")]), Vec::<String>::new());
}

/// The complaints about the measures of a file at `path`, without the path.
fn exceeded(path: &str, text: &str) -> Vec<String> {
    let broken = measures(path, text).into_iter();
    broken.map(|what| what.strip_prefix(path).expect("the path").to_owned()).collect()
}

#[test]
fn a_file_is_short() {
    for path in ["src/lib.rs", "src/model/ids.rs", "tests/it/acl.rs"] {
        assert_eq!(exceeded(path, &"\n".repeat(400)), Vec::<String>::new());
        assert_eq!(exceeded(path, &"\n".repeat(401)), [":401: 401 lines, at most 400"]);
    }
    assert_eq!(exceeded("docs/a.md", &"\n".repeat(401)), Vec::<String>::new());
}

#[test]
fn a_function_is_short() {
    let with = |lines: usize| {
        format!("\nimpl A {{\n  fn f(a: [u8; 2]) -> u8\n  {{{}}}\n}}", "\n".repeat(lines - 2))
    };
    assert_eq!(exceeded("src/a.rs", &with(75)), Vec::<String>::new());
    assert_eq!(exceeded("src/a.rs", &with(76)), [":3: fn f has 76 lines, at most 75"]);
    assert_eq!(exceeded("tests/a.rs", &with(76)), Vec::<String>::new());
    let lines = "\n".repeat(80);
    for code in [
        format!("trait T {{ fn f(); {lines} fn g() {{ \"{{\" }} }}"),
        format!("struct S {{ f: fn(u8) -> u8, {lines} }}\n// fn f() {{ {lines}"),
        format!("fn f() {{ '{{' }}{lines}fn g() {{ /* {{ */ }}"),
    ] {
        assert_eq!(exceeded("src/a.rs", &code), Vec::<String>::new(), "{code}");
    }
    let nested = format!("fn f() {{\n fn g() {{ {lines} }}\n}}");
    assert_eq!(exceeded("src/a.rs", &nested).len(), 2);
}

#[test]
fn a_line_is_narrow() {
    let of = |start: &str, length: usize| format!("\n{start}{}", "x".repeat(length - start.len()));
    for path in ["src/a.rs", "tests/a.rs", "benches/a.rs", "fuzz/src/a.rs", "examples/a.rs"] {
        assert_eq!(exceeded(path, &of("//! ", 100)), Vec::<String>::new(), "{path}");
        assert_eq!(exceeded(path, &of("//! ", 101)), [":2: 101 characters, at most 100"], "{path}");
    }
    let long = "x".repeat(70);
    let short = "x".repeat(58);
    for (code, found) in [
        (format!("let summary = c\"{long}\"; // {long}"), 0),
        (format!("let two = (\"{short}\", \"{short}\");"), 1),
        (format!("// as \"{long}\" does, {long}"), 1),
        (format!("let text = \"\n{long}, {long}\n\"; // {long}{long}"), 1),
    ] {
        assert_eq!(exceeded("src/a.rs", &code).len(), found, "{code}");
    }
}

#[test]
fn a_source_is_ascii() {
    let found = exceeded("src/a.rs", "\n// O(n \u{d7} m)\nlet a = \"\u{1f600}\";");
    assert_eq!(found, [":2: \u{d7} (U+00D7) is not ASCII", ":3: \u{1f600} (U+1F600) is not ASCII"]);
    assert_eq!(exceeded("src/a.rs", "// O(n * m)\nlet a = \"\\u{d7}\";"), Vec::<String>::new());
    assert_eq!(exceeded("tests/a.rs", "// \u{d7}"), Vec::<String>::new());
}

#[test]
fn blanking_keeps_lines_and_code() {
    let text = "a /* x\n y */ b // c\n'\\'' 'd' &'e f r#type \"g\nh\" br\"\\\" i";
    let want = "a     \n      b     \n         &'e f r#type\n         i";
    let lines = |text: &str| text.lines().map(|l| l.trim_end().to_owned()).collect::<Vec<_>>();
    assert_eq!(lines(&blank(text)), lines(want));
}
