//! Actions: what they do to calls, leases and locks, and whom they refuse.

use serde_json::Value;

use super::{Browser, shows, view};
use crate::harness::{Backend, Etcd, Scene, Version, Waypost, eventually, scene::key};

/// The second client, with which actions are done.
fn operator(etcd: &Etcd) -> String {
    format!("  clients: {{operator: {{endpoints: {}}}}}\n", etcd.endpoints())
}

/// A proxy that can act, with these backends as the service `greeter`.
async fn scene(backends: &[&Backend]) -> Scene {
    let etcd = Etcd::start(Version::Wheel).await;
    for backend in backends {
        etcd.put(&key("greeter", backend), &backend.url()).await;
    }
    let waypost = Waypost::on(&etcd, &operator(&etcd)).await;
    Scene { waypost, etcd }
}

/// Opens the preview of an action as a click does, and gives the form that it has.
pub async fn preview(browser: &Browser, address: &str) -> (String, String) {
    let (status, head, page) = browser.get(address).await;
    assert_eq!(status, 200, "{head}{page}");
    let fields = page.split("<input type=\"hidden\" name=\"").skip(1).filter_map(|field| {
        let (name, rest) = field.split_once("\" value=\"")?;
        let value = rest.split_once('"')?.0.replace("&#38;", "&");
        Some(format!("{name}={}", escaped(&value)))
    });
    (fields.collect::<Vec<_>>().join("&"), page)
}

fn escaped(value: &str) -> String {
    value
        .bytes()
        .map(|b| if b.is_ascii_alphanumeric() { (b as char).to_string() } else { format!("%{b:02X}") })
        .collect()
}

/// The address of an action on the endpoint of a backend.
async fn address(scene: &Scene, act: &str, backend: &Backend) -> String {
    let service = view(&scene.waypost, "service?name=greeter").await;
    let rows = service["endpoints"]["rows"].as_array().unwrap();
    let row = rows.iter().find(|row| row["address"] == backend.address.to_string()).unwrap();
    let revision = row["revision"].as_i64().unwrap();
    format!("/action?do={act}&service=greeter&endpoint={}&revision={revision}", escaped(&backend.address.to_string()))
}

/// Does it as a user does: looks at the preview, and presses the button.
async fn act(scene: &Scene, browser: &Browser, act: &str, backend: &Backend, more: &str) {
    let (form, page) = preview(browser, &address(scene, act, backend).await).await;
    assert!(page.contains("Undo: "), "{page}");
    let (status, head, page) = browser.post("/action", &format!("{form}{more}"), &[]).await;
    assert!(status == 303 && head.contains("location: /service?name=greeter"), "{head}{page}");
}

/// How many of so many calls each backend got.
async fn shares(scene: &Scene, count: usize, names: [&str; 2]) -> [usize; 2] {
    let client = scene.client().await;
    let mut got = [0, 0];
    for _ in 0..count {
        let reply = client.unary("greeter").await.unwrap();
        assert_eq!(reply.status, 0, "{}", reply.message);
        got[usize::from(reply.instance() == names[1])] += 1;
    }
    got
}

#[tokio::test]
async fn drain_and_weight_move_traffic_here_and_in_other_proxies() {
    let (one, two) = (Backend::h2c("one").await, Backend::h2c("two").await);
    let scene = scene(&[&one, &two]).await;
    let other = Waypost::on(&scene.etcd, &operator(&scene.etcd)).await;
    let browser = Browser::logged_in(&scene.waypost).await;
    assert_eq!(shares(&scene, 20, ["one", "two"]).await, [10, 10]);

    act(&scene, &browser, "drain", &one, "&minutes=10").await;
    assert_eq!(shares(&scene, 20, ["one", "two"]).await, [0, 20]);
    let drained = format!("service?name=greeter&q={}", one.address);
    shows(&scene.waypost, &drained, "/endpoints/rows/0/state", "draining").await;
    // Through etcd, in another proxy too.
    shows(&other, &drained, "/endpoints/rows/0/state", "draining").await;
    let key = scene.etcd.ctl(&["get", "--prefix", "/waypost/orders/"]).await;
    assert!(key.contains("\"order\":\"drain\""), "{key}");
    let events = view(&scene.waypost, "events?q=kind:action").await;
    let text = events["events"]["rows"][0]["text"].as_str().unwrap();
    assert!(text.contains("drain for 10 min, in all proxies"), "{text}");

    act(&scene, &browser, "restore", &one, "").await;
    shows(&scene.waypost, &drained, "/endpoints/rows/0/state", "healthy").await;
    shows(&other, &drained, "/endpoints/rows/0/state", "healthy").await;
    assert_eq!(shares(&scene, 20, ["one", "two"]).await, [10, 10]);

    // Round robin does not look at weights other than 0.
    act(&scene, &browser, "weight", &two, "&minutes=10&weight=0").await;
    assert_eq!(shares(&scene, 20, ["one", "two"]).await, [20, 0]);
    act(&scene, &browser, "unhealthy", &two, "&minutes=10").await;
    let two = format!("service?name=greeter&q={}", two.address);
    shows(&scene.waypost, &two, "/endpoints/rows/0/state", "unhealthy").await;
}

