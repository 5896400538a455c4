//! The house's own rules, proven from the sources: floors, one home for each dangerous thing,
//! files and functions of a size, and what stands at the top of the repository.
//!
//! To add a module, give it a floor in [`FLOORS`]. To add a rule, plant a violation in
//! [`every_planted_violation_is_reported`] first.

mod tokens;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use tokens::{Named, Token};

/// Every module of the crate and its floor; it uses lower floors only. Those that the design
/// foresees have theirs before they are written.
const FLOORS: [(&str, u8); 20] = [
    ("base", 0),
    ("history", 1),
    ("inventory", 1),
    ("policy", 1),
    ("process", 1),
    ("report", 1),
    ("seal", 1),
    ("system", 1),
    ("alert", 2),
    ("audit", 2),
    ("budget", 2),
    ("export", 2),
    ("guard", 2),
    ("integrity", 2),
    ("part", 2),
    ("profile", 2),
    ("rollback", 2),
    ("pipeline", 3),
    ("cli", 4),
    ("main", 5),
];

/// What has one home.
struct Fence {
    name: &'static str,
    /// Paths and, with `!` behind them, macros.
    what: &'static [&'static str],
    /// A file, or a folder with its final slash; nothing lies below the empty one.
    home: &'static str,
}

const FENCES: [Fence; 7] = [
    Fence {
        name: "the command line",
        what: &["clap", "clap_complete", "clap_mangen"],
        home: "src/cli/",
    },
    Fence {
        name: "printing",
        what: &[
            "print::!",
            "println::!",
            "eprint::!",
            "eprintln::!",
            "std::print",
            "std::println",
            "std::eprint",
            "std::eprintln",
            "std::io::stdout",
            "std::io::stderr",
            "rustix::stdio",
            "anstream",
            "indicatif",
        ],
        home: "src/cli/render.rs",
    },
    Fence {
        name: "the environment",
        what: &[
            "std::env::args",
            "std::env::args_os",
            "std::env::var",
            "std::env::var_os",
            "std::env::vars",
            "std::env::vars_os",
            "std::env::set_var",
            "std::env::remove_var",
        ],
        home: "src/cli/env.rs",
    },
    Fence {
        name: "the wall clock",
        what: &[
            "std::time::SystemTime::now",
            "chrono::Utc::now",
            "chrono::Local::now",
            "chrono::offset::Utc::now",
            "chrono::offset::Local::now",
            "rustix::time",
        ],
        home: "src/base/clock.rs",
    },
    Fence {
        name: "starting programs",
        what: &["std::process::Command"],
        home: "src/process/",
    },
    Fence {
        name: "ending the process",
        what: &["std::process::exit", "std::process::abort"],
        home: "",
    },
    Fence {
        name: "unfinished code",
        what: &[
            "todo::!",
            "unimplemented::!",
            "dbg::!",
            "std::todo",
            "std::unimplemented",
            "std::dbg",
        ],
        home: "",
    },
];

/// Lines of a file; a table of cases may be longer.
const FILE_LINES_MAX: usize = 700;
/// Lines of a function; a table of cases may be longer.
const FUNCTION_LINES_MAX: usize = 70;
/// Lines of `main.rs`.
const MAIN_LINES_MAX: usize = 10;

/// What may stand at the top of the repository.
const TOP: [&str; 12] = [
    ".ci",
    ".github",
    ".gitignore",
    ".pre-commit-hooks.yaml",
    "Cargo.lock",
    "Cargo.toml",
    "README.md",
    "benches",
    "config",
    "docs",
    "src",
    "tests",
];

