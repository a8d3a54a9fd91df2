//! The reader as a whole: what is read, what is refused, and in which words.

use std::time::Duration;

use super::*;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Balancer {
    RoundRobin,
    Weighted,
}

#[derive(Debug, Clone, PartialEq)]
struct Service {
    balancer: Balancer,
    idle: Option<Duration>,
    tls: String,
}

#[derive(Debug, Clone, PartialEq)]
struct Sample {
    listen: std::net::SocketAddr,
    workers: u16,
    window: u64,
    timeout: Duration,
    access: bool,
    endpoints: Vec<String>,
    user: Option<String>,
    password: Option<Secret>,
    prefixes: Vec<(String, String)>,
    default: Service,
    named: std::collections::BTreeMap<String, Service>,
}

fn service(s: &mut Section<'_>) -> Service {
    let balancers = [("round_robin", Balancer::RoundRobin), ("weighted", Balancer::Weighted)];
    Service {
        balancer: s.choice("balancer", &balancers, Balancer::RoundRobin),
        idle: s.optional_duration("idle", None, Duration::from_secs(1)..=Duration::from_secs(3600)),
        tls: s.section("tls", |s| s.string("name", "none")),
    }
}

fn sample(s: &mut Section<'_>) -> Sample {
    let second = Duration::from_secs(1);
    let (listen, workers, window, timeout, access) = s.section("proxy", |s| {
        (
            s.parsed("listen", std::net::SocketAddr::from(([127, 0, 0, 1], 8400))),
            s.integer("workers", 2, 1..=64),
            s.bytes("window", 65_536, 1_024..=1 << 30),
            s.duration("timeout", 5 * second, second..=60 * second),
            s.boolean("access", false),
        )
    });
    let (endpoints, user, password) = s.section("etcd", |s| {
        let user = s.optional("user");
        let password = s.secret("password");
        if user.is_some() && password.is_none() {
            s.error("user", "needs a password; set etcd.password too");
        }
        (s.strings("endpoints", &["http://127.0.0.1:2379"]), user, password)
    });
    let prefixes = s.list_of_one("prefixes", |s| {
        let prefix = s.string("prefix", "/services/");
        if !prefix.ends_with('/') {
            s.error("prefix", "must end with `/`");
        }
        (s.string("client", "default"), prefix)
    });
    let (default, named) =
        s.section("services", |s| (s.section("default", service), s.map_over("named", "default", |_, s| service(s))));
    Sample { listen, workers, window, timeout, access, endpoints, user, password, prefixes, default, named }
}

fn layers(text: &str) -> Layers {
    let file = File { name: "waypost.yaml".to_owned(), text: text.to_owned() };
    Layers { file: Some(file), ..Layers::default() }
}

fn argument(flag: &str, key: &str, value: &str) -> Argument {
    Argument { flag: flag.to_owned(), key: key.to_owned(), value: value.to_owned() }
}

