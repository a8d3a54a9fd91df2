//! Actions on modules: done as they were shown, by whoever has the token, and not otherwise.

use std::fs;
use std::path::PathBuf;

use super::*;
use crate::wasm::{self, Aside, Need, Role, Status, Use};

/// A filter that does nothing, of this number.
fn filter(number: u32) -> Vec<u8> {
    let text = "(module (memory (export \"memory\") 1) (func (export \"proxy_abi_version_0_2_1\"))
         (func (export \"proxy_on_request_headers\") (param i32 i32 i32) (result i32) (i32.const 0))";
    wat::parse_str(format!("{text} (global i32 (i32.const {number})))")).unwrap()
}

struct Scene {
    server: Server,
    modules: Catalog,
    folder: PathBuf,
    cookie: String,
}

impl Scene {
    /// A server with the module `mod`, in force and logged in to.
    async fn new(test: &str) -> Scene {
        let folder = std::env::temp_dir().join(format!("waypost-modules-{}-{test}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("mod.wasm"), filter(1)).unwrap();
        let (registry, table) = (Registry::default(), Table::new());
        let config =
            wasm::Config { folder: folder.clone(), cache: None, ..crate::config::defaults(wasm::Config::read) };
        let modules = Catalog::new(config, 1, table.clone(), &Registry::default());
        let used = Use { module: "mod".to_owned(), config: String::new() };
        modules.prepare(vec![Need { key: "filters[0]".to_owned(), role: Role::Filter, used }]).await.unwrap();
        let (mut shown, judging) = sources(table, &registry);
        shown.modules = modules.clone();
        let server = Server::of(nothing, registry, (shown, judging)).await;
        let token = fs::read_to_string(token_file()).unwrap();
        let mut scene = Scene { server, modules, folder, cookie: String::new() };
        let answer = scene.post("/login", &format!("token={}", token.trim())).await;
        let cookie = answer.split("set-cookie: ").nth(1).unwrap_or_else(|| panic!("{answer}"));
        scene.cookie = cookie.split(';').next().unwrap().to_owned();
        scene
    }

    async fn get(&self, path: &str) -> String {
        let head = format!("Host: localhost\r\nConnection: close\r\nCookie: {}", self.cookie);
        self.server.ask(&format!("GET {path} HTTP/1.1\r\n{head}\r\n\r\n")).await
    }

    async fn post(&self, path: &str, form: &str) -> String {
        let head = format!("Host: localhost\r\nConnection: close\r\nCookie: {}", self.cookie);
        let kind = "Content-Type: application/x-www-form-urlencoded";
        let length = form.len();
        self.server
            .ask(&format!("POST {path} HTTP/1.1\r\n{head}\r\n{kind}\r\nContent-Length: {length}\r\n\r\n{form}"))
            .await
    }

    fn status(&self) -> Status {
        self.modules.status().remove(0)
    }

    /// What asks for an action, as the page has it now.
    fn wish(&self, act: &str) -> String {
        format!("do={act}&module=mod&hash={:016x}", self.status().module.hash())
    }

    /// The form of the preview of a wish, and the preview.
    async fn preview(&self, wish: &str) -> (String, String) {
        let page = self.get(&format!("/action?{wish}")).await;
        let mark = page.split("name=\"mark\" value=\"").nth(1).and_then(|rest| rest.split('"').next());
        (format!("{wish}&mark={}", mark.unwrap_or_default()), page)
    }

    /// Does what is wished, as a user does.
    async fn act(&self, act: &str) -> String {
        let (form, page) = self.preview(&self.wish(act)).await;
        check(&page, 200, &["Undo: ", "since the hash ", "<code>filters[0]</code>"]);
        self.post("/action", &form).await
    }

    async fn says(&self, path: &str, parts: &[&str]) {
        check(&self.get(path).await, 200, parts);
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

#[tokio::test]
async fn a_module_is_set_aside_and_starts_afresh_when_it_is_reloaded() {
    let scene = Scene::new("aside").await;
    let page = scene.get("/filters").await;
    for act in ["reload", "aside"] {
        let link = format!("/action?{}", scene.wish(act)).replace('&', "&amp;");
        assert!(page.contains(&link), "{link} is not in\n{page}");
    }
    check(&scene.act("aside").await, 303, &["location: /filters?q=mod"]);
    assert_eq!(scene.status().module.aside(), Some(Aside::Ordered));
    scene.says("/api/v1/filters", &["\"instances\":0"]).await;
    scene.says("/filters", &["set aside by order", "do=reload"]).await;
    assert!(!scene.get("/filters").await.contains("do=aside"));
    scene.says("/", &["module mod is set aside by an operator&#39;s order"]).await;
    check(&scene.act("reload").await, 303, &["location: /filters?q=mod"]);
    assert_eq!((scene.status().module.aside(), scene.status().instances > 0), (None, true));
    scene.says("/events?q=kind:action", &["the module was set aside", "the module was loaded anew"]).await;
    check(&scene.act("reload").await, 303, &[]);
    scene.says("/events?q=kind:action", &["the file of the module was looked at, and is as it was"]).await;
    scene.says("/api/v1/filters", &["\"read\":\"same\""]).await;
}

#[tokio::test]
async fn what_is_no_good_or_was_not_shown_is_not_done() {
    let scene = Scene::new("guard").await;
    let shown = scene.wish("aside");
    let (form, _) = scene.preview(&shown).await;
    fs::write(scene.folder.join("mod.wasm"), filter(2)).unwrap();
    check(&scene.act("reload").await, 303, &[]);
    for answer in [scene.post("/action", &form).await, scene.get(&format!("/action?{shown}")).await] {
        check(&answer, 409, &["The module mod changed since the page was shown"]);
    }
    assert_eq!(scene.status().module.aside(), None);
    fs::write(scene.folder.join("mod.wasm"), "nonsense").unwrap();
    check(&scene.act("reload").await, 409, &["Its file is no good, so nothing was done"]);
    scene.says("/api/v1/filters", &["\"read\":\"refused\"", "no WebAssembly module"]).await;
    scene.says("/events?q=kind:action", &["refused: Reload the module"]).await;
    let (form, _) = scene.preview(&scene.wish("aside")).await;
    check(&scene.post("/action", &form.replace("mark=", "mark=0")).await, 403, &[]);
    for wish in ["do=aside&module=other&hash=1", "do=aside&module=mod&hash=%3Cb%3E", "do=reload&module=mod"] {
        check(&scene.get(&format!("/action?{wish}")).await, 409, &["changed since"]);
    }
    assert_eq!(scene.status().module.aside(), None);
}
