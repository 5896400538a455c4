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

#[test]
fn a_check_is_described_in_a_file_of_rules_once_and_under_an_id_of_its_own() {
    let check = |id: &str| {
        format!(
            "[[check]]\nid = '{id}'\ntitle = 't'\ncategory = 'configuration'\nseverity = 'low'\n"
        )
    };
    let rule = "[[rule]]\nid = 'a.b'\ntitle = 't'\ncategory = 'secret'\nseverity = 'low'\n\
                path = ['x']\nexamples = ['x']\nnegatives = ['y']\n";
    let mut pack = Pack::default();
    pack.add(&check("a.b_2"))
        .unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(pack.checks["a.b_2"].family(), "a");
    for (text, problem) in [
        (check("a"), "check `a` has an id that is not"),
        (check("a.").clone(), "check `a.` has an id that is not"),
        (
            check("a.b") + &check("a.b"),
            "check `a.b` is described twice",
        ),
        (check("a.b") + rule, "`a.b` is a rule and a check"),
    ] {
        let problems = Pack::default()
            .add(&text)
            .map_or_else(|error| error.problems, |()| vec![]);
        assert!(
            problems.iter().any(|found| found.contains(problem)),
            "{text}: {problems:?}"
        );
    }
}

#[test]
fn every_check_in_code_is_described_and_every_described_check_is_in_code() {
    let pack = shipped().unwrap_or_else(|error| panic!("{error}"));
    let described: Vec<&str> = pack.checks.keys().map(String::as_str).collect();
    let verdict = operations::CHECKS.iter().chain(&suppress::CHECKS);
    let mut in_code: Vec<&str> = files::CHECKS.iter().chain(verdict).copied().collect();
    in_code.sort_unstable();
    assert_eq!(in_code, described);
    let ids = pack.checks.values().map(Check::family);
    for family in ids.chain(pack.rules.iter().map(Rule::family)) {
        assert!(
            pack.families.contains_key(family),
            "family `{family}` is not described"
        );
    }
}