fn variables(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn lines(result: Result<(Sample, Effective), Errors>) -> Vec<String> {
    result.err().iter().flat_map(|errors| errors.iter()).map(ToString::to_string).collect()
}

/// What is said of a file; each line without the file's name.
#[track_caller]
fn check(text: &str, expected: &[&str]) {
    let errors = lines(load(&layers(text), sample));
    let errors: Vec<_> = errors.iter().map(|e| e.trim_start_matches("waypost.yaml:").trim_start()).collect();
    assert_eq!(errors, expected, "{text}");
}

#[test]
fn an_empty_file_reads_as_the_defaults() {
    let expected = defaults(sample);
    assert_eq!(expected.workers, 2);
    assert_eq!(expected.prefixes, [("default".to_owned(), "/services/".to_owned())]);
    for text in ["", "---\n", "prefixes: []", "# nothing\n", "{}", "null", "proxy:\nservices: {named: }\n", "\u{feff}"]
    {
        assert_eq!(load(&layers(text), sample).unwrap().0, expected, "{text:?}");
    }
    assert_eq!(load(&Layers::default(), sample).unwrap().0, expected);
}

#[test]
fn every_kind_of_value_is_read() {
    let text = r#"
proxy: {listen: "[::1]:80", workers: 8, window: 4MiB, timeout: 1m, access: true}
etcd:
  endpoints: [http://a:1, 'http://b:2']
  user: 1.10
  password: "x"
prefixes:
  - {client: other, prefix: /a/}
  - prefix: /b/
"#;
    let read = parse(text, sample).unwrap();
    assert_eq!(read.listen.to_string(), "[::1]:80");
    assert_eq!((read.workers, read.window, read.timeout, read.access), (8, 4 << 20, Duration::from_secs(60), true));
    assert_eq!(read.endpoints, ["http://a:1", "http://b:2"]);
    assert_eq!(read.user.as_deref(), Some("1.10"), "text stays as it was written");
    assert_eq!(read.password.unwrap().expose(), "x");
    let prefixes = [("other", "/a/"), ("default", "/b/")].map(|(a, b)| (a.to_owned(), b.to_owned()));
    assert_eq!(read.prefixes, prefixes);
    assert_eq!(parse("etcd: {endpoints: 'http://a:1, http://b:2'}", sample).unwrap().endpoints, read.endpoints);
}

#[test]
fn arguments_beat_the_environment_and_it_beats_the_file() {
    let mut layers = layers("proxy: {workers: 3}\netcd: {user: file, password: file}");
    let workers = |layers: &Layers| load(layers, sample).unwrap().0.workers;
    assert_eq!(workers(&layers), 3);
    layers.environment =
        variables(&[("WAYPOST_PROXY_WORKERS", "4"), ("PATH", "/bin"), ("WAYPOST_ETCD_ENDPOINTS", "a,b")]);
    assert_eq!(workers(&layers), 4);
    layers.arguments = vec![argument("--workers", "proxy.workers", "9"), argument("--set", "proxy.workers", "5")];
    assert_eq!(workers(&layers), 5);
    assert_eq!(load(&layers, sample).unwrap().0.endpoints, ["a", "b"]);
    layers.environment = variables(&[("WAYPOST_ETCD_USER", "")]);
    assert_eq!(load(&layers, sample).unwrap().0.user.as_deref(), Some("file"), "an empty variable is not set");
}

#[test]
fn lists_and_maps_come_from_arguments_and_variables_too() {
    let mut layers = layers("prefixes: [{prefix: /file/}]\nservices: {named: {a: {idle: 5s}}}");
    layers.environment =
        variables(&[("WAYPOST_PREFIXES", "[{prefix: /env/}]"), ("WAYPOST_SERVICES_NAMED_A_BALANCER", "weighted")]);
    layers.arguments = vec![argument("--set", "services.named.\"x.B\".idle", "9s")];
    let read = load(&layers, sample).unwrap().0;
    assert_eq!(read.prefixes, [("default".to_owned(), "/env/".to_owned())]);
    assert_eq!((read.named["a"].balancer, read.named["a"].idle), (Balancer::Weighted, Some(Duration::from_secs(5))));
    assert_eq!(read.named["x.B"].idle, Some(Duration::from_secs(9)));
}

#[test]
fn a_named_section_takes_the_defaults_values_as_its_own() {
    let text = "services: {default: {balancer: weighted, idle: 5s, tls: {name: d}}, named: {a: {idle: off}, b: }}";
    let mut layers = layers(text);
    let read = load(&layers, sample).unwrap().0;
    let expected = Service { balancer: Balancer::Weighted, idle: None, tls: "d".to_owned() };
    assert_eq!(read.named["a"], expected);
    assert_eq!(read.named["b"], read.default);
    layers.arguments = vec![argument("--set", "services.default.idle", "7s")];
    let read = load(&layers, sample).unwrap().0;
    assert_eq!(read.named["b"].idle, Some(Duration::from_secs(7)));
    assert_eq!(read.named["a"].idle, None);
}

#[test]
fn every_error_comes_at_once_in_the_order_of_the_file() {
    check(
        "proxy:\n  workers: 99\n  listn: x\n  timeout: 5\netcd:\n  user: u\nprefixes:\n  - {prefix: /a}\n  - x\n",
        &[
            "2:3: proxy.workers: must be a whole number from 1 to 64, is `99`",
            "3:3: proxy.listn: unknown key; did you mean `listen`?",
            "4:3: proxy.timeout: `5` has no unit; write `5s` for seconds or `5ms` for milliseconds",
            "6:3: etcd.user: needs a password; set etcd.password too",
            "8:6: prefixes[0].prefix: must end with `/`",
            "9:5: prefixes[1]: must be a section: keys with values, one per line and indented",
        ],
    );
}

#[test]
fn wrong_values_say_what_is_right() {
    for (text, expected) in [
        ("proxy: {workers: many}", "1:9: proxy.workers: must be a whole number from 1 to 64, is `many`"),
        ("proxy: {workers: -1}", "1:9: proxy.workers: must be a whole number from 1 to 64, is `-1`"),
        ("proxy: {workers: 99999999999}", "1:9: proxy.workers: must be a whole number from 1 to 64, is `99999999999`"),
        ("proxy: {workers: }", "1:9: proxy.workers: has no value; write one or remove the key"),
        ("proxy: {workers: [1]}", "1:9: proxy.workers: must be one value, not a list"),
        ("proxy: {workers: {a: 1}}", "1:9: proxy.workers: must be one value, not a section"),
        ("proxy: {window: 1}", "1:9: proxy.window: must be from 1KiB to 1GiB, is `1`"),
        ("proxy: {timeout: 2h}", "1:9: proxy.timeout: must be from 1s to 1m, is `2h`"),
        ("proxy: {access: yes}", "1:9: proxy.access: must be true or false, is `yes`"),
        ("proxy: {listen: here}", "1:9: proxy.listen: `here` cannot be read: invalid socket address syntax"),
        (
            "etcd: {endpoints: {a: b}}",
            "1:8: etcd.endpoints: must be a list, such as `[a, b]`, or one string with commas between",
        ),
        ("etcd: {endpoints: [a, [b]]}", "1:23: etcd.endpoints[1]: must be a string"),
        ("prefixes: {a: b}", "1:1: prefixes: must be a list of sections: each starts with `- `"),
        (
            "services: {default: {balancer: wieghted}}",
            "1:22: services.default.balancer: must be one of weighted, round_robin; is `wieghted`",
        ),
        ("services: {default: {idle: 0s}}", "1:22: services.default.idle: must be from 1s to 1h, is `0s`; or `off`"),
        ("services: {named: {a: {idel: 5s}}}", "1:24: services.named.a.idel: unknown key; did you mean `idle`?"),
        (
            "services: {named: {a: 5}}",
            "1:23: services.named.a: must be a section: keys with values, one per line and indented",
        ),
        (
            "services: {default: {idle: x}, named: {a: {}, b: {}}}",
            "1:22: services.default.idle: `x` is not a duration; write it like `5s`, `200ms` or `1m30s`; or `off`",
        ),
        ("proxy: 5", "1:8: proxy: must be a section: keys with values, one per line and indented"),
        ("- a", "1:1: must be a section: keys with values, one per line and indented"),
        ("just text", "1:1: must be a section: keys with values, one per line and indented"),
        ("quux: 1", "1:1: quux: unknown key; known here are proxy, etcd, prefixes, services"),
    ] {
        check(text, &[expected]);
    }
}

#[test]
fn yaml_that_cannot_be_read_is_one_error_with_its_place() {
    for (text, expected) in [
        ("proxy: {workers: 2", "cannot read the YAML"),
        ("proxy:\n\tworkers: 2", "cannot read the YAML"),
        ("a: *nobody", "cannot read the YAML"),
        ("proxy: {}\n---\nproxy: {}", "a second document"),
        ("proxy: !secret x", "tags are not supported"),
        ("{a: b}: c", "a key must be plain text"),
        ("? [a]\n: c", "a key must be plain text"),
        ("a: &a [*a]", "inside its own anchor"),
        ("a: &a {x: 1}\nb: {<<: *a}", "merge keys"),
        (&"[".repeat(40), "nested deeper"),
        (&"[".repeat(100_000), "cannot read the YAML"),
        (&"{a: ".repeat(40), "nested deeper"),
        (&"- ".repeat(100_000), "nested deeper"),
        ("\0", "cannot read the YAML"),
    ] {
        let errors = lines(load(&layers(text), sample));
        let start: String = text.chars().take(40).collect();
        assert!(errors.len() == 1 && errors[0].contains(expected), "{start}: {errors:?}");
        assert!(errors[0].starts_with("waypost.yaml:"), "{errors:?}");
    }
}

#[test]
fn aliases_are_followed_but_not_without_end() {
    let read = parse("etcd: {user: &u me, password: *u}", sample).unwrap();
    assert_eq!(read.password.unwrap().expose(), "me");
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for i in 1..12 {
        let items = vec![format!("*a{}", i - 1); 9].join(", ");
        bomb.push_str(&format!("a{i}: &a{i} [{items}]\n"));
    }
    let errors = lines(load(&layers(&bomb), sample));
    assert!(errors.len() == 1 && errors[0].contains("expand to too much"), "{errors:?}");
}

#[test]
fn duplicate_keys_are_all_reported() {
    check(
        "proxy: {workers: 2, workers: 3}\nservices:\n  named:\n    a: {idle: 5s}\n    a: {idle: 6s}\n",
        &[
            "1:21: proxy.workers: this key was already given at waypost.yaml:1:9; remove one of the two",
            "5:5: services.named.a: this key was already given at waypost.yaml:4:5; remove one of the two",
        ],
    );
}

#[test]
fn errors_outside_the_file_name_the_variable_or_the_argument() {
    let mut layers = layers("");
    layers.environment = variables(&[
        ("WAYPOST_PROXY_WORKERS", "0"),
        ("WAYPOST_PROXY_LISTN", "x"),
        ("WAYPOST_QUUX", "x"),
        ("WAYPOST_CONFIG", "waypost.yaml"),
        ("WAYPOST_SERVICE_HOST", "10.0.0.1"),
        ("WAYPOST_PREFIXES", "[{prefix: x"),
    ]);
    layers.arguments = vec![
        argument("--listen", "proxy.listen", "x"),
        argument("--set", "proxy.wrokers", "1"),
        argument("--set", "proxy", "1"),
        argument("--set", "etcd.user", "u"),
        argument("--set", "a..b", "1"),
    ];
    assert_eq!(
        lines(load(&layers, sample)),
        [
            "WAYPOST_PREFIXES: cannot read the YAML: while parsing a flow mapping, did not find expected ',' or '}'",
            "WAYPOST_PROXY_LISTN: unknown variable; did you mean `WAYPOST_PROXY_LISTEN`?",
            "WAYPOST_PROXY_WORKERS: proxy.workers: must be a whole number from 1 to 64, is `0`",
            "WAYPOST_QUUX: unknown variable; variables are named WAYPOST_SECTION_KEY, after the keys of the file",
            "--listen: proxy.listen: `x` cannot be read: invalid socket address syntax",
            "--set: a..b: is not the path of a key; write it like `proxy.listen=127.0.0.1:8400`",
            "--set: etcd.user: needs a password; set etcd.password too",
            "--set: proxy: is given as one value and as a section; give one of the two",
            "--set: proxy.wrokers: unknown key; did you mean `workers`?",
        ]
    );
}

#[test]
fn the_effective_configuration_reads_as_itself() {
    let mut layers = layers(
        "etcd: {user: 'no', password: hunter2, endpoints: ['a: b', c]}\nprefixes: [{prefix: /a/}, {}]\n\
         services: {default: {balancer: weighted}, named: {acme.Greeter: {idle: 90s}, plain: {}}}",
    );
    layers.environment = variables(&[("WAYPOST_PROXY_WINDOW", "1MiB")]);
    layers.arguments = vec![argument("--workers", "proxy.workers", "4")];
    let (value, effective) = load(&layers, sample).unwrap();
    let printed = effective.to_string();
    assert_eq!(
        printed,
        "proxy:\n  listen: 127.0.0.1:8400\n  workers: 4  # --workers\n  window: 1MiB  # WAYPOST_PROXY_WINDOW\n  \
         timeout: 5s\n  access: false\n\
         etcd:\n  user: \"no\"  # waypost.yaml:1\n  password: \"********\"  # waypost.yaml:1\n  \
         endpoints: [\"a: b\", c]  # waypost.yaml:1\n\
         prefixes:\n  - prefix: /a/  # waypost.yaml:2\n    client: default\n  - prefix: /services/\n    client: default\n\
         services:\n  default:\n    balancer: weighted  # waypost.yaml:3\n    idle: off\n    tls:\n      name: none\n  \
         named:\n    acme.Greeter:\n      idle: 1m30s  # waypost.yaml:3\n    plain: {}\n"
    );
    assert!(!format!("{effective:?}").contains("hunter2"));
    let again = parse(&printed.replace("********", "hunter2"), sample).unwrap();
    assert_eq!(again, value);
}

#[test]
fn changes_are_named_by_key() {
    let read = |text: &str| load(&layers(text), sample).unwrap().1;
    let before = read("proxy: {workers: 2}\nservices: {named: {a: {}}}");
    let same = read("# moved\n\nservices: {named: {a: {idle: off}}}");
    let after = read("proxy: {workers: 3}\netcd: {user: u, password: p}\nservices: {named: {a: {idle: 5s}}}");
    assert_eq!(before.changed(&same), Vec::<String>::new());
    assert_eq!(before.changed(&after), ["etcd.password", "etcd.user", "proxy.workers", "services.named.a.idle"]);
}

/// Every text is read or refused. The seed is fixed; a failure prints the text.
#[test]
fn broken_files_never_panic() {
    let whole = "proxy: {listen: \"[::1]:80\", workers: 8}\netcd: &a\n  endpoints: [http://a:1, 'b']\n  user: |\n    x\n\
                 prefixes:\n  - {client: other, prefix: /a/}\n  - ? prefix\n    : >-\n      /b/\n\
                 services: {named: {a: *a, b: !!str 5}} # end\n--- %YAML\n...\n";
    let pieces = [
        "\n", " ", "  ", ":", "- ", "{", "}", "[", "]", ",", "&a", "*a", "\"", "'", "|", "!", "%", "?", "\t", "#", "é",
        "\0",
    ];
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..5_000 {
        let mut text: Vec<char> = whole.chars().collect();
        for _ in 0..random.usize(1..6) {
            let at = random.usize(..text.len());
            let end = (at + random.usize(..8)).min(text.len());
            let piece = pieces[random.usize(..pieces.len())].chars();
            text.splice(at..end, piece);
        }
        let text: String = text.into_iter().collect();
        let outcome =
            std::panic::catch_unwind(|| load(&layers(&text), sample).map(|(_, effective)| effective.to_string()));
        assert!(outcome.is_ok(), "{text:?}");
    }
}