#[tokio::test]
async fn an_order_holds_here_while_etcd_is_away() {
    let (one, two) = (Backend::h2c("one").await, Backend::h2c("two").await);
    let mut scene = scene(&[&one, &two]).await;
    let other = Waypost::on(&scene.etcd, &operator(&scene.etcd)).await;
    let browser = Browser::logged_in(&scene.waypost).await;
    let address = address(&scene, "drain", &one).await;
    let row = format!("service?name=greeter&q={}", one.address);
    shows(&other, &row, "/endpoints/rows/0/state", "healthy").await;
    scene.etcd.kill(0).await;
    let (form, _) = preview(&browser, &address).await;
    let (second, _) = preview(&browser, &address.replace("drain", "healthy")).await;
    let (status, head, _) = browser.post("/action", &format!("{form}&minutes=5"), &[]).await;
    assert_eq!(status, 303, "{head}");
    assert_eq!(shares(&scene, 20, ["one", "two"]).await, [0, 20]);
    let (status, _, page) = browser.post("/action", &format!("{second}&minutes=5"), &[]).await;
    assert!(status == 409 && page.contains("The order for"), "the guard is what stands here: {status} {page}");
    let (_, page) = preview(&browser, &address).await;
    assert!(page.contains("An order stands: drain, for "), "{page}");
    let events = view(&scene.waypost, "events?q=kind:action").await;
    assert!(events["events"]["rows"][1]["text"].as_str().unwrap().contains("in this proxy only until"), "{events}");

    // As soon as etcd is back, the others hear of it.
    scene.etcd.restart(0).await;
    shows(&other, &row, "/endpoints/rows/0/state", "draining").await;
    shows(&scene.waypost, &row, "/endpoints/rows/0/state", "draining").await;
    eventually("the event", || async {
        let events = view(&scene.waypost, "events?q=kind:action").await;
        let text = events["events"]["rows"][0]["text"].as_str().unwrap().to_owned();
        if text.ends_with("is shared with all proxies now") { Ok(()) } else { Err(events) }
    })
    .await;
}

#[tokio::test]
async fn of_two_operators_the_second_sees_what_the_first_ordered() {
    let one = Backend::h2c("one").await;
    let scene = scene(&[&one]).await;
    let other = Waypost::on(&scene.etcd, &operator(&scene.etcd)).await;
    let row = format!("service?name=greeter&q={}", one.address);
    shows(&other, &row, "/endpoints/rows/0/state", "healthy").await;
    let (first, second) = (Browser::logged_in(&scene.waypost).await, Browser::logged_in(&other).await);
    let (form, _) = preview(&second, &address(&scene, "unhealthy", &one).await).await;
    act(&scene, &first, "drain", &one, "&minutes=10").await;
    let (status, _, page) = second.post("/action", &format!("{form}&minutes=5"), &[]).await;
    assert!(status == 409 && page.contains("The order for"), "{status} {page}");
    shows(&other, &row, "/endpoints/rows/0/state", "draining").await;
    let (form, page) = preview(&second, &address(&scene, "unhealthy", &one).await).await;
    assert!(page.contains("An order stands: drain, for "), "{page}");
    assert_eq!(second.post("/action", &format!("{form}&minutes=5"), &[]).await.0, 303);
    shows(&scene.waypost, &row, "/endpoints/rows/0/state", "unhealthy").await;
}

