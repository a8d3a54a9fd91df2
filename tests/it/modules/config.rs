//! What is wrong with a configuration of modules is said with its line, before anything is served.

use tokio::process::Command;

use super::{
    Modules,
    kit::{filter, policy},
};
use crate::harness::tools::Folder;

/// What `waypost run` has to say of this configuration, which it must refuse; and `waypost config check` of the same errors.
async fn refused(modules: &Modules, text: &str) -> String {
    let folder = Folder::new("config");
    let file = folder.path().join("waypost.yaml");
    std::fs::write(&file, modules.config(text)).unwrap();
    let said = async |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_waypost"));
        command.args(arguments).arg(&file).env("WAYPOST_PROXY_LISTEN", "127.0.0.1:0");
        command.env("WAYPOST_ADMIN_LISTEN", "127.0.0.1:0").kill_on_drop(true);
        let ended = tokio::time::timeout(crate::harness::PATIENCE, command.output()).await.expect("it ends").unwrap();
        let said = String::from_utf8_lossy(&ended.stderr).into_owned() + &String::from_utf8_lossy(&ended.stdout);
        assert_eq!(ended.status.code(), Some(2), "{said}");
        said.replace(&folder.path().display().to_string(), "")
            .replace(&modules.folder().display().to_string(), "FOLDER")
    };
    let (run, check) = (said(&["run", "--config"]).await, said(&["config", "check"]).await);
    let errors =
        |said: &str| -> Vec<String> { said.lines().filter(|l| l.contains(".yaml:")).map(str::to_owned).collect() };
    assert!(!errors(&run).is_empty(), "{run}");
    assert_eq!(errors(&check), errors(&run));
    run
}

#[tokio::test]
async fn modules_that_there_are_not_are_named_with_their_line() {
    let modules = Modules::new(&[]);
    for (text, expected) in [
        (
            "services:\n  default:\n    balance: wieghted\n",
            "/waypost.yaml:4:5: services.default.balance: `wieghted` is not one of round_robin, weighted, random, \
             least_request, and there is no module FOLDER/wieghted.wasm; did you mean `weighted`?",
        ),
        (
            "filters:\n- {module: nothing}\n",
            "/waypost.yaml:3:4: filters[0].module: there is no module FOLDER/nothing.wasm: put it there, or set wasm.folder",
        ),
        (
            "filters:\n- {module: ../../etc/passwd}\n",
            "/waypost.yaml:3:4: filters[0].module: `../../etc/passwd` is no name of a module",
        ),
        ("filters:\n- {on_error: deny}\n", "a filter needs the name of its module"),
        (
            "services: {default: {health: {policy: none}}}\n",
            "services.default.health.policy: there is no module FOLDER/none.wasm",
        ),
        (
            "services:\n  default:\n    balance: random\n    balance_config: {a: 1}\n",
            "services.default.balance_config: `random` takes no configuration; only modules do",
        ),
    ] {
        let said = refused(&modules, text).await;
        assert!(said.contains(expected), "{text}\nsaid\n{said}");
    }
}

#[tokio::test]
async fn modules_that_are_no_good_are_named_with_the_reason() {
    let refuses = "(func (export \"proxy_on_configure\") (param i32 i32) (result i32)
        (drop (call $proxy_log (i32.const 4) @\"the key `x` is missing\")) (i32.const 0))";
    let pick = "(func (export \"waypost_pick\") (param i32 i64 i64 i32) (result i32) (i32.const 0))";
    let modules = Modules::new(&[
        ("broken", b"nonsense".to_vec()),
        ("refuses", filter(refuses)),
        ("picks", policy(pick)),
        ("filters", filter("")),
    ]);
    for (text, expected) in [
        ("filters: [{module: broken}]\n", "filters[0].module: module `broken`: it is no WebAssembly module"),
        (
            "filters: [{module: refuses}]\n",
            "filters[0].module: module `refuses`: `proxy_on_configure` answered that it refuses",
        ),
        ("filters: [{module: refuses}]\n", "the key `x` is missing"),
        (
            "filters: [{module: picks}]\n",
            "filters[0].module: module `picks`: it is a pick policy, and here a filter is wanted",
        ),
        (
            "services: {named: {a: {balance: filters}}}\n",
            "services.named.a.balance: module `filters`: it is a filter, and here a pick or weights policy is wanted",
        ),
    ] {
        let said = refused(&modules, text).await;
        assert!(said.contains(expected), "{text}\nsaid\n{said}");
    }
}

#[tokio::test]
async fn a_module_with_the_name_of_a_native_balancer_is_told_of_and_harms_nothing() {
    let modules = Modules::new(&[("weighted", filter("")), ("broken", b"nonsense".to_vec())]);
    let said = refused(&modules, "filters: [{module: broken}]\n").await;
    let warning = "WARN FOLDER/weighted.wasm is not used: `weighted` as a balance is the native balancer of that name; \
                   rename the file";
    assert_eq!(said.matches(warning).count(), 1, "{said}");
    assert_eq!(said.matches("waypost.yaml:").count(), 1, "it is no error: {said}");
    let mut command = Command::new(env!("CARGO_BIN_EXE_waypost"));
    command.args(["filters", "check"]).arg(modules.folder().join("weighted.wasm"));
    let said = command.output().await.unwrap();
    let said = String::from_utf8(said.stdout).unwrap();
    assert!(said.contains("cannot be used: `weighted` as a balance is the native balancer"), "{said}");
}
