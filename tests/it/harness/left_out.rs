//! What a run of the tests did without.

use std::io::Write as _;

/// Tells the one who runs the tests that something is not tested, and why. Past the test runner,
/// which keeps what passing tests print to itself.
pub(crate) fn left_out(what: &str) {
    let told = writeln!(std::io::stderr(), "NOT TESTED: {what}");
    told.expect("standard error");
}
