//! The rules that we ship do what their examples say.

use super::*;

#[test]
fn every_shipped_rule_finds_its_examples_and_lets_its_counter_examples_pass() {
    let pack = shipped().unwrap_or_else(|error| panic!("{error}"));
    pack.check_patterns()
        .unwrap_or_else(|error| panic!("{error}"));
    let problems = pack.trials();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
