//! Views and pages of tables that are made up: what they say, in which order, and that no name in them is markup.

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::Duration;

use super::*;
use crate::admin::dashboard::{Dashboard, Target, Wanted};
use crate::admin::page::Page;
use crate::admin::tests::{endpoints, sources};
use crate::health::{EndpointHealth, State};
use crate::table::{Slot, Table, Unreadable};
use crate::telemetry::Registry;

/// Names that anybody who may write to etcd can choose.
fn hostile() -> [String; 4] {
    [
        "<script>alert(1)</script>".to_owned(),
        "\"onmouseover='x' &amp; {{7*7}}".to_owned(),
        "\u{202e}gnp.exe\u{7}\n".to_owned(),
        "x".repeat(10_000),
    ]
}

fn prefix(error: Option<&str>) -> PrefixStatus {
    PrefixStatus {
        client: "default".into(),
        prefix: "/services/".into(),
        revision: 7,
        age: Some(Duration::from_secs(1)),
        listed: true,
        watching: true,
        watch_restarts: 0,
        relists: BTreeMap::new(),
        instances: 3,
        doubted: 0,
        unreadable: [].into(),
        error: error.map(str::to_owned),
    }
}

fn table(services: &[(&str, &[u32])]) -> Table {
    let table = Table::new();
    let slots = services.iter().map(|(name, weights)| {
        let slot = Arc::new(Slot::new(name));
        slot.replace(Arc::new(endpoints(name, weights)));
        (slot.service().clone(), slot)
    });
    table.publish(slots.collect::<HashMap<_, _>>());
    table
}

/// A page of this table, and the same as JSON.
async fn show(table: &Table, path: &str, query: Query) -> (Page, serde_json::Value) {
    let (sources, _judging) = sources(table.clone(), &Registry::default());
    let dashboard = Dashboard::start(sources);
    let (mut page, mut json) = (Page::default(), serde_json::Value::Null);
    let target = Target { path: path.to_owned(), query };
    dashboard.view(&target, Wanted::Page(&mut page)).unwrap();
    dashboard.view(&target, Wanted::Json(&mut json)).unwrap();
    (page, json)
}

fn named(name: &str) -> Query {
    Query { name: name.to_owned(), ..Query::default() }
}

/// The pieces of a page as one text.
fn html(page: &Page) -> String {
    page.before.iter().chain(&page.rows).chain(&page.after).map(|piece| piece.html.as_str()).collect()
}

#[tokio::test]
async fn no_name_is_markup_and_none_fills_a_page() {
    for name in hostile() {
        let table = table(&[(&name, &[1])]);
        for (path, query) in [("/", Query::default()), ("/services", Query::default()), ("/service", named(&name))] {
            let (page, _) = show(&table, path, query).await;
            let status = page.before.first().unwrap();
            let document = page.document(status, path, false);
            assert!(!document.contains("<script>") && !document.contains("onmouseover='"), "{document}");
            // A field that nobody sees, and links, have the whole name, or they would lead nowhere.
            let shown = document.lines().filter(|line| !line.contains("type=\"hidden\"")).collect::<String>();
            assert!(!shown.contains(['\u{202e}', '\u{7}']), "{shown:?}");
            assert!(document.len() < 8_000 + 12 * name.len(), "{}", document.len());
        }
        let (page, _) = show(&table, "/service", named(&format!("{name}?"))).await;
        assert!(page.missing && !html(&page).contains("<script>"));
        let query = Query { q: name.clone(), sort: name.clone(), ..Query::default() };
        let (page, _) = show(&table, "/services", query.clone()).await;
        assert!(!page.document(&page.before[0], "/services", false).contains("<script>"));
    }
}

