//! h2spec against the data port: all of it passes, or is listed with a reason in `h2spec-expected.txt`.

use std::{collections::BTreeSet, fs, time::Duration};

use tokio::process::Command;

use crate::harness::{
    Backend, Scene,
    tools::{Folder, project, tool},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h2spec_passes_but_for_what_is_listed() {
    let backend = Backend::h2c("one").await;
    // h2spec calls the address that it connects to: that is the service's name.
    let scene = Scene::with("127.0.0.1", &[&backend], "").await;
    let folder = Folder::new("h2spec");
    let report = folder.path().join("report.xml");
    let mut command = Command::new(tool("bin/h2spec", "setup-interop"));
    command.args([
        "--host",
        "127.0.0.1",
        "--strict",
        "--timeout",
        "3",
        "--port",
        &scene.waypost.data.port().to_string(),
    ]);
    command.arg("--junit-report").arg(&report).kill_on_drop(true);
    let ended = tokio::time::timeout(Duration::from_secs(300), command.output()).await.expect("h2spec hangs").unwrap();
    let said = String::from_utf8_lossy(&ended.stdout).into_owned();

    let report = fs::read_to_string(&report).unwrap_or_else(|error| panic!("{error}: {said}"));
    let cases: Vec<_> = report.lines().filter_map(case).collect();
    assert!(cases.len() > 140, "h2spec ran {} cases only:\n{said}", cases.len());
    let failed: BTreeSet<_> = cases.into_iter().filter_map(|(case, passed)| (!passed).then_some(case)).collect();
    let listed = fs::read_to_string(project("tests/interop/h2spec-expected.txt")).unwrap();
    let expected: BTreeSet<_> = listed.lines().filter(|line| line.starts_with("case ")).map(str::to_owned).collect();
    let why = said.split("Failures:").nth(1).unwrap_or_default();
    let unexpected: Vec<_> = failed.difference(&expected).collect();
    assert!(unexpected.is_empty(), "failed, and not listed: {unexpected:#?}\n{why}");
    let mended: Vec<_> = expected.difference(&failed).collect();
    assert!(mended.is_empty(), "listed as failing, but passes now: {mended:#?}");
}

/// A case of the report as `case SECTION: TITLE`, and whether it passed.
fn case(line: &str) -> Option<(String, bool)> {
    let attributes = line.trim().strip_prefix("<testcase ")?;
    let attribute = |name: &str| attributes.split(&format!("{name}=\"")).nth(1)?.split('"').next();
    Some((format!("case {}: {}", attribute("package")?, attribute("classname")?), line.ends_with("\"></testcase>")))
}