/// Everything that a file does against the rules, as `file:line: what`. `file` is relative to the
/// repository.
fn faults(file: &str, source: &str) -> Vec<String> {
    let mut found = Vec::new();
    if !source.starts_with("//!") {
        found.push((
            1,
            "does not begin with `//!`: what it owns, what it must never know".to_owned(),
        ));
    }
    let tokens = tokens::tokens(source);
    for (at, token) in tokens.iter().enumerate() {
        let allows = token.text == "allow"
            && at > 0
            && ["[", ","].contains(&tokens[at - 1].text.as_str())
            && tokens::has(&tokens, (at + 1, &["("]));
        if allows {
            found.push((
                token.line,
                "`#[allow`: use `#[expect(…, reason = \"…\")]`".to_owned(),
            ));
        }
        if token.text == "unsafe" {
            found.push((token.line, "`unsafe`".to_owned()));
        }
    }
    if file.starts_with("src/") {
        found.extend(floor_faults(file, &tokens));
        if !is_test(file) {
            let tokens = tokens::without_tests(&tokens);
            found.extend(fence_faults(file, &tokens));
            found.extend(size_faults(file, (source, &tokens)));
        }
    }
    found.sort();
    found.dedup();
    found
        .into_iter()
        .map(|(line, what)| format!("{file}:{line}: {what}"))
        .collect()
}

/// Whether a file holds nothing but tests.
fn is_test(file: &str) -> bool {
    file.ends_with("/tests.rs") || file.contains("/tests/")
}

/// `crate::cli::render` of `src/cli/render.rs`.
fn module_of(file: &str) -> String {
    let inner = file.trim_start_matches("src/").trim_end_matches(".rs");
    match inner.trim_end_matches("/mod") {
        "lib" => "crate".to_owned(),
        inner => format!("crate::{}", inner.replace('/', "::")),
    }
}

fn floor(module: &str) -> Option<u8> {
    let entry = FLOORS.iter().find(|(name, _)| *name == module);
    entry.map(|(_, floor)| *floor)
}

fn floor_faults(file: &str, tokens: &[Token]) -> Vec<(usize, String)> {
    let module = module_of(file);
    // The map of the crate names every module and uses none.
    let Some(own) = module.split("::").nth(1) else {
        return Vec::new();
    };
    let Some(own_floor) = floor(own) else {
        return vec![(1, format!("`{own}` has no floor"))];
    };
    let fault = |Named { segments, line }: &Named| {
        let used = segments
            .get(1)
            .filter(|used| segments[0] == "crate" && *used != own)?;
        match floor(used) {
            None => Some((*line, format!("`crate::{used}` has no floor"))),
            Some(floor) if floor >= own_floor => Some((
                *line,
                format!("`{own}` on floor {own_floor} uses `{used}` on floor {floor}"),
            )),
            Some(_) => None,
        }
    };
    tokens::paths(tokens, &module)
        .iter()
        .filter_map(fault)
        .collect()
}

fn fence_faults(file: &str, tokens: &[Token]) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for named in tokens::paths(tokens, &module_of(file)) {
        for fence in &FENCES {
            let is_home = match fence.home.ends_with('/') {
                true => file.starts_with(fence.home),
                false => file == fence.home,
            };
            if !is_home && fence.what.iter().any(|what| reaches(&named.segments, what)) {
                let path = named.segments.join("::").replace("::!", "!");
                let home = if fence.home.is_empty() {
                    "nowhere"
                } else {
                    fence.home
                };
                found.push((
                    named.line,
                    format!("`{path}`: {} is at home in {home}", fence.name),
                ));
            }
        }
    }
    found
}

/// Whether a path is, lies in, or imports everything around what is fenced.
fn reaches(segments: &[String], what: &str) -> bool {
    let what: Vec<&str> = what.split("::").collect();
    let same = segments
        .iter()
        .zip(&what)
        .take_while(|(a, b)| a == b)
        .count();
    same == what.len() || (same > 0 && same + 1 == segments.len() && segments[same] == "*")
}

fn size_faults(file: &str, (source, tokens): (&str, &[Token])) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let lines = source.lines().count();
    let lines_max = if file == "src/main.rs" {
        MAIN_LINES_MAX
    } else {
        FILE_LINES_MAX
    };
    if lines > lines_max {
        found.push((1, format!("{lines} lines, and {lines_max} is the most")));
    }
    for (name, line, lines) in tokens::functions(tokens) {
        if lines > FUNCTION_LINES_MAX {
            let what = format!("`{name}` has {lines} lines, and {FUNCTION_LINES_MAX} is the most");
            found.push((line, what));
        }
    }
    found
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What cargo runs before it compiles the crate is a program of its own.
const BUILD_SCRIPT: &str = "build.rs";

