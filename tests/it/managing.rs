//! The library as a program uses it: settings from every layer, discovery, plain keys, several clusters, and the end.

use std::{
    fs,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::StreamExt;
use tokio::time::timeout;
use waypost::{
    Error, Manager,
    discovery::{Event, Filter},
    manager::{Builder, Preset, Settings},
    registry::{Loss, Status},
};

use crate::{
    harness::{Etcd, PATIENCE, Version, eventually, tools::Folder},
    registering::{client, everywhere},
};

/// A builder that sees nothing of the machine that the test runs on.
fn alone(folder: &Folder) -> Builder {
    Manager::builder().folder(folder.path()).environment([("HOME", "/")])
}

async fn manager(endpoint: &str) -> Manager {
    let folder = Folder::new("alone");
    alone(&folder).preset(Preset::Test).endpoints([endpoint]).connect().unwrap()
}

fn errors(settings: Result<Settings, Error>) -> Vec<String> {
    match settings.unwrap_err() {
        Error::Config(errors) => errors.iter().map(ToString::to_string).collect(),
        other => panic!("{other}"),
    }
}

#[test]
fn each_layer_counts_before_the_next() {
    let folder = Folder::new("layers");
    let ttl = |builder: Builder| builder.settings().unwrap().registry.ttl.as_secs();
    let environment = |builder: Builder| builder.environment([("WAYPOST_REGISTRY_TTL", "30s")]);
    assert_eq!(ttl(alone(&folder)), 10, "the default");
    assert_eq!(ttl(alone(&folder).preset(Preset::Production)), 15);
    fs::write(folder.path().join("etcd-config.yaml"), "registry: {ttl: 20s}").unwrap();
    assert_eq!(ttl(alone(&folder).preset(Preset::Production)), 20, "the file before the preset");
    assert_eq!(ttl(environment(alone(&folder).preset(Preset::Production))), 30, "the environment before the file");
    assert_eq!(ttl(environment(alone(&folder)).default_ttl(Duration::from_secs(40))), 40, "options before all");
    assert_eq!(ttl(alone(&folder).preset(Preset::Development)), 20);
}

#[test]
fn files_are_found_by_their_names_in_order() {
    let folder = Folder::new("names");
    fs::create_dir(folder.path().join("config")).unwrap();
    let names = [
        "etcd-config.json",
        "etcd-config.yaml",
        "etcd-config.yml",
        "config/etcd.json",
        "config/etcd.yaml",
        "config/etcd.yml",
    ];
    // From the last one on, each new file counts before those that are there.
    for (n, name) in names.iter().enumerate().rev() {
        let text = match name.ends_with(".json") {
            // As programs write it, with tabs.
            true => format!("{{\n\t\"registry\": {{\n\t\t\"ttl\": \"{}s\"\n\t}}\n}}\n", n + 10),
            false => format!("registry:\n  ttl: {}s\n", n + 10),
        };
        fs::write(folder.path().join(name), text).unwrap();
        assert_eq!(alone(&folder).settings().unwrap().registry.ttl.as_secs(), n as u64 + 10, "{name}");
    }
    let other = folder.path().join("other.yaml");
    fs::write(&other, "registry: {ttl: 50s}").unwrap();
    assert_eq!(alone(&folder).file(&other).settings().unwrap().registry.ttl.as_secs(), 50);
    let named = alone(&folder).environment([("WAYPOST_CONFIG", other.to_str().unwrap())]);
    assert_eq!(named.settings().unwrap().registry.ttl.as_secs(), 50);
}

#[test]
fn what_is_wrong_is_told_all_at_once_with_its_place() {
    let folder = Folder::new("wrong");
    let file = folder.path().join("etcd-config.json");
    fs::write(&file, "{\"etcd\": {\"endpoint\": \"a:1\"},\n \"registry\": {\"ttl\": \"1s\"}}").unwrap();
    let wrong = alone(&folder).dial_timeout(Duration::ZERO).environment([("WAYPOST_REGISTRI_TTL", "1s")]);
    let errors = errors(wrong.settings());
    let name = file.display();
    assert_eq!(errors.len(), 4, "{errors:?}");
    assert!(
        errors[0].starts_with(&format!("{name}:1:11: etcd.endpoint: unknown key; did you mean `endpoints`?")),
        "{errors:?}"
    );
    assert!(errors[1].starts_with(&format!("{name}:2:")) && errors[1].contains("registry.ttl"), "{errors:?}");
    assert!(errors[2].starts_with("WAYPOST_REGISTRI_TTL: unknown variable"), "{errors:?}");
    assert!(errors[3].starts_with("dial_timeout(): etcd.dial_timeout: must be from 10ms"), "{errors:?}");

    for (text, why) in [(&b"{"[..], "etcd-config.json:1:"), (b"\xff", "is not UTF-8"), (b"[]", "must be a section")] {
        fs::write(&file, text).unwrap();
        let errors = self::errors(alone(&folder).settings());
        assert!(errors[0].contains(why), "{errors:?}");
    }
    let missing = self::errors(alone(&folder).file("/no/such/file").settings());
    assert!(missing[0].starts_with("/no/such/file: cannot be read"), "{missing:?}");
}

#[test]
fn the_proxy_s_file_and_every_option_are_understood() {
    let folder = Folder::new("proxy");
    fs::write(folder.path().join("etcd-config.yml"), "proxy: {listen: 127.0.0.1:1}\nservices: {named: {a: {}}}\n")
        .unwrap();
    let settings = alone(&folder)
        .environment([("WAYPOST_PROXY_WORKERS", "2"), ("WAYPOST_ETCD_USER", "me"), ("WAYPOST_ETCD_PASSWORD", "secret")])
        .endpoints(["a:1", "b:2"])
        .set("etcd.clients.other.endpoints", "c:3")
        .dial_timeout(Duration::from_secs(1))
        .call_timeout(Duration::from_secs(7))
        .default_ttl(Duration::from_secs(9))
        .service_prefix("/svc")
        .lock_prefix("/lck")
        .default_metadata("team", "blue, or green")
        .health_check(Duration::from_secs(1), Duration::from_millis(100))
        .retry(7, Duration::from_millis(10), Duration::from_secs(1), 1.5)
        .max_active(9)
        .connection_lifetime(Duration::from_mins(1))
        .message_sizes(1 << 20, 1 << 21)
        .auto_sync(Duration::from_mins(5))
        .log_level("debug")
        .settings()
        .unwrap();
    let etcd = &settings.etcd["default"];
    assert_eq!(etcd.endpoints, ["http://a:1", "http://b:2"]);
    assert_eq!((etcd.user.as_deref(), etcd.password.as_ref().unwrap().expose()), (Some("me"), "secret"));
    assert_eq!((etcd.call_timeout.as_secs(), etcd.max_active, etcd.lifetime), (7, 9, Some(Duration::from_mins(1))));
    assert_eq!((etcd.max_decoding, etcd.max_encoding), (1 << 20, 1 << 21));
    assert_eq!(settings.etcd["other"].endpoints, ["http://c:3"]);
    let registry = &settings.registry;
    assert_eq!((registry.prefix.as_str(), registry.lock_prefix.as_str()), ("/svc/", "/lck/"));
    assert_eq!((etcd.dial_timeout.as_secs(), registry.ttl.as_secs()), (1, 9));
    assert_eq!(registry.metadata["team"], "blue, or green");
    assert_eq!((registry.retry.max, registry.retry.multiplier), (7, 1.5));
    assert_eq!(settings.prefixes[0].path(), "/svc/", "instances are looked for where they are registered");
    assert_eq!(settings.log.level.to_string(), "DEBUG");
    let tls = alone(&folder).tls("ca.pem").tls_identity("a.pem", "b.pem").auth("me", "x").settings().unwrap();
    assert!(tls.etcd["default"].endpoints[0].starts_with("http://") && tls.etcd["default"].tls.cert.is_some());
    assert!(!format!("{:?}", alone(&folder).auth("me", "secret")).contains("secret"));
    assert_eq!(Settings::default().registry.lock_prefix, "/locks/");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn instances_are_found_filtered_drawn_and_followed() {
    everywhere(async |endpoint| {
        let manager = manager(&endpoint).await;
        let discovery = manager.discovery().await;
        discovery.ready(PATIENCE).await.unwrap();
        let mut events = discovery.watch("gre");
        let maps: Arc<Mutex<Vec<usize>>> = Arc::default();
        let seen = maps.clone();
        let id = discovery.add_watch("", move |map| seen.lock().unwrap().push(map.values().map(Vec::len).sum()));

        let registry = manager.registry();
        let mut one = registry.register("greeter", "1", "10.0.0.1:1").version("1").zone("a").tag("x").await.unwrap();
        let event = timeout(PATIENCE, events.next()).await.unwrap().unwrap();
        assert!(matches!(&event, Event::Joined(instance) if instance.id == "1"), "{event:?}");
        let two = registry.register("greeter", "2", "10.0.0.2:1").weight(3).metadata("team", "blue").await.unwrap();
        let _web = registry.register("web", "1", "10.0.0.3:1").await.unwrap();
        eventually("all instances", async || {
            let all = discovery.services();
            if all == ["greeter", "web"] { Ok(()) } else { Err(all) }
        })
        .await;
        assert!(matches!(timeout(PATIENCE, events.next()).await.unwrap().unwrap(), Event::Joined(_)));

        let all = discovery.instances("greeter", &Filter::default());
        assert!(all.known && all.list.len() == 2 && all.age.unwrap() < Duration::from_secs(30), "{all:?}");
        for (filter, id) in [
            (Filter::default().version("1"), "1"),
            (Filter::default().zone("a").tag("x"), "1"),
            (Filter::default().metadata("team", "blue"), "2"),
        ] {
            assert_eq!(discovery.resolve("greeter", &filter).unwrap().id, id);
            assert_eq!(discovery.instances("greeter", &filter).list.len(), 1);
        }
        let mut drawn = [0; 2];
        for _ in 0..4000 {
            let instance = discovery.resolve("greeter", &Filter::default()).unwrap();
            drawn[usize::from(instance.id == "2")] += 1;
        }
        // Three of four, give or take six standard deviations.
        assert!((2836..=3164).contains(&drawn[1]), "{drawn:?}");
        for (service, filter, why) in
            [("greter", Filter::default(), "unknown service"), ("greeter", Filter::default().zone("z"), "is as wanted")]
        {
            let error = discovery.resolve(service, &filter).unwrap_err();
            assert!(error.to_string().contains(why) && error.is_retryable(), "{error}");
        }

        one.update(|instance| instance.weight = 0).await.unwrap();
        assert!(matches!(timeout(PATIENCE, events.next()).await.unwrap().unwrap(), Event::Changed(_)));
        one.deregister().await.unwrap();
        two.deregister().await.unwrap();
        for _ in 0..2 {
            assert!(matches!(timeout(PATIENCE, events.next()).await.unwrap().unwrap(), Event::Left(_)));
        }
        let error = discovery.resolve("greeter", &Filter::default()).unwrap_err();
        assert!(error.to_string().contains("has no instances now"), "{error}");
        eventually("the map of what is left", async || {
            let maps = maps.lock().unwrap().clone();
            if maps.last() == Some(&1) { Ok(()) } else { Err(maps) }
        })
        .await;
        let told = maps.lock().unwrap().clone();
        assert!(told[0] == 0 && told.contains(&3), "the whole map each time: {told:?}");
        assert!(discovery.remove_watch(id) && !discovery.remove_watch(id));
        let more = registry.register("late", "1", "10.0.0.4:1").await.unwrap();
        eventually("the late one", async || discovery.resolve("late", &Filter::default())).await;
        assert_eq!(maps.lock().unwrap().len(), told.len(), "a watch that was removed is told no more");
        drop(more);
        manager.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_loaded_and_followed() {
    everywhere(async |endpoint| {
        let centre = manager(&endpoint).await.centre();
        assert_eq!(centre.get("/config/limit").await.unwrap(), None);
        let (mut limit, mut all) = (centre.watch("/config/limit"), centre.watch_all("/config/"));
        let mut next = async || timeout(PATIENCE, limit.next()).await.unwrap().unwrap();
        assert_eq!(next().await, None);
        assert!(timeout(PATIENCE, all.next()).await.unwrap().unwrap().is_empty());
        assert!(centre.put("/config/limit", "10").await.unwrap() > 1);
        assert_eq!(next().await.as_deref(), Some(&b"10"[..]));
        // A neighbour whose name begins alike is another key.
        centre.put("/config/limits", "x").await.unwrap();
        centre.put("/config/limit", "11").await.unwrap();
        assert_eq!(next().await.as_deref(), Some(&b"11"[..]));
        centre.delete("/config/limit").await.unwrap();
        assert_eq!(next().await, None);
        while !timeout(PATIENCE, all.next()).await.unwrap().unwrap().keys().eq(["/config/limits"]) {}
        assert_eq!(centre.load("/config/").await.unwrap().len(), 1);
        assert!(matches!(centre.put("", "x").await, Err(Error::Invalid { .. })));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_ends_everything_whoever_still_holds_it() {
    everywhere(async |endpoint| {
        let (manager, client) = (manager(&endpoint).await, client(&endpoint));
        let registration = manager.registry().register("greeter", "1", "10.0.0.1:1").await.unwrap();
        let lock = manager.locks().lock("a").await.unwrap();
        let leader = manager.elections().campaign("b", "me").await.unwrap();
        let lease = manager.leases().grant(Duration::from_secs(60)).await.unwrap();
        let kept = manager.leases().keep_alive(lease).await.unwrap();
        assert!(manager.ping().await.unwrap() < PATIENCE);
        let mut well = manager.health("default").unwrap();
        timeout(PATIENCE, well.wait_for(|well| *well)).await.unwrap().unwrap();
        assert_eq!(client.list(b"/").await.unwrap().keys.len(), 3);

        manager.close().await;
        assert!(client.list(b"/").await.unwrap().keys.is_empty());
        assert_eq!(client.leases().await.unwrap(), [lease], "a lease of the program's own lives on");
        assert_eq!(*registration.status().borrow(), Status::Ended);
        assert_eq!(
            (lock.loss(), leader.loss(), kept.loss()),
            (Some(Loss::Released), Some(Loss::Released), Some(Loss::Released))
        );
        registration.deregister().await.unwrap();
        assert!(matches!(manager.locks().lock("a").await, Err(Error::Ended(_))));
        assert!(matches!(manager.registry().register_at("/x", "").await, Err(Error::Ended(_))));
        // Another one with the same settings begins anew.
        let again = Manager::with_config(manager.settings().clone());
        again.locks().lock("a").await.unwrap().unlock().await.unwrap();
        manager.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_clusters_have_names() {
    let (one, two) = (Etcd::start(Version::Wheel).await, Etcd::start(Version::Debian).await);
    let folder = Folder::new("named");
    let text = format!(
        "etcd:\n  endpoints: {}\n  clients:\n    other:\n      endpoints: {}\nprefixes:\n  - prefix: /services/\n  - {{client: other, prefix: /services/}}\n",
        one.endpoints(),
        two.endpoints()
    );
    let file = folder.path().join("two.yaml");
    fs::write(&file, text).unwrap();
    let manager = Manager::from_file(&file).unwrap();
    let here = manager.registry().register("here", "1", "10.0.0.1:1").await.unwrap();
    let there = manager.registry_of("other").unwrap().register("there", "1", "10.0.0.2:1").await.unwrap();
    assert!(two.ctl(&["get", "/services/there/1"]).await.contains("10.0.0.2:1"));
    assert_eq!(one.ctl(&["get", "/services/there/1"]).await, "");
    let discovery = manager.discovery().await;
    eventually("both services", async || {
        let services = discovery.services();
        if services == ["here", "there"] { Ok(()) } else { Err(services) }
    })
    .await;
    let error = manager.registry_of("none").unwrap_err();
    assert!(error.to_string().contains("none of default, other"), "{error}");
    drop((here, there));
    manager.close().await;
    assert_eq!(two.ctl(&["get", "--prefix", "/"]).await, "");
}
