//! What a running proxy makes of changes to its file.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::{env, fs, process};

use super::*;

/// A folder of its own, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("waypost-reload-{}-{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

struct Running {
    folder: Folder,
    reloader: Reloader,
    settings: watch::Receiver<Arc<Settings>>,
}

impl Running {
    fn start(text: &str) -> Self {
        let folder = Folder::new();
        let file = folder.write("waypost.yaml", text);
        let (reloader, settings) = Reloader::start(Sources::file(file)).unwrap();
        Running { folder, reloader, settings }
    }

    fn look(&mut self) -> Option<Outcome> {
        let content = self.reloader.sources.path().map(fs::read);
        self.reloader.has_changed(&content).then(|| reload(&mut self.reloader, content))
    }

    /// What comes of a change once it has come to rest.
    fn settle(&mut self) -> Option<Outcome> {
        assert_eq!(self.look(), None, "a change is acted upon only when it is seen twice");
        self.look()
    }

    fn access(&self) -> bool {
        self.settings.borrow().log.access
    }
}

fn reload(reloader: &mut Reloader, content: Content) -> Outcome {
    match reloader.read(content) {
        Ok((settings, effective)) => reloader.apply(settings, effective),
        Err(errors) => Outcome::Rejected(errors),
    }
}

fn applied(changed: &[&str], waiting: &[&str]) -> Option<Outcome> {
    let owned = |keys: &[&str]| keys.iter().map(|&k| k.to_owned()).collect();
    Some(Outcome::Applied { changed: owned(changed), waiting: owned(waiting) })
}

#[test]
fn a_changed_file_is_applied_once() {
    let mut running = Running::start("log: {access: false}");
    assert_eq!(running.settle(), None);
    running.folder.write("waypost.yaml", "log: {access: true}");
    assert_eq!(running.settle(), applied(&["log.access"], &[]));
    assert!(running.access());
    assert_eq!(running.settle(), None);
}

#[test]
fn a_wrong_file_changes_nothing_and_is_reported_once() {
    let mut running = Running::start("log: {access: true}");
    running.folder.write("waypost.yaml", "log: {acess: true, level: loud}");
    let Some(Outcome::Rejected(errors)) = running.settle() else { panic!("rejected") };
    assert_eq!(errors.len(), 2);
    assert!(running.access());
    assert!(!running.settings.has_changed().unwrap());
    assert_eq!(running.settle(), None);
    running.folder.write("waypost.yaml", "log: {access: true}");
    assert_eq!(running.settle(), applied(&[], &[]));
    assert!(!running.settings.has_changed().unwrap(), "nobody is woken for nothing");
}

#[test]
fn a_file_that_is_being_written_is_left_alone() {
    let mut running = Running::start("log: {access: true}");
    for text in ["", "log:", "log: {acc", "log: {access: false}"] {
        running.folder.write("waypost.yaml", text);
        assert_eq!(running.look(), None);
        assert!(running.access());
    }
    assert_eq!(running.look(), applied(&["log.access"], &[]));
}

#[test]
fn files_replaced_by_renaming_and_links_that_are_switched_are_followed() {
    let folder = Folder::new();
    for (name, text) in [("v1", "log: {access: false}"), ("v2", "log: {access: true}")] {
        fs::create_dir(folder.0.join(name)).unwrap();
        folder.write(&format!("{name}/waypost.yaml"), text);
    }
    let link = |to: &str| {
        let (new, current) = (folder.0.join("new"), folder.0.join("current"));
        std::os::unix::fs::symlink(to, &new).unwrap();
        fs::rename(new, current).unwrap();
    };
    link("v1");
    let file = folder.0.join("current/waypost.yaml");
    let (reloader, settings) = Reloader::start(Sources::file(file)).unwrap();
    link("v2");
    let mut running = Running { folder, reloader, settings };
    assert_eq!(running.settle(), applied(&["log.access"], &[]));

    let new = running.folder.write("v2/new", "log: {access: false}");
    fs::rename(new, running.folder.0.join("v2/waypost.yaml")).unwrap();
    assert_eq!(running.settle(), applied(&["log.access"], &[]));
}

#[test]
fn a_file_that_goes_away_is_an_error_and_may_come_back() {
    let mut running = Running::start("log: {access: true}");
    fs::remove_file(running.folder.0.join("waypost.yaml")).unwrap();
    let Some(Outcome::Rejected(errors)) = running.settle() else { panic!("rejected") };
    assert!(errors.to_string().contains("waypost.yaml: cannot be read"), "{errors}");
    assert!(running.access());
    running.folder.write("waypost.yaml", "log: {access: true}");
    assert_eq!(running.settle(), applied(&[], &[]));
}