/// Every Rust file of the crate below a folder of the repository, relative to it.
fn sources(folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::from(folder)];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = root().join(&folder).read_dir() else {
            continue;
        };
        for entry in entries.map(Result::unwrap) {
            let path = folder.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs")
                && entry.file_name() != BUILD_SCRIPT
            {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

#[test]
fn every_source_keeps_the_rules_of_the_house() {
    let mut found = Vec::new();
    let mut files = 0;
    for path in ["src", "tests", "benches"].into_iter().flat_map(sources) {
        let source = std::fs::read_to_string(root().join(&path)).unwrap();
        found.extend(faults(path.to_str().unwrap(), &source));
        files += 1;
    }
    assert!(files > 50, "only {files} sources were found");
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn every_module_of_the_crate_has_a_floor_and_stands_in_the_map() {
    let mut modules = BTreeSet::new();
    for entry in root().join("src").read_dir().unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        modules.insert(name.trim_end_matches(".rs").to_owned());
    }
    assert!(modules.remove("lib"));
    let without: Vec<_> = modules
        .iter()
        .filter(|name| floor(name).is_none())
        .collect();
    assert!(without.is_empty(), "without a floor: {without:?}");
    assert!(modules.remove("main"));
    let map = tokens::tokens(&std::fs::read_to_string(root().join("src/lib.rs")).unwrap());
    let in_map =
        |name: &String| (0..map.len()).any(|at| tokens::has(&map, (at, &["mod", name, ";"])));
    let stray: Vec<_> = modules.iter().filter(|name| !in_map(name)).collect();
    assert!(stray.is_empty(), "not in src/lib.rs: {stray:?}");
}

#[test]
fn the_top_of_the_repository_holds_what_a_newcomer_expects() {
    let tracked = Command::new("git")
        .args(["ls-files", "-z"])
        .current_dir(root())
        .output();
    let entries: BTreeSet<String> = match tracked {
        Ok(output) if output.status.success() && !output.stdout.is_empty() => {
            let text = String::from_utf8(output.stdout).unwrap();
            let files = text.split_terminator('\0');
            files
                .map(|file| file.split('/').next().unwrap().to_owned())
                .collect()
        }
        // An archive of the sources, built where they were unpacked.
        _ => {
            let names = root()
                .read_dir()
                .unwrap()
                .map(|entry| entry.unwrap().file_name());
            let names = names.map(|name| name.into_string().unwrap());
            names
                .filter(|name| ![".agp", ".git", "target"].contains(&name.as_str()))
                .collect()
        }
    };
    let stray: Vec<_> = entries
        .iter()
        .filter(|name| !TOP.contains(&name.as_str()))
        .collect();
    assert!(
        stray.is_empty(),
        "does not belong at the top of the repository: {stray:?}"
    );
}

/// File, source, and the fault that must be reported at its second line.
const PLANTED: [(&str, &str, &str); 41] = [
    // Floors.
    (
        "src/base/x.rs",
        "use crate::report::Finding;",
        "`base` on floor 0 uses `report` on floor 1",
    ),
    (
        "src/report/x.rs",
        "use crate::seal;",
        "`report` on floor 1 uses `seal` on floor 1",
    ),
    (
        "src/system.rs",
        "fn f() -> crate::report::Verdict {}",
        "`system` on floor 1 uses `report`",
    ),
    (
        "src/system.rs",
        "use super::report::Verdict;",
        "uses `report`",
    ),
    (
        "src/audit/x.rs",
        "use super::super::integrity::sign;",
        "uses `integrity`",
    ),
    (
        "src/audit/mod.rs",
        "mod inner { use super::super::integrity; }",
        "uses `integrity`",
    ),
    (
        "src/audit/x.rs",
        "use crate::{base, cli::args};",
        "uses `cli`",
    ),
    (
        "src/audit/x.rs",
        "use crate::{base::{self, clock}, integrity as i};",
        "uses `integrity`",
    ),
    (
        "src/audit/tests.rs",
        "use crate::integrity;",
        "uses `integrity`",
    ),
    (
        "src/integrity/x.rs",
        "pub(in crate::audit) fn f() {}",
        "uses `audit`",
    ),
    ("src/integrity/x.rs", "use agp::audit;", "uses `audit`"),
    (
        "src/integrity/x.rs",
        "use crate::*;",
        "`crate::*` has no floor",
    ),
    (
        "src/seal/x.rs",
        "use crate::newcomer;",
        "`crate::newcomer` has no floor",
    ),
    // Fences.
    ("src/integrity/x.rs", "use clap::Args;", "the command line"),
    (
        "src/integrity/x.rs",
        "#[derive(clap::Args)] struct X;",
        "the command line",
    ),
    (
        "src/cli/sign.rs",
        "fn f() { println!(\"x\") }",
        "`println!`: printing",
    ),
    (
        "src/cli/tool.rs",
        "fn f() { std::eprintln!(\"x\") }",
        "printing",
    ),
    (
        "src/main.rs",
        "fn main() { eprint![\"x\"] }",
        "`eprint!`: printing",
    ),
    (
        "src/cli/tool.rs",
        "use std::io; fn f() { io::stderr().flush() }",
        "`std::io::stderr`",
    ),
    (
        "src/cli/tool.rs",
        "use std::io::{self as streams}; fn f() { streams::stdout(); }",
        "`std::io::stdout`",
    ),
    ("src/cli/tool.rs", "use std::io::*;", "printing"),
    (
        "src/cli/mod.rs",
        "fn f() { std::env::args_os(); }",
        "the environment",
    ),
    (
        "src/cli/keys.rs",
        "use std::env; fn f() { env::var(\"X\"); }",
        "`std::env::var`",
    ),
    (
        "src/cli/keys.rs",
        "use std::{env::{vars as all}, fs};",
        "`std::env::vars`",
    ),
    (
        "src/policy/load.rs",
        "fn f() { env::var_os(\"X\"); } use std::env;",
        "`std::env::var_os`",
    ),
    (
        "src/policy/load.rs",
        "fn f() { ::std::env::var_os(\"X\"); }",
        "`std::env::var_os`",
    ),
    (
        "src/seal/x.rs",
        "use std::time::SystemTime; fn f() { SystemTime::now(); }",
        "the wall clock",
    ),
    (
        "src/seal/x.rs",
        "fn f() { chrono::Utc::now(); }",
        "the wall clock",
    ),
    (
        "src/cli/keys.rs",
        "use std::process::Command;",
        "starting programs",
    ),
    (
        "src/cli/keys.rs",
        "use std::process::{Child, Command as C};",
        "starting programs",
    ),
    (
        "src/cli/keys.rs",
        "use std::process; fn f() { process::exit(2) }",
        "ending the process",
    ),
    (
        "src/main.rs",
        "fn main() { std::process::abort() }",
        "ending the process",
    ),
    ("src/base/x.rs", "fn f() { todo!() }", "unfinished code"),
    (
        "src/base/x.rs",
        "fn f(_: char) { f('\\''); f('\"'); todo!() }",
        "unfinished code",
    ),
    (
        "src/base/x.rs",
        "fn f<'a>(_: &'a str) { /* \" /* ' */ */ dbg!(r#\"\"\"#) }",
        "unfinished code",
    ),
    (
        "src/base/x.rs",
        "#[cfg(test)] mod tests { fn f() {} } fn g() { todo!() }",
        "unfinished code",
    ),
    (
        "src/base/x.rs",
        "#[cfg(test)] use x::{y}; fn g() { todo!() }",
        "unfinished code",
    ),
    // Everywhere.
    ("tests/it/x.rs", "unsafe fn f() {}", "`unsafe`"),
    ("benches/x.rs", "#[allow(dead_code)] fn f() {}", "`#[allow`"),
    (
        "src/base/x.rs",
        "#![allow(dead_code, reason = \"\")]",
        "`#[allow`",
    ),
    (
        "src/base/x.rs",
        "#[cfg_attr(unix, allow(dead_code))] fn f() {}",
        "`#[allow`",
    ),
];

#[test]
fn every_planted_violation_is_reported() {
    for (file, line, expected) in PLANTED {
        let found = faults(file, &format!("//! Planted.\n{line}\n"));
        assert!(
            found.iter().any(|fault| fault.contains(expected)),
            "{file}: {line}: {found:?}"
        );
        let place = format!("{file}:2: ");
        assert!(
            found.iter().all(|fault| fault.starts_with(&place)),
            "{found:?}"
        );
    }
    assert_eq!(
        faults("src/newcomer.rs", "//! New.\n"),
        ["src/newcomer.rs:1: `newcomer` has no floor"]
    );
    assert_eq!(faults("src/base/x.rs", "// Plain.\n").len(), 1);
    let long = format!("//! Long.\n{}", "\n".repeat(FILE_LINES_MAX));
    assert_eq!(faults("src/base/x.rs", &long).len(), 1);
    assert_eq!(
        faults("src/main.rs", &"//! Long.\n".repeat(MAIN_LINES_MAX + 1)).len(),
        1
    );
    let long = |lines: usize| {
        format!(
            "//! Long.\nimpl X {{\nfn f(a: [u8; 2]) -> X\n{{{}\n}}\n}}\n",
            "\n".repeat(lines)
        )
    };
    assert_eq!(
        faults("src/base/x.rs", &long(FUNCTION_LINES_MAX - 3)),
        [""; 0]
    );
    assert_eq!(
        faults("src/base/x.rs", &long(FUNCTION_LINES_MAX - 2)).len(),
        1
    );
}

#[test]
fn what_only_looks_like_a_violation_is_none() {
    for (file, line) in [
        ("src/base/x.rs", "// todo!() unsafe use crate::cli;"),
        (
            "src/base/x.rs",
            "/* todo!() /* unsafe */ use crate::cli; */",
        ),
        ("src/base/x.rs", "/// `std::env::var`, #[allow(x)]"),
        (
            "src/base/x.rs",
            "const A: &str = \"\\\\\\\" unsafe todo!() use crate::cli;\";",
        ),
        ("src/base/x.rs", "const A: &[u8] = br##\"\"# unsafe \"##;"),
        (
            "src/base/x.rs",
            "fn todo() {} fn f<'unsafe_>() { todo() != 1; x.exit(); r#allow(1) }",
        ),
        (
            "src/base/x.rs",
            "use crate::base::clock; use super::digest; use self::y; fn f() { clock::now() }",
        ),
        (
            "src/seal/x.rs",
            "use std::env; use std::process; fn f() { process::id(); env::temp_dir(); }",
        ),
        (
            "src/cli/keys.rs",
            "use super::args::Command; use super::env; fn f() { Command::Sign(env::var()) }",
        ),
        (
            "src/cli/keys.rs",
            "use std::io::{self, Write}; use crate::process; fn f() { io::stdin(); }",
        ),
        (
            "src/cli/keys.rs",
            "mod a { use super::b; } use crate::{audit, base::{clock, digest}};",
        ),
        (
            "src/audit/x.rs",
            "#[cfg(test)] mod tests { fn f() { println!(); } #[test] fn g() { todo!() } }",
        ),
        (
            "src/audit/tests.rs",
            "use std::process::Command; fn f() { eprintln!() }",
        ),
        (
            "tests/it/x.rs",
            "fn f() { std::process::exit(std::env::args().count()) }",
        ),
    ] {
        let found = faults(file, &format!("//! Innocent.\n{line}\n"));
        assert!(found.is_empty(), "{line}: {found:?}");
    }
}
