//! What the path of a file says about the secrets in it.

/// Directories whose secrets are made for tests. Lower case.
const DIRECTORIES: &[&str] = &[
    "__fixtures__",
    "__mocks__",
    "__tests__",
    "e2e",
    "fixture",
    "fixtures",
    "mock",
    "mocks",
    "spec",
    "specs",
    "test",
    "test-data",
    "test_data",
    "testcases",
    "testdata",
    "testing",
    "tests",
    "testsuite",
    "unittest",
    "unittests",
];

/// Whether a file serves tests, by a directory or its own name: a secret there opens something made
/// for the purpose more often than not. `path` is in lower case, with `/`.
pub fn is_for_tests(path: &[u8]) -> bool {
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    let stem = name.split(|byte| *byte == b'.').next().unwrap_or_default();
    let is_own = name
        .windows(6)
        .any(|part| part == b".test." || part == b".spec.");
    let begins = [&b"test_"[..], b"test-"]
        .iter()
        .any(|start| stem.starts_with(start));
    let ends = [&b"_test"[..], b"-test", b"_tests", b"_spec", b"-spec"]
        .iter()
        .any(|end| stem.ends_with(end));
    is_own || begins || ends || lies_among_tests(path)
}

/// Whether a file lies in a directory of tests, whatever its own name.
pub fn lies_among_tests(path: &[u8]) -> bool {
    let mut segments = path.rsplit(|byte| *byte == b'/').skip(1);
    segments.any(|segment| {
        DIRECTORIES
            .iter()
            .any(|directory| directory.as_bytes() == segment)
            || segment.ends_with(b"_test")
            || segment.ends_with(b"_tests")
            || segment.ends_with(b"-tests")
            || segment.ends_with(b".tests")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_tests_are_told_by_directory_and_name() {
        for (path, tests) in [
            ("tests/data/key.pem", true),
            ("src/__tests__/login.js", true),
            ("src/login.test.ts", true),
            ("lib/test_login.py", true),
            ("pkg/login_test.go", true),
            ("src/acme.tests/login.cs", true),
            ("src/contest/login.py", false),
            ("latest/config.yml", false),
            ("test.env", false),
            ("config/production.yml", false),
        ] {
            assert_eq!(is_for_tests(path.as_bytes()), tests, "{path}");
        }
    }
}
