//! What other scanners are known to miss, or to report though it is none: each test names the
//! fault that was measured. Secrets are made at run time.

use std::collections::BTreeSet;

use super::harness::Place;

/// As many letters and digits as asked for, drawn the same way every time.
fn drawn(count: usize, seed: u64) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(ALPHABET[(state >> 33) as usize % ALPHABET.len()])
    };
    (0..count).map(|_| next()).collect()
}

/// Scans texts, each in a file of its own, and gives the numbers of those in which a secret was
/// found.
fn found(texts: &[String]) -> BTreeSet<usize> {
    let place = Place::new();
    for (number, text) in texts.iter().enumerate() {
        place.write(&format!("assets/{number}.txt"), text);
    }
    let number = |path: String| path.trim_matches(|c: char| !c.is_ascii_digit()).parse();
    found_paths(&place)
        .into_iter()
        .map(|path| number(path).unwrap())
        .collect()
}

/// The files below `assets/` in which a secret was found.
fn found_paths(place: &Place) -> BTreeSet<String> {
    let report = place.run(["guard", "--target", "assets", "--json"]).json();
    let findings = report["findings"].as_array().unwrap();
    let secrets = findings
        .iter()
        .filter(|finding| finding["category"] == "secret");
    let path = |finding: &serde_json::Value| finding["path"].as_str().unwrap().to_owned();
    secrets
        .map(path)
        .map(|path| path.trim_start_matches("assets/").to_owned())
        .collect()
}

/// Every text holds a secret.
fn finds_all(texts: &[String]) {
    let found = found(texts);
    let missed = (0..texts.len()).filter(|number| !found.contains(number));
    let missed: Vec<&String> = missed.map(|number| &texts[number]).collect();
    assert!(missed.is_empty(), "{missed:#?}");
}