#[test]
fn what_waits_for_a_restart_is_named_until_then() {
    let mut running = Running::start("");
    let text = "{admin: {listen: '127.0.0.1:1'}, proxy: {workers: 7, grace: 1s}, log: {access: true, format: json}}";
    running.folder.write("waypost.yaml", text);
    let waiting = ["admin.listen", "log.format", "proxy.workers"];
    assert_eq!(running.settle(), applied(&["log.access", "proxy.grace"], &waiting));
    running.folder.write("waypost.yaml", "{admin: {listen: '127.0.0.1:1'}}");
    assert_eq!(running.settle(), applied(&["log.access", "proxy.grace"], &["admin.listen"]));
    running.folder.write("waypost.yaml", "");
    assert_eq!(running.settle(), applied(&[], &[]));
}

#[tokio::test]
async fn a_hangup_reads_the_file_at_once() {
    let running = Running::start("log: {access: false}");
    running.folder.write("waypost.yaml", "log: {access: true}");
    let (hang_up, mut hung_up) = tokio::sync::mpsc::channel(1);
    let (reported, mut reports) = tokio::sync::mpsc::channel(1);
    hang_up.send(()).await.unwrap();
    let hangup = async || match hung_up.recv().await {
        Some(()) => {}
        None => std::future::pending().await,
    };
    let report = |outcome: &Outcome| reported.try_send(outcome.clone()).unwrap();
    let outcome = tokio::select! {
        () = running.reloader.run(hangup, async |_, _| Ok(()), report) => unreachable!(),
        outcome = reports.recv() => outcome,
    };
    assert_eq!(outcome, applied(&["log.access"], &[]));
}

#[tokio::test]
async fn what_proves_wrong_when_it_is_tried_out_changes_nothing() {
    let running = Running::start("log: {access: false}");
    running.folder.write("waypost.yaml", "log:\n  access: true");
    let (reported, mut reports) = tokio::sync::mpsc::channel(1);
    let mut told = false;
    let hangup = async || {
        if std::mem::replace(&mut told, true) {
            std::future::pending::<()>().await;
        }
    };
    let try_out = async |settings: &Settings, effective: &Effective| {
        assert!(settings.log.access);
        Err(effective.errors([("log.access".to_owned(), "is not liked".to_owned())]).unwrap())
    };
    let outcome = tokio::select! {
        () = running.reloader.run(hangup, try_out, |outcome| reported.try_send(outcome.clone()).unwrap()) => unreachable!(),
        outcome = reports.recv() => outcome,
    };
    let Some(Outcome::Rejected(errors)) = outcome else { panic!("rejected") };
    assert!(errors.to_string().ends_with("waypost.yaml:2:3: log.access: is not liked"), "{errors}");
    assert!(!running.settings.borrow().log.access, "nothing was handed on");
}

#[tokio::test]
async fn without_a_file_a_hangup_finds_nothing_new() {
    let (mut reloader, _settings) = Reloader::start(Sources::default()).unwrap();
    let content = reloader.content().await;
    assert!(content.is_none());
    assert_eq!(Some(reload(&mut reloader, content)), applied(&[], &[]));
}

#[tokio::test(start_paused = true)]
async fn what_was_rejected_is_read_again_when_a_module_comes() {
    let folder = Folder::new();
    let text = |filters: &str| format!("wasm: {{folder: {}}}\nfilters: [{filters}]\n", folder.0.display());
    let file = folder.write("waypost.yaml", &text(""));
    let (reloader, settings) = Reloader::start(Sources::file(&file)).unwrap();
    let (reported, mut reports) = tokio::sync::mpsc::channel(9);
    let report = |outcome: &Outcome| reported.try_send(outcome.clone()).unwrap();
    let running = reloader.run(async || std::future::pending::<()>().await, async |_, _| Ok(()), report);
    let test = async {
        folder.write("waypost.yaml", &text("{module: late}"));
        assert!(matches!(reports.recv().await, Some(Outcome::Rejected(_))));
        tokio::time::sleep(INTERVAL * 9).await;
        assert!(reports.try_recv().is_err(), "it is reported once");
        folder.write("note.txt", "no module");
        folder.write("other.wasm", "another one");
        assert!(matches!(reports.recv().await, Some(Outcome::Rejected(_))));
        folder.write("late.wasm", "this one");
        assert!(matches!(reports.recv().await, Some(Outcome::Applied { .. })));
        assert_eq!(settings.borrow().filters.len(), 1);
        folder.write("late.wasm", "what is in force is the catalog's to look at");
        tokio::time::sleep(INTERVAL * 9).await;
        assert!(reports.try_recv().is_err(), "nothing is read again");
    };
    tokio::select! {
        () = running => unreachable!(),
        () = test => {}
    }
}