#[tokio::test]
async fn the_words_of_a_registration_are_text_too() {
    let table = table(&[("a", &[1])]);
    let slot = table.slot("a").unwrap();
    let mut endpoint = slot.endpoints()[0].clone();
    let mut instance = (*endpoint.instance).clone();
    let evil = "<img src=x onerror=alert(1)>".to_owned();
    (instance.id, instance.version, instance.zone) = (evil.clone(), evil.clone(), evil.clone());
    instance.tags.push(evil.clone());
    instance.metadata.insert(evil.clone(), evil.clone());
    endpoint.instance = Arc::new(instance);
    slot.replace(Arc::new(Endpoints::new(vec![endpoint])));
    let (page, json) = show(&table, "/service", named("a")).await;
    assert!(!html(&page).contains("<img"), "{}", html(&page));
    assert_eq!(html(&page).matches("&#60;img").count(), 7, "{}", html(&page));
    assert_eq!(json["endpoints"]["rows"][0]["zone"], evil);
}

#[tokio::test]
async fn rows_are_narrowed_sorted_and_cut() {
    let weights: Vec<u32> = (1..=200).collect();
    let table = table(&[("a", &weights)]);
    let query = Query { q: "zone:b".to_owned(), sort: "-weight".to_owned(), ..named("a") };
    let (page, json) = show(&table, "/service", query.clone()).await;
    let endpoints = &json["endpoints"];
    assert_eq!((&endpoints["all"], &endpoints["matching"]), (&200.into(), &100.into()));
    assert_eq!((endpoints["rows"].as_array().unwrap().len(), page.rows.len()), (50, 50));
    assert_eq!(endpoints["rows"][0]["address"], "10.0.0.200:80");
    let document = page.document(&page.before[0], "/service?name=a", true);
    for part in [
        "aria-sort=\"descending\"",
        "50 of 100 shown",
        "?name=a&#38;q=zone%3Ab&#38;sort=-weight&#38;limit=150",
        ">Log out</a>",
    ] {
        assert!(document.contains(part), "{part} is not in\n{document}");
    }
    let (page, _) = show(&table, "/service", Query { limit: Some(150), ..query }).await;
    assert_eq!(page.rows.len(), 100);
}

#[tokio::test]
async fn shares_add_up_and_states_have_reasons() {
    let table = table(&[("a", &[1, 3])]);
    let endpoints = table.slot("a").unwrap().endpoints();
    endpoints[0].state.mark_unreachable();
    let (page, json) = show(&table, "/service", named("a")).await;
    let rows = &json["endpoints"]["rows"];
    assert_eq!((&rows[0]["wanted"], &rows[1]["wanted"]), (&0.0.into(), &1.0.into()));
    assert_eq!((&rows[0]["state"], &rows[0]["level"]), (&"unreachable".into(), &"bad".into()));
    assert!(html(&page).contains("the last connect failed"));
    assert_eq!(json["service"]["state"], "1 unreachable");
}