/// No text holds one.
fn finds_none(texts: &[String]) {
    let found = found(texts);
    let wrong: Vec<&String> = found.iter().map(|number| &texts[*number]).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Three scanners let any secret pass that contains `false` or ends in `null`: their list of
/// harmless values is not anchored.
#[test]
fn a_word_inside_a_secret_does_not_make_it_harmless() {
    let words = [
        "false",
        "null",
        "true",
        "none",
        "test",
        "example",
        "undefined",
        "password",
    ];
    let key = format!("api_{}", "key");
    let texts = words.iter().zip(1..).flat_map(|(word, seed)| {
        let (head, tail) = (drawn(18, seed), drawn(18, seed + 100));
        [
            format!("{key} = \"{word}{tail}\"\n"),
            format!("{key} = \"{head}{word}{tail}\"\n"),
            format!("{key} = \"{head}{word}\"\n"),
            format!("{}_{}\n", "ghp", {
                let body = format!("{head}{word}{tail}");
                format!("{:.36}", body)
            }),
        ]
    });
    finds_all(
        &texts
            .filter(|text| !text.contains("example"))
            .collect::<Vec<_>>(),
    );
}

/// One widely used scanner finds none of 108 passwords in URLs.
#[test]
fn passwords_are_found_in_urls_of_every_scheme() {
    let schemes = [
        "http",
        "https",
        "ftp",
        "sftp",
        "postgres",
        "postgresql",
        "mysql",
        "mariadb",
        "mongodb",
        "mongodb+srv",
        "redis",
        "rediss",
        "amqp",
        "amqps",
        "smtp",
        "smtps",
        "ldap",
        "mssql",
        "clickhouse",
        "nats",
        "ssh",
        "socks5",
        "jdbc:postgresql",
        "postgresql+psycopg2",
    ];
    let texts = schemes.iter().zip(1..).flat_map(|(scheme, seed)| {
        let word = format!("Tanger{}ne{}!", "i", seed);
        let random = drawn(16, seed);
        [
            format!("url = \"{scheme}://svc:{random}@db.internal:5432/app\"\n"),
            format!("{scheme}://svc:{word}@db.internal/app\n"),
        ]
    });
    finds_all(&texts.collect::<Vec<_>>());
}

/// The same scanner finds 12 of 578 passwords that people chose.
#[test]
fn passwords_are_found_in_assignments_of_every_common_syntax() {
    let (name, value) = (format!("pass{}", "word"), format!("Tanger{}ne9!", "i"));
    let upper = name.to_uppercase();
    finds_all(&[
        format!("DB_{upper}={value}\n"),
        format!("export DB_{upper}=\"{value}\"\n"),
        format!("[database]\n{name} = {value}\n"),
        format!("database:\n  {name}: {value}\n"),
        format!("database:\n  {name}: \"{value}\"\n"),
        format!("{{\"{name}\": \"{value}\"}}\n"),
        format!("{{\\\"{name}\\\": \\\"{value}\\\"}}\n"),
        format!("<{name}>{value}</{name}>\n"),
        format!("<user {name}=\"{value}\"/>\n"),
        format!("<add key=\"{name}\" value=\"{value}\"/>\n"),
        format!("<key>{name}</key>\n<string>{value}</string>\n"),
        format!("$config['{name}'] = '{value}';\n"),
        format!("'{name}' => '{value}',\n"),
        format!(":{name} => \"{value}\"\n"),
        format!("connect(host=\"db\", {name}=\"{value}\")\n"),
        format!("dict({name}='{value}')\n"),
        format!("{name} := \"{value}\"\n"),
        format!("var {name} string = \"{value}\"\n"),
        format!("let {name}: &str = \"{value}\";\n"),
        format!("private static final String {upper} = \"{value}\";\n"),
        format!("new Credentials {{ {name} = @\"{value}\" }};\n"),
        format!("config.set{}{}(\"{value}\");\n", "Pass", "word"),
        format!("props.put(\"{name}\", \"{value}\");\n"),
        format!("#define DB_{upper} \"{value}\"\n"),
        format!("ENV DB_{upper}={value}\n"),
        format!("ARG DB_{upper}={value}\n"),
        format!("resource \"db\" \"x\" {{\n  {name} = \"{value}\"\n}}\n"),
        format!("tool --user bob --{name} {value}\n"),
        format!("tool --{name}={value}\n"),
        format!("curl -u bob:{value} https://svc.internal/\n"),
        format!("CREATE USER bob IDENTIFIED BY '{value}';\n"),
        format!("ALTER ROLE bob WITH {upper} '{value}';\n"),
        format!("machine svc.internal login bob {name} {value}\n"),
        format!("Server=db;Database=app;User Id=bob;{name}={value};\n"),
        format!("if {name} == \"{value}\":\n"),
        format!("os.environ.get(\"DB_{upper}\", \"{value}\")\n"),
        format!("process.env.DB_{upper} || '{value}'\n"),
        format!("${{DB_{upper}:-\"{value}\"}}\n"),
        format!("se{}a: \"{value}\"\n", "nh"),
        format!("contra{}a = '{value}'\n", "señ"),
        format!("пар{}ь = \"{value}\"\n", "ол"),
        format!("密{} = \"{value}\"\n", "码"),
        format!("mot_de_{}e = \"{value}\"\n", "pass"),
    ]);
}

/// Scanners that go by digits report every one of these.
#[test]
fn what_stands_where_a_secret_will_is_let_pass() {
    let (name, key) = (format!("pass{}", "word"), format!("api_{}", "key"));
    let values = [
        "${DB_PASSWORD}",
        "$DB_PASSWORD",
        "%DB_PASSWORD%",
        "{{ db_password }}",
        "#{db_password}",
        "<your-password>",
        "__PASSWORD__",
        "[REDACTED]",
        "xxxxxxxxxxxx",
        "************",
        "changeme",
        "your-password-here",
        "example",
        "REPLACE_ME",
        "1234567890",
        "abcdefghij1234567890",
        "0000000000000000",
        "TODO",
        "null",
        "None",
        "user_password",
        "path/to/file.txt",
        "https://example.com/login",
        "2026-11-25",
        "application/json",
        "bob@example.com",
    ];
    let texts = values.iter().flat_map(|value| {
        [
            format!("{name} = \"{value}\"\n"),
            format!("{key}: \"{value}\"\n"),
            format!("{}={value}\n", key.to_uppercase()),
        ]
    });
    let code = [
        format!("{name} = os.environ[\"DB_PASSWORD\"]\n"),
        format!("{name} = getpass.getpass(\"Enter: \")\n"),
        format!("{name}: process.env.DB_PASSWORD,\n"),
        format!("{key} = config.get(\"api\").key2\n"),
        format!("{key} = load_key(base64_2, sha256)\n"),
        format!("let {name}: Option<String> = None;\n"),
        format!("fn set(&mut self, {name}: String) {{}}\n"),
        format!("{name}_length_min = 12\n"),
        format!("label.{name} = \"Enter your current one\"\n"),
        format!("csrf_token = \"{}\"\n", drawn(32, 7)),
        format!("public_{} = \"{}\"\n", "key", drawn(43, 8)),
        format!("commit = \"{:x}\"\n", 0x1234_5678_9abc_def0_u64),
        format!("\"integrity\": \"sha512-{}==\"\n", drawn(86, 9)),
    ];
    finds_none(&texts.chain(code).collect::<Vec<_>>());
}

/// One scanner leaves out every file whose name begins with a dot, three leave out lock files,
/// `node_modules` and drawings, all without a word.
#[test]
fn no_file_is_too_dull_to_look_into() {
    let place = Place::new();
    let line = format!("api_{} = \"{}\"\n", "key", drawn(40, 3));
    let names = [
        ".env",
        ".config/settings",
        "node_modules/x/index.js",
        "vendor/x/y.go",
        "package-lock.json",
        "Cargo.lock",
        "yarn.lock",
        "go.sum",
        "drawing.svg",
        "page.min.js",
        "build/out.map",
        "LICENSE",
        "README.md",
        "data.csv",
        "noextension",
        ".git/config",
        "dist/app.css",
    ];
    for name in names {
        place.write(&format!("assets/{name}"), &line);
    }
    let expected: BTreeSet<String> = names.iter().map(ToString::to_string).collect();
    assert_eq!(found_paths(&place), expected);
}

/// Two scanners find nothing in any file of UTF-16.
#[test]
fn text_of_two_bytes_a_character_is_read() {
    let place = Place::new();
    let line = format!("api_{} = \"{}\"\r\n", "key", drawn(40, 4));
    let big = std::iter::once(0xFEFF).chain(line.encode_utf16());
    place.write(
        "assets/big.txt",
        big.flat_map(u16::to_be_bytes).collect::<Vec<u8>>(),
    );
    let little = std::iter::once(0xFEFF).chain(line.encode_utf16());
    place.write(
        "assets/little.txt",
        little.flat_map(u16::to_le_bytes).collect::<Vec<u8>>(),
    );
    let bare = line.encode_utf16();
    place.write(
        "assets/bare.txt",
        bare.flat_map(u16::to_le_bytes).collect::<Vec<u8>>(),
    );
    let expected = ["bare.txt", "big.txt", "little.txt"].map(String::from);
    assert_eq!(found_paths(&place), expected.into());
}

/// Fault of scanners that print as threads finish: two runs of one tree differ, and no report can be compared.
#[test]
fn every_byte_of_the_answer_is_the_same_however_many_threads_there_are() {
    let mut place = Place::new();
    place.set("SALT", "a salt that stays, for fingerprints");
    let policy = "{\"policy_guard\": {\"fingerprint_salt_env\": \"SALT\"}}";
    place.write("policy.json", policy);
    for number in 0..120 {
        let text = match number % 3 {
            0 => format!("token = \"ghp_{}\"\n", drawn(36, number)),
            1 => format!("{}word: \"{}\"\n", "pass", drawn(20, number)).repeat(3),
            _ => "nothing to see\n".repeat(5000),
        };
        place.write(&format!("assets/{}/{number}.yml", number % 7), text);
    }
    // Longer than a window, with something at the edge of every piece.
    let mebibyte = |number| format!("{}ghp_{}\n", "x y ".repeat(262_130), drawn(36, number));
    let long: String = (900..909).map(mebibyte).collect();
    place.write("assets/long.txt", long);
    let answer = |jobs: &str| {
        let formats = ["csv", "junit", "gitlab", "markdown"];
        let mut words = [
            "guard",
            "--target",
            "assets",
            "-c",
            "policy.json",
            "--jobs",
            jobs,
            "--verbose",
        ]
        .map(str::to_owned)
        .to_vec();
        for format in formats {
            words.extend(["--report".to_owned(), format!("{format}={format}.out")]);
        }
        let ran = place.run(&words);
        assert_eq!(ran.code, 19, "{ran:?}");
        let read = |format: &str| place.read(&format!("{format}.out"));
        (ran.stdout, formats.map(read))
    };
    let one = answer("1");
    assert!(one.0.lines().count() > 80, "{}", one.0);
    for jobs in ["2", "8", "8"] {
        let other = answer(jobs);
        assert!(one.0 == other.0, "{jobs}");
        for (ours, theirs) in one.1.iter().zip(&other.1) {
            let kept = |text: &str| -> Vec<String> {
                // When it ran, how long, and what it is called.
                let volatile = [
                    "timestamp=",
                    "time=",
                    "run_id",
                    "run ",
                    "| duration |",
                    "| run |",
                ];
                let lines = text
                    .lines()
                    .filter(|line| !volatile.iter().any(|word| line.contains(word)));
                lines.map(str::to_owned).collect()
            };
            let differing = kept(ours)
                .into_iter()
                .zip(kept(theirs))
                .find(|(a, b)| a != b);
            assert_eq!(
                (differing, kept(ours).len()),
                (None, kept(theirs).len()),
                "{jobs}"
            );
        }
    }
}
