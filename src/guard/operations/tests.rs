//! What the lists say of operations, and what shows one.
#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use super::*;
use crate::guard::rule::Pack;
use crate::guard::runs::Text;
use crate::guard::scan::{Scanner, Scratch};
use crate::policy;

fn pack() -> Pack {
    let mut pack = Pack::default();
    pack.add(include_str!("../rules/operations.toml")).unwrap();
    pack
}

fn policy(blocked: &[&str], allowed: &[&str]) -> PolicyGuard {
    let owned = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect();
    PolicyGuard {
        blocked_operations: owned(blocked),
        allowed_operations: owned(allowed),
        ..PolicyGuard::default()
    }
}

#[test]
fn blocked_wins_and_with_an_allow_list_anything_else_is_unauthorized() {
    let by = |text: &str| text.to_owned();
    for (blocked, allowed, name, expected) in [
        (&[][..], &[][..], "x", Standing::Unnamed),
        (&["x"], &["x"], "x", Standing::Blocked(by("x"))),
        (
            &["delete_*"],
            &[],
            "delete_all",
            Standing::Blocked(by("delete_*")),
        ),
        (
            &["delete_*"],
            &[],
            "DELETE_ALL",
            Standing::Blocked(by("delete_*")),
        ),
        (&["delete_*"], &[], "undelete_all", Standing::Unnamed),
        (
            &[],
            &["read_*"],
            "read_asset",
            Standing::Allowed(by("read_*")),
        ),
        (
            &[],
            &["read_*"],
            " Read_Asset ",
            Standing::Allowed(by("read_*")),
        ),
        (&[], &["read_*"], "write_asset", Standing::Unauthorized),
        (&["*"], &["*"], "x", Standing::Blocked(by("*"))),
        (&[], &["{a,b}"], "b", Standing::Allowed(by("{a,b}"))),
    ] {
        let operations = Operations::new(&policy(blocked, allowed)).unwrap();
        assert_eq!(
            operations.standing(name),
            expected,
            "{blocked:?} {allowed:?} {name}"
        );
    }
}

#[test]
fn requests_are_a_name_and_perhaps_a_resource() {
    for (text, expected) in [
        ("read_asset", Some(("read_asset", None))),
        ("a=b=c", Some(("a", Some("b=c")))),
        (" a =", Some(("a", None))),
        ("", None),
        ("=x", None),
        ("a b", None),
        ("a\nb=c", None),
    ] {
        let read: Result<Operation, _> = text.parse();
        let read = read.ok().map(|read| (read.name, read.resource));
        let expected = expected.map(|(name, resource): (&str, Option<&str>)| {
            (name.to_owned(), resource.map(str::to_owned))
        });
        assert_eq!(read, expected, "{text:?}");
    }
}

#[test]
fn an_operation_on_the_paths_of_a_blocked_one_is_that_one() {
    let mut policy = policy(&["modify_core_config"], &[]);
    for (name, access) in [
        ("edit", policy::Access::Modify),
        ("drop", policy::Access::Delete),
        ("look", policy::Access::Read),
    ] {
        let operation = policy::Operation {
            access,
            ..policy::Operation::default()
        };
        policy.operation_catalog.insert(name.to_owned(), operation);
    }
    let operations = Operations::new(&policy).unwrap();
    for (text, is_refused) in [
        ("edit=config/a.json", true),
        ("edit=./config/a.json", true),
        ("EDIT=config/a.json", true),
        ("drop=config", false),
        ("drop=config/a", true),
        ("look=config/a", false),
        ("edit=assets/a", false),
        ("edit", false),
        ("unknown=config/a", false),
        ("modify_core_config=assets/a", true),
    ] {
        let standing = operations.judge(&text.parse().unwrap());
        assert_eq!(standing.is_refused(), is_refused, "{text}");
    }
}

/// Severity and operation of what a text shows.
fn shown(policy: &PolicyGuard, text: &str) -> Vec<String> {
    let operations = Operations::new(policy).unwrap();
    let mut pack = pack();
    pack.extend(operations.rules(&pack).unwrap());
    let scanner = Scanner::new(pack);
    let path = RelPath::parse(b"run.sh").unwrap();
    let matches = scanner.scan(
        &Text::new(text.as_bytes()),
        Some(&path),
        &mut Scratch::default(),
    );
    let found = matches.iter().map(|one| {
        let rule = &scanner.pack().rules[one.rule];
        Found::by_rule(rule, &Place::default(), rule.title.clone())
            .with_value(&text.as_bytes()[one.value.clone()])
    });
    let mut found: Vec<Found> = found.collect();
    operations.judge_evidence(&mut found);
    let shown = found.iter().map(|one| {
        let name = one.operation.as_deref().unwrap_or_default();
        format!("{} {name}", one.finding.severity.word())
    });
    shown.collect()
}