#[tokio::test]
async fn an_order_that_cannot_be_read_is_not_followed_and_said() {
    let one = Backend::h2c("one").await;
    let scene = scene(&[&one]).await;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    let (key, until) = (format!("/waypost/orders/greeter/{}", escaped(&one.address.to_string())), now + 8 * 86_400_000);
    let order = format!(r#"{{"service":"greeter","endpoint":"{}","order":"drain","until":{until}}}"#, one.address);
    scene.etcd.put(&key, &order).await;
    let reason = "it holds for longer than seven days";
    shows(&scene.waypost, "services", "/unreadable/0/reason", reason).await;
    shows(&scene.waypost, "services", "/unreadable/0/key", key.as_str()).await;
    let (attention, state) = ("/attention/0/text", "/endpoints/rows/0/state");
    shows(&scene.waypost, "overview", attention, "1 order of an operator cannot be read").await;
    shows(&scene.waypost, "service?name=greeter", state, "healthy").await;
    scene.etcd.ctl(&["del", &key]).await;
    shows(&scene.waypost, "services", "/unreadable", serde_json::json!([])).await;
}

#[tokio::test]
async fn what_was_taken_back_while_etcd_was_away_does_not_come_back_with_it() {
    let (one, two) = (Backend::h2c("one").await, Backend::h2c("two").await);
    let mut scene = scene(&[&one, &two]).await;
    let browser = Browser::logged_in(&scene.waypost).await;
    act(&scene, &browser, "drain", &one, "&minutes=10").await;
    assert_eq!(shares(&scene, 20, ["one", "two"]).await, [0, 20]);
    let address = address(&scene, "restore", &one).await;
    scene.etcd.kill(0).await;
    let (form, _) = preview(&browser, &address).await;
    assert_eq!(browser.post("/action", &form, &[]).await.0, 303);
    assert_eq!(shares(&scene, 20, ["one", "two"]).await, [10, 10]);
    scene.etcd.restart(0).await;
    // Another order that arrives through etcd shows that orders are followed again.
    let until = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() + 600_000;
    let (key, two) = (format!("/waypost/orders/greeter/{}", escaped(&two.address.to_string())), two.address);
    let order = format!(r#"{{"service":"greeter","endpoint":"{two}","order":"unhealthy","until":{until}}}"#);
    scene.etcd.put(&key, &order).await;
    shows(&scene.waypost, &format!("service?name=greeter&q={two}"), "/endpoints/rows/0/state", "unhealthy").await;
    let one = format!("service?name=greeter&q={}", one.address);
    shows(&scene.waypost, &one, "/endpoints/rows/0/state", "healthy").await;
}

#[tokio::test]
async fn what_changed_since_it_was_shown_is_not_done() {
    let one = Backend::h2c("one").await;
    let scene = scene(&[&one]).await;
    let browser = Browser::logged_in(&scene.waypost).await;
    let address = address(&scene, "drain", &one).await;
    let (form, _) = preview(&browser, &address).await;
    let before = scene.revision().await;
    let value = format!("{{\"address\":\"{}\",\"weight\":3}}", one.address);
    scene.etcd.put(&key("greeter", &one), &value).await;
    scene.passes(before).await;
    for (status, _, page) in
        [browser.post("/action", &format!("{form}&minutes=5"), &[]).await, browser.get(&address).await]
    {
        assert!(status == 409 && page.contains("changed since the page was shown"), "{status} {page}");
    }
    shows(&scene.waypost, "service?name=greeter", "/endpoints/rows/0/state", "healthy").await;
    let events = view(&scene.waypost, "events?q=kind:action").await;
    assert!(events["events"]["rows"][0]["text"].as_str().unwrap().starts_with("refused: Drain"), "{events}");
    assert_eq!(events["events"]["rows"][0]["level"], "care");
}

#[tokio::test]
async fn a_lock_is_released_and_a_lease_revoked_if_they_are_as_they_were() {
    let scene = scene(&[]).await;
    let browser = Browser::logged_in(&scene.waypost).await;
    let _first = scene.etcd.etcdctl(0).start(&["lock", "/locks/report"]);
    shows(&scene.waypost, "locks", "/locks/rows/0/waiting", 0).await;
    let _second = scene.etcd.etcdctl(0).start(&["lock", "/locks/report"]);
    shows(&scene.waypost, "locks", "/locks/rows/0/waiting", 1).await;
    let lock = view(&scene.waypost, "locks").await["locks"]["rows"][0].clone();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let (holder, waiter) = (text(&lock["holder"]["key"]), text(&lock["waiters"][0]["key"]));

    let stale = format!("/action?do=release&key={}&revision=1", escaped(&holder));
    let (status, _, page) = browser.get(&stale).await;
    assert!(status == 409 && page.contains("changed since"), "{page}");
    let address = format!("/action?do=release&key={}&revision={}", escaped(&holder), lock["holder"]["revision"]);
    let (form, _) = preview(&browser, &address).await;
    let (status, head, _) = browser.post("/action", &form, &[]).await;
    assert!(status == 303 && head.contains("location: /locks?q=%2Flocks%2Freport"), "{head}");
    shows(&scene.waypost, "locks", "/locks/rows/0/holder/key", waiter.clone()).await;
    assert_eq!(browser.post("/action", &form, &[]).await.0, 409, "it is gone");

    let lease = text(&lock["waiters"][0]["lease"]);
    let address = format!("/action?do=revoke&lease={lease}&revision=1");
    let (form, page) = preview(&browser, &address).await;
    assert!(page.contains(&waiter), "the preview names the keys that go: {page}");
    // Another key is hung on it meanwhile.
    let hex = format!("{:x}", lease.parse::<i64>().unwrap());
    scene.etcd.put_leased("/else", "x", &hex).await;
    let (status, _, page) = browser.post("/action", &form, &[]).await;
    assert!(status == 409 && page.contains("What hangs on the lease changed"), "{page}");
    let (form, _) = preview(&browser, &address).await;
    let (status, head, _) = browser.post("/action", &form, &[]).await;
    assert!(status == 303 && head.contains("location: /leases"), "{head}");
    eventually("the keys to go", || async {
        let keys = scene.etcd.ctl(&["get", "--prefix", "/", "--keys-only"]).await;
        if keys.contains(&waiter) || keys.contains("/else") { Err(keys) } else { Ok(()) }
    })
    .await;
    let (status, _, page) = browser.get(&address).await;
    assert!(status == 409 && page.contains("has ended already"), "{page}");
}

#[tokio::test]
async fn nobody_acts_without_the_token_or_from_another_page() {
    let one = Backend::h2c("one").await;
    let scene = scene(&[&one]).await;
    let address = address(&scene, "drain", &one).await;
    let stranger = Browser::new(&scene.waypost);
    let (status, head, _) = stranger.get(&address).await;
    assert!(status == 303 && head.contains("location: /login"), "{head}");

    let browser = Browser::logged_in(&scene.waypost).await;
    let (form, _) = preview(&browser, &address).await;
    let form = format!("{form}&minutes=5");
    assert_eq!(stranger.post("/action", &form, &[]).await.0, 403, "the form of another session");
    let forged = form.replace("mark=", "mark=0");
    assert_eq!(browser.post("/action", &forged, &[]).await.0, 403);
    for header in ["Origin: http://evil.example", "Origin: null", "Sec-Fetch-Site: cross-site"] {
        assert_eq!(browser.post("/action", &form, &[header]).await.0, 403, "{header}");
    }
    shows(&scene.waypost, "service?name=greeter", "/endpoints/rows/0/state", "healthy").await;
    let origin = format!("Origin: http://{}", scene.waypost.admin);
    assert_eq!(browser.post("/action", &form, &[&origin, "Sec-Fetch-Site: same-origin"]).await.0, 303);
    shows(&scene.waypost, "service?name=greeter", "/endpoints/rows/0/state", "draining").await;

    let (_, _, page) = browser.get("/login").await;
    let mark = page.split("name=\"mark\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    assert_eq!(browser.post("/logout", &format!("mark={mark}"), &[]).await.0, 303);
    assert_eq!(browser.get(&address).await.0, 303, "logged out");

    // Whoever guesses is told to wait, everywhere alike; the right token is taken all the same.
    for _ in 0..10 {
        assert_eq!(stranger.post("/login", "token=guess", &[]).await.0, 403);
    }
    let order = async |token: &str| stranger.post("/health", "{}", &[&format!("Authorization: Bearer {token}")]).await;
    for (status, head, _) in [stranger.post("/login", "token=guess", &[]).await, order("guess").await] {
        assert!(status == 429 && head.contains("\r\nretry-after: "), "{head}");
    }
    let (status, _, text) = order(&scene.waypost.token()).await;
    assert!(status == 400 && text.contains("service: is missing"), "{text}");
    assert_eq!(stranger.post("/login", &format!("token={}", scene.waypost.token()), &[]).await.0, 303);
}

#[tokio::test]
async fn without_the_operator_there_are_no_buttons_and_the_reason_stands_there() {
    let one = Backend::h2c("one").await;
    let scene = Scene::with("greeter", &[&one], "").await;
    let browser = Browser::logged_in(&scene.waypost).await;
    let (_, _, page) = browser.get("/service?name=greeter").await;
    assert!(!page.contains("/action?"), "{page}");
    assert!(page.contains("they need an etcd client of the name <code>operator</code>"), "{page}");
    let (status, _, page) = browser.get(&address(&scene, "drain", &one).await).await;
    assert!(status == 400 && page.contains("operator"), "{page}");
}