#[test]
fn attention_has_the_worst_first_with_since_when_and_what_to_do() {
    let history = History::default();
    let now = Instant::now() + Duration::from_secs(1_000);
    let health = |states: &[State], panic| {
        let endpoint = |(n, state): (usize, &State)| EndpointHealth {
            endpoint: format!("10.0.0.{}:80", n + 1).into(),
            state: *state,
            reason: Cow::Borrowed("5 UNAVAILABLE in a row"),
            since: now - Duration::from_secs(12),
            until: None,
            share: 1_000,
        };
        ServiceHealth { panic, endpoints: states.iter().enumerate().map(endpoint).collect() }
    };
    let all: Arc<Endpoints> = Arc::new(endpoints("x", &[1, 1, 1]));
    let services = vec![("empty".into(), Arc::default()), ("payments".into(), all.clone()), ("shop".into(), all)];
    let mut prefixes = vec![prefix(Some("connection refused"))];
    prefixes[0].unreadable = [Unreadable { key: "/services/x".into(), reason: "no port".into() }].into();
    let mut facts = Facts {
        now,
        wall: SystemTime::now(),
        services,
        prefixes,
        health: BTreeMap::from([
            ("payments".into(), health(&[State::Ejected, State::Ejected, State::Healthy], false)),
            ("shop".into(), health(&[State::Unhealthy, State::Unhealthy, State::Draining], true)),
        ]),
        in_force: Arc::new(crate::admin::tests::in_force()),
        queues: Vec::new(),
        unread_locks: Vec::new(),
        unreadable_orders: Vec::new(),
        modules: Vec::new(),
        history: &history,
    };
    let found = attention::attention(&facts);
    let texts: Vec<_> = found.iter().map(|item| item.text.as_str()).collect();
    assert_eq!(
        texts,
        [
            "/services/: etcd cannot be followed, the table is old (connection refused)",
            "shop: only 0 of 3 endpoints are healthy, so calls go to all of them",
            "/services/: 1 key cannot be read, or only in part",
            "empty: no instances; all registrations are gone",
            "payments: 2 of 3 endpoints ejected (5 UNAVAILABLE in a row)",
            "shop: 2 of 3 endpoints unhealthy (5 UNAVAILABLE in a row)",
            "shop: 1 of 3 endpoints draining (5 UNAVAILABLE in a row)",
        ]
    );
    assert_eq!((found[4].since, &*found[4].link), (Some(Seconds(12)), "/service?name=payments"));
    assert!(found.iter().all(|item| !item.todo.is_empty()));
    let status = facts.status(found.len());
    assert_eq!((status.level, status.stale, status.attention), (Level::Bad, true, 7));

    (facts.services, facts.health, facts.prefixes) = (Vec::new(), BTreeMap::new(), vec![prefix(None)]);
    assert_eq!(attention::attention(&facts), []);
    assert_eq!(facts.status(0).level, Level::Good);
    facts.prefixes[0].age = Some(Duration::from_secs(31));
    assert_eq!(facts.status(0).level, Level::Bad, "a green light over stale data");
}

fn kv(key: &str, lease: i64, revision: i64) -> crate::etcd::KeyValue {
    let (key, value) = (key.as_bytes().to_vec(), Vec::new());
    crate::etcd::KeyValue { key, value, lease, mod_revision: revision, create_revision: revision }
}