#[test]
fn evidence_is_judged_by_the_lists() {
    let (line, name) = ("terraform destroy", "delete_production_data");
    for (blocked, allowed, expected) in [
        (&[][..], &[][..], Some("medium")),
        (&[name], &[], Some("critical")),
        (&[name], &[name], Some("critical")),
        (&[], &[name], None),
        (&[], &["read_asset"], Some("high")),
    ] {
        let expected: Vec<String> = expected
            .iter()
            .map(|word| format!("{word} {name}"))
            .collect();
        assert_eq!(
            shown(&policy(blocked, allowed), line),
            expected,
            "{blocked:?} {allowed:?}"
        );
    }
}

#[test]
fn commands_that_touch_core_configuration_are_seen() {
    let blocked = policy(&["modify_core_config"], &[]);
    for line in [
        "echo x > config/app.json",
        "echo x >>\"config/app.json\"",
        "cat a | tee -a config/app.json",
        "sed -i s/a/b/ config/app.json",
        "cp new.json ./config/app.json",
        "mv new.json $ROOT/config/app.json",
        "mv new.json ${ROOT}/config/app.json && ls",
        "rm -f ../config/app.json",
        "chmod 777 config/app.json",
        "open('config/app.json', 'w')",
        "open(\"config/app.json\", mode=\"wb\")",
        "Path('config/app.json').write_text(x)",
        "fs.writeFileSync('config/app.json', x)",
        "os.remove('config/app.json')",
        "File.write(\"config/app.json\", x)",
        "Set-Content -Path config/app.json x",
    ] {
        let expected = ["critical modify_core_config"];
        assert_eq!(shown(&blocked, line), expected, "{line}");
    }
    for line in [
        "cat config/app.json",
        "cp config/app.json /tmp/x",
        "open('config/app.json')",
        "open('config/app.json', 'r')",
        "grep x config/app.json > out",
        "see config/app.json",
        "echo x > /etc/config/app.json",
        "echo x > myconfig/app.json",
        "if (a->config/2) {}",
        "(x) => config/app",
    ] {
        assert_eq!(shown(&blocked, line), [""; 0], "{line}");
    }
}

#[test]
fn patterns_and_paths_of_the_catalogue_are_seen_and_bounded() {
    let mut policy = policy(&["deploy", "wipe"], &[]);
    policy.operation_catalog.insert(
        "Deploy".into(),
        policy::Operation {
            patterns: vec!["^ship --to \\w+$".into()],
            ..policy::Operation::default()
        },
    );
    policy.operation_catalog.insert(
        "wipe".into(),
        policy::Operation {
            access: policy::Access::Delete,
            paths: vec!["store/**".into(), "*.x".into()],
            ..policy::Operation::default()
        },
    );
    for (text, expected) in [
        ("a\nship --to prod\nb", &["critical deploy"][..]),
        ("reship --to prod", &[]),
        ("rm -r store/a", &["critical wipe"]),
        ("rm b.x", &["critical wipe"]),
        ("touch store/a", &[]),
        ("rm b.y", &[]),
    ] {
        assert_eq!(shown(&policy, text), expected, "{text}");
    }
    policy.operation_catalog.insert(
        "explode".into(),
        policy::Operation {
            patterns: vec!["(?:[a-z]{1,500}){1,500}".into()],
            ..policy::Operation::default()
        },
    );
    let operations = Operations::new(&policy).unwrap();
    let error = operations.rules(&pack()).unwrap_err().to_string();
    assert!(
        error.contains("`explode`") && error.contains("compiles to more than"),
        "{error}"
    );
}

#[test]
fn a_path_is_read_as_scripts_write_it() {
    let globs = Globs::compile(&["config/**".to_owned()]).unwrap();
    for (written, expected) in [
        ("config/a", true),
        ("'config/a'", true),
        ("./config//a/./b", true),
        ("$HOME/config/a", true),
        ("${X}/../config/a", true),
        ("/config/a", false),
        ("config", false),
        ("a/config/a", false),
        ("$(x)/config/a", false),
    ] {
        assert_eq!(is_about(&globs, written), expected, "{written}");
    }
}
