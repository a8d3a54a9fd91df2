//! The commands as a user types them.

use super::*;

/// Exit code, standard output, standard error.
fn waypost(arguments: &[&str], environment: &[(&str, &str)]) -> (u8, String, String) {
    let arguments = std::iter::once("waypost").chain(arguments.iter().copied()).map(OsString::from);
    let environment = environment.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let code = main(arguments, environment, &mut out, &mut err);
    (code, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
}

/// A file with this text, for one call.
fn with_file<T>(name: &str, text: impl AsRef<[u8]>, use_it: impl FnOnce(&str) -> T) -> T {
    let path = std::env::temp_dir().join(format!("waypost-cli-{}-{name}.yaml", std::process::id()));
    std::fs::write(&path, text).unwrap();
    let result = use_it(path.to_str().unwrap());
    std::fs::remove_file(&path).unwrap();
    result
}

#[test]
fn the_arguments_are_well_formed() {
    Arguments::command().debug_assert();
}

#[test]
fn help_and_version_are_answers_and_wrong_usage_is_not() {
    let (code, out, err) = waypost(&["--help"], &[]);
    assert!(code == 0 && out.contains("Exit codes:") && err.is_empty(), "{out}{err}");
    let (code, out, _) = waypost(&["run", "--help"], &[]);
    assert!(code == 0 && out.contains("--listen <ADDRESS>") && out.contains("Examples:"), "{out}");
    let (code, out, _) = waypost(&["--version"], &[]);
    assert_eq!((code, out), (0, format!("waypost {}\n", env!("CARGO_PKG_VERSION"))));
    for wrong in [&["rum"][..], &[], &["run", "--lisen", "x"], &["run", "--set", "novalue"], &["config", "check"]] {
        let (code, out, err) = waypost(wrong, &[]);
        assert!(code == 2 && out.is_empty() && !err.is_empty(), "{wrong:?}: {code} {out}{err}");
    }
}

#[test]
fn check_prints_every_error_with_its_place() {
    with_file("wrong", "log:\n  levl: info\n  access: maybe\n", |file| {
        let (code, out, err) = waypost(&["config", "check", file], &[("WAYPOST_LOG_ACCESS", "true")]);
        let expected = format!(
            "{file}:2:3: log.levl: unknown key; did you mean `level`?\n\
             {file}:3:3: log.access: must be true or false, is `maybe`\n"
        );
        assert_eq!((code, out.as_str(), err), (2, "", expected));
    });
}

#[test]
fn check_says_that_a_file_is_right() {
    with_file("right", "log: {access: true}\n", |file| {
        let (code, out, err) = waypost(&["config", "check", file], &[]);
        assert_eq!((code, err.as_str()), (0, ""));
        let lines: Vec<_> = out.lines().collect();
        assert_eq!((lines.len(), lines[0]), (2, format!("{file}: ok").as_str()), "{out}");
    });
}

#[test]
fn files_that_cannot_be_read_are_errors_of_the_configuration() {
    let (code, _, err) = waypost(&["config", "check", "/no/such/file.yaml"], &[]);
    assert!(code == 2 && err.starts_with("/no/such/file.yaml: cannot be read: No such file"), "{err}");
    with_file("latin", b"log:\n  # caf\xe9\n", |file| {
        let (code, _, err) = waypost(&["config", "check", file], &[]);
        assert!(code == 2 && err.starts_with(&format!("{file}:2:8: is not UTF-8")), "{err}");
    });
}

#[test]
fn print_shows_what_holds_and_where_it_comes_from() {
    with_file("print", "admin: {listen: '127.0.0.1:1'}\nlog: {access: true}\n", |file| {
        let environment = [("WAYPOST_LOG_FORMAT", "json"), ("WAYPOST_CONFIG", file), ("HOME", "/")];
        let (code, out, err) = waypost(&["config", "print", "--log", "debug"], &environment);
        assert_eq!((code, err.as_str()), (0, ""));
        for line in [
            format!("  listen: 127.0.0.1:1  # {file}:1"),
            "  level: debug  # --log".to_owned(),
            "  format: json  # WAYPOST_LOG_FORMAT".to_owned(),
            format!("  access: true  # {file}:2"),
        ] {
            assert!(out.lines().any(|l| l == line), "{line}\n{out}");
        }
        with_file("printed", &out, |again| {
            assert_eq!(waypost(&["config", "check", again], &[]).0, 0, "{out}");
        });
    });
}

#[test]
fn arguments_that_are_wrong_are_named() {
    let (code, _, err) = waypost(&["config", "print", "--log", "loud", "--set", "log.acces=true"], &[]);
    assert_eq!(code, 2);
    let lines: Vec<_> = err.lines().collect();
    assert!(lines[0].starts_with("--log: log.level: must be one of "), "{err}");
    assert_eq!(lines[1], "--set: log.acces: unknown key; did you mean `access`?");
}

#[test]
fn dashboard_prints_a_link_with_the_token_of_its_file() {
    let token = "ab".repeat(32);
    with_file("token", &token, |file| {
        let set = format!("admin.token_file={file}");
        let (code, _, err) = waypost(&["dashboard", "--set", &set], &[]);
        assert!(code == 1 && err.contains("chmod 600"), "{code} {err}");
        std::fs::set_permissions(file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let (code, out, err) = waypost(&["dashboard", "--set", &set, "--admin", "127.0.0.1:9"], &[]);
        assert_eq!((code, out, err), (0, format!("http://127.0.0.1:9/login#{token}\n"), String::new()));
    });
    let (code, _, err) = waypost(&["dashboard", "--set", "admin.token_file=/no/such/token"], &[]);
    assert!(code == 1 && err.contains("No such file") && err.contains("makes one at its first start"), "{err}");
}