fn with<T>(table: &Table, keys: &[crate::etcd::KeyValue], look: impl FnOnce(&Facts<'_>) -> T) -> T {
    let mut services: Vec<_> = table.slots().iter().map(|(name, slot)| (name.clone(), slot.endpoints())).collect();
    services.sort_by(|a, b| a.0.cmp(&b.0));
    let history = History::default();
    look(&Facts {
        now: Instant::now(),
        wall: SystemTime::now(),
        services,
        prefixes: vec![prefix(None)],
        health: BTreeMap::new(),
        in_force: Arc::new(crate::admin::tests::in_force()),
        queues: crate::registry::queue::queues(keys),
        unread_locks: Vec::new(),
        unreadable_orders: Vec::new(),
        modules: Vec::new(),
        history: &history,
    })
}

fn ttl(_: i64) -> Option<crate::admin::ttl::Ttl> {
    Some(crate::admin::ttl::Ttl { granted: 10, left: 3.5, late: true, keys: vec!["/other/<b>".to_owned()] })
}

#[test]
fn a_lock_is_a_queue_and_says_who_it_is_of() {
    let table = table(&[("<b>pay", &[1])]);
    let slot = table.slot("<b>pay").unwrap();
    let mut endpoint = slot.endpoints()[0].clone();
    endpoint.lease = 0xaa;
    slot.replace(Arc::new(Endpoints::new(vec![endpoint])));
    let keys = [kv("/locks/<i>/aa", 0xaa, 7), kv("/locks/<i>/bb", 0xbb, 9), kv("/locks/<i>/deep/cc", 0xcc, 5)];
    let since = BTreeMap::from([(keys[0].key.clone(), (Instant::now(), false))]);
    with(&table, &keys, |facts| {
        let view = locks::locks(facts, Vec::new(), &since, ttl, &Query::default());
        let lock = &view.locks.rows[0];
        assert_eq!((&*lock.name, lock.waiting, lock.holder.token), ("/locks/<i>", 1, 7));
        assert_eq!(lock.holder.owner.as_deref(), Some("<b>pay at 10.0.0.1:80"));
        assert_eq!((lock.holder.who(), lock.waiters[0].who()), ("i1".to_owned(), "/locks/<i>/bb".to_owned()));
        assert_eq!(lock.blocked_by.as_deref(), Some("/locks/<i>/deep"));
        let page = html(&crate::admin::page::locks(&view, &Query::default()));
        for part in
            ["Nobody holds this", "at least 0 s", "first in line", "waits", "data-at=\"3.5\"", "renewal is late"]
        {
            assert!(page.contains(part), "{part} is not in\n{page}");
        }
        assert!(!page.contains("<i>/") && !page.contains("<b>pay"), "{page}");
        assert!(page.contains("<b class=\"who\">i1</b> of <a href=\"/service?name=%3Cb%3Epay\">"), "{page}");

        let blocked = &attention::attention(facts)[0];
        assert_eq!(blocked.text, "nobody holds /locks/<i>: it waits for /locks/<i>/deep, whose name lies within it");

        let view = leases::leases(facts, ttl, &Query::default());
        assert_eq!(view.leases.rows.iter().map(|lease| &*lease.hex).collect::<Vec<_>>(), ["aa", "bb", "cc"]);
        let keys: Vec<_> = view.leases.rows[0].keys.iter().map(|key| &*key.text).collect();
        assert_eq!(keys, ["<b>pay at 10.0.0.1:80", "/locks/<i>/aa", "/other/<b>"]);
        let page = html(&crate::admin::page::leases(&view, &Query::default()));
        assert!(page.contains("<small>170</small>") && !page.contains("<b>pay"), "{page}");
    });
}

#[test]
fn what_cannot_be_read_is_not_said_to_be_free() {
    let mut locked = crate::admin::locks::Prefix::default();
    locked.error = Some("permission denied".to_owned());
    with(&table(&[]), &[], |facts| {
        let shown = |prefix: &crate::admin::locks::Prefix| {
            let prefixes = vec![("/locks/".to_owned(), prefix.clone())];
            let view = locks::locks(facts, prefixes, &BTreeMap::new(), ttl, &Query::default());
            html(&crate::admin::page::locks(&view, &Query::default()))
        };
        let page = shown(&locked);
        assert!(page.contains("is not known now: permission denied") && !page.contains("No lock is held"), "{page}");
        locked.error = None;
        let page = shown(&locked);
        assert!(page.contains("has not been read yet") && !page.contains("No lock is held"), "{page}");
        locked.listed = true;
        assert!(shown(&locked).contains("No lock is held"));

        let unread = vec![("/locks/".to_owned(), "permission denied".to_owned())];
        let facts = Facts {
            in_force: facts.in_force.clone(),
            services: Vec::new(),
            prefixes: Vec::new(),
            health: BTreeMap::new(),
            queues: Vec::new(),
            unread_locks: unread,
            unreadable_orders: Vec::new(),
            modules: Vec::new(),
            ..*facts
        };
        let found = attention::attention(&facts);
        assert_eq!(found[0].text, "/locks/: who holds what is not known (permission denied)");
        let view = overview::overview(&facts, found, Vec::new(), Vec::new());
        let page = html(&crate::admin::page::overview(&view));
        assert!(page.contains("locks: not known") && !page.contains("</b> locks held"), "{page}");
    });
}

#[test]
fn a_lock_s_holder_is_who_it_says_it_is() {
    let mut keys = [kv("/locks/a/aa", 0xaa, 7), kv("/locks/a/bb", 0xbb, 9), kv("/locks/boss/cc", 0xcc, 5)];
    keys[0].value = b"{\"holder\":\"<worker-1>\"}".to_vec();
    keys[2].value = b"host-7".to_vec();
    with(&table(&[]), &keys, |facts| {
        let query = Query { q: "who:<worker-1".to_owned(), ..Query::default() };
        let view = locks::locks(facts, Vec::new(), &BTreeMap::new(), ttl, &query);
        let lock = &view.locks.rows[0];
        assert_eq!((view.locks.matching, lock.kind, lock.holder.name.as_deref()), (1, "lock", Some("<worker-1>")));
        assert_eq!((&lock.holder.value, &lock.waiters[0].name), (&None, &None));
        let page = html(&crate::admin::page::locks(&view, &Query::default()));
        assert!(page.contains("<b class=\"who\">&#60;worker-1&#62;</b>"), "{page}");

        let view = locks::locks(facts, Vec::new(), &BTreeMap::new(), ttl, &Query::default());
        let boss = &view.locks.rows[1].holder;
        assert_eq!((boss.who(), &boss.owner), ("host-7".to_owned(), &None));
    });
}

#[test]
fn a_lock_whose_key_is_no_text_has_no_button_and_the_reason() {
    let mut keys = [kv("/locks/a/aa", 0xaa, 7), kv("/locks/b?/bb", 0xbb, 8)];
    keys[1].key[8] = 0xff;
    with(&table(&[]), &keys, |facts| {
        let operator =
            crate::etcd::Client::new("operator", crate::etcd::Config::default(), crate::etcd::Metrics::default());
        let facts = Facts {
            in_force: Arc::new(InForce { operator: Some(operator), ..crate::admin::tests::in_force() }),
            services: Vec::new(),
            prefixes: Vec::new(),
            health: BTreeMap::new(),
            queues: facts.queues.clone(),
            unread_locks: Vec::new(),
            unreadable_orders: Vec::new(),
            modules: Vec::new(),
            ..*facts
        };
        let view = locks::locks(&facts, Vec::new(), &BTreeMap::new(), ttl, &Query::default());
        let rows: Vec<_> = crate::admin::page::locks(&view, &Query::default()).rows;
        let has = |row: usize, text| rows[row].html.contains(text);
        assert!(has(0, "do=release") && !has(0, "not UTF-8"), "{}", rows[0].html);
        assert!(!has(1, "do=release") && has(1, "its key is not UTF-8"), "{}", rows[1].html);
    });
}

#[test]
fn the_first_page_has_the_services_and_locks_that_matter_most() {
    let names: Vec<_> = (0..9).map(|n| format!("s{n}")).collect();
    let services: Vec<(&str, &[u32])> = names.iter().map(|name| (name.as_str(), &[1, 1][..])).collect();
    let table = table(&services);
    table.slot("s7").unwrap().endpoints()[0].state.mark_unreachable();
    let mut keys = vec![kv("/locks/a/aa", 0xaa, 7), kv("/locks/b/bb", 0xbb, 8), kv("/locks/b/cc", 0xcc, 9)];
    keys.push(kv("/locks/a/deep/dd", 0xdd, 5));
    keys[1].value = b"{\"holder\":\"<worker-1>\"}".to_vec();
    with(&table, &keys, |facts| {
        let view = overview::overview(facts, Vec::new(), Vec::new(), Vec::new());
        assert_eq!((view.services, view.top_services.len(), view.top_services[0].name), (9, 6, "s7"));
        let locks: Vec<_> = view.top_locks.iter().map(|lock| (&*lock.name, lock.holder.as_deref())).collect();
        assert_eq!(
            locks,
            [("/locks/b", Some("<worker-1>")), ("/locks/a", None), ("/locks/a/deep", Some("/locks/a/deep/dd"))]
        );
        assert_eq!(view.top_locks[0].waiters, ["/locks/b/cc"]);
        let page = html(&crate::admin::page::overview(&view));
        for part in [
            "<td class=\"n\">1/2</td>",
            "/service?name=s7",
            "&#60;worker-1&#62;",
            "/locks?q=%2Flocks%2Fb",
            "All services",
        ] {
            assert!(page.contains(part), "{part} is not in\n{page}");
        }
    });
}

#[test]
fn events_are_newest_first_and_text() {
    let log = crate::admin::log::Log::default();
    log.add(crate::admin::log::Kind::Action, "<b>", "drained \u{202e}<script>".to_owned());
    let at = SystemTime::now() - Duration::from_secs(60);
    let (service, endpoint) = ("a".into(), Some("10.0.0.1:80".into()));
    let judged = crate::health::Event { at, service, endpoint, state: Some(State::Ejected), text: "5 in a row".into() };
    with(&table(&[]), &[], |facts| {
        let view = events::events(facts, &[judged], &log.events(), &Query::default());
        let kinds: Vec<_> = view.events.rows.iter().map(|event| (event.kind, event.age)).collect();
        assert_eq!(kinds, [("action", Seconds(0)), ("health", Seconds(60))]);
        assert_eq!(view.events.rows[1].text, "10.0.0.1:80 is ejected: 5 in a row");
        let page = html(&crate::admin::page::events(&view, &Query::default()));
        assert!(!page.contains("<script>") && !page.contains('\u{202e}'), "{page}");
    });
}

#[test]
fn the_way_of_a_request_is_told_with_its_reasons() {
    let table = table(&[("orders", &[1, 3]), ("web", &[1])]);
    let text = "routes:\n- {match: {grpc: shop.Orders}, service: orders, subset: {zone: a}}\n\
                - {match: {host: shop.example, headers: {x-test: {present: true}}}, service: nothing}\n";
    let routing = crate::config::parse(text, crate::route::Config::read).unwrap();
    with(&table, &[], |facts| {
        let in_force = InForce { routing, ..crate::admin::tests::in_force() };
        let history = History::default();
        let facts = Facts {
            services: facts.services.clone(),
            prefixes: Vec::new(),
            health: BTreeMap::new(),
            in_force: Arc::new(in_force),
            queues: Vec::new(),
            unread_locks: Vec::new(),
            unreadable_orders: Vec::new(),
            modules: Vec::new(),
            history: &history,
            ..*facts
        };
        let ask = |host: &str, path: &str, headers: &str| {
            let query =
                Query { host: host.to_owned(), path: path.to_owned(), headers: headers.to_owned(), ..Query::default() };
            let view = routes::routes(&facts, &query);
            let page = html(&crate::admin::page::routes(&view, &query));
            assert!(!page.contains("<script>"), "{page}");
            let taken: Vec<_> = view.routes.iter().filter(|route| route.takes).map(|route| route.number).collect();
            let answer = view.answer.unwrap();
            (answer.service, taken, answer.why.join("; "), answer.endpoints)
        };
        let (service, taken, why, endpoints) = ask("any", "/shop.Orders/Cancel", "");
        assert_eq!((service.as_deref(), &*taken), (Some("orders"), &[1][..]));
        assert!(why.contains("1 of 2 endpoints are in its subset: zone a; else any"), "{why}");
        assert_eq!(endpoints, [("10.0.0.1:80".to_owned(), Share(1.0))]);
        let (service, taken, why, endpoints) = ask("WEB:80", "", "");
        assert_eq!((service.as_deref(), taken.len(), endpoints.len()), (Some("web"), 0, 1));
        assert!(why.contains("in lower case"), "{why}");
        let (service, taken, why, _) = ask("shop.example", "/", "x-test: 1");
        assert_eq!((service.as_deref(), &*taken), (Some("nothing"), &[2][..]));
        assert!(why.contains("no such service"), "{why}");
        let (service, _, why, _) = ask("<script>", "/", "");
        assert!(service.is_none() && why.contains("its host is not valid"), "{why}");
        let (_, _, why, _) = ask("web", "/", "<script>");
        assert!(why.contains("is no header"), "{why}");
    });
}
