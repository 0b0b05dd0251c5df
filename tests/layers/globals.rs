//! Every global of the module is in the table of docs/architecture.md, beside its file or room: who
//! adds one says there what resets it.

/// The page with the table.
pub(crate) const PAGE: &str = "docs/architecture.md";

/// Files whose globals are one row of the table: settings and counters.
const SUMMED: [&str; 2] = ["src/server/ops/config.rs", "src/server/ops/counters.rs"];

/// The globals of a file that the table does not have.
pub(crate) fn missing(path: &str, text: &str, page: &str) -> Vec<String> {
    let is_test = path.contains("/simulator/") || path.contains("/tests/");
    let is_module =
        ["src/server/", "src/peers/", "src/model/"].iter().any(|it| path.starts_with(it));
    if !is_module || is_test || SUMMED.contains(&path) {
        return Vec::new();
    }
    let missing = text.lines().filter_map(name).filter(|name| !has(page, path, name));
    missing.map(|name| format!("{path}: {name} is not in the table of globals in {PAGE}")).collect()
}

/// The name of the global that a line declares.
fn name(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let line = ["pub(crate) ", "pub(super) ", "pub "]
        .iter()
        .find_map(|it| line.strip_prefix(it))
        .unwrap_or(line);
    let rest = line.strip_prefix("static ")?;
    let name = rest.strip_prefix("ref ").unwrap_or(rest).split(':').next()?;
    name.bytes()
        .all(|byte| byte.is_ascii_uppercase() || b"_0123456789".contains(&byte))
        .then_some(name)
}

/// Whether a row of the table has a global: its name in the first cell, its file or its room in the
/// second.
fn has(page: &str, path: &str, name: &str) -> bool {
    let rows = page.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" | "));
    let mut rows = rows.filter(|(names, _)| names.contains(&format!("`{name}`")));
    rows.any(|(_, rest)| {
        let places = rest.split(" | ").next().unwrap_or_default();
        places.split(", ").any(|place| path.contains(&format!("/{place}")))
    })
}

#[test]
fn a_global_without_its_row_is_found() {
    let page = "| `ONE`, `TWO` | keyspace/a, api | x | y |\n| settings | ops/config | | |\n";
    let text = "thread_local! {\n    pub(crate) static TWO: u8 = 1;\n}\nstatic ref ONE: u8 = 2;\n";
    assert_eq!(missing("src/server/keyspace/a.rs", text, page), [""; 0]);
    assert_eq!(missing("src/server/api/b.rs", text, page), [""; 0]);
    assert_eq!(missing("src/server/ops/b.rs", text, page).len(), 2);
    let other = "    static THREE: u8 = 3;\nlet text: &'static str = \"\";\n";
    assert_eq!(missing("src/peers/a.rs", other, page).len(), 1);
    assert_eq!(missing("src/bin/a.rs", other, page), [""; 0]);
}
