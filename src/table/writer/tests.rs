//! What readers see of what watchers say.

use super::*;
use crate::etcd::KeyValue;
use crate::registry::format::FormatName;
use crate::table::change::{Change, Gone};
use crate::table::keys::Put;
use crate::table::{Endpoint, EndpointId};

/// A writer with sources `/s1/`, `/s2/`, .., and the time.
struct Case {
    writer: Writer,
    table: Table,
    config: Config,
    now: Instant,
    revision: i64,
}

fn kv(key: &str, value: &str, mod_revision: i64) -> KeyValue {
    KeyValue { key: key.into(), value: value.into(), lease: 0, mod_revision, create_revision: 1 }
}

impl Case {
    fn new(sources: u64) -> Self {
        let table = Table::new();
        let writer = Writer::new(table.clone());
        let mut case = Case { writer, table, config: Config::default(), now: Instant::now(), revision: 100 };
        for n in 1..=sources {
            case.add(n, n, None);
        }
        case
    }

    /// Adds source `n` of the prefix `/s<prefix>/`.
    fn add(&mut self, n: u64, prefix: u64, replaces: Option<u64>) {
        let prefix = format!("/s{prefix}/");
        let decoder = Decoder::new(&prefix, FormatName::Raw, None);
        let status = Arc::new(Shared::new("default".into(), prefix.into()));
        self.take(Message::Add { id: SourceId(n), decoder, status, replaces: replaces.map(SourceId) });
    }

    fn take(&mut self, message: Message) {
        self.writer.take(message, &self.config, self.now);
    }

    fn change(&mut self, n: u64, change: Change) {
        self.take(Message::Update(SourceId(n), Update { unsettled: false, change: Some(change) }));
    }

    fn reset(&mut self, n: u64, all: Vec<KeyValue>) {
        self.revision += 1;
        let decoder = |kv: &KeyValue| Decoder::new(str::from_utf8(&kv.key[..4]).unwrap(), FormatName::Raw, None);
        let all = all.into_iter().map(|kv| Put::read(&decoder(&kv), kv)).collect();
        self.change(n, Change::Reset { revision: self.revision, all });
    }

    fn put(&mut self, n: u64, key: &str, value: &str) {
        self.revision += 1;
        let revision = self.revision;
        self.change(n, Change::Delta { revision, set: vec![kv(key, value, revision)], gone: vec![] });
    }

    fn delete(&mut self, n: u64, key: &str) {
        self.revision += 1;
        let revision = self.revision;
        self.change(n, Change::Delta { revision, set: vec![], gone: vec![Gone { key: key.into(), revision }] });
    }

    fn tick(&mut self, passed: Duration) {
        self.now += passed;
        self.writer.tick(&self.config, self.now);
    }

    fn labels(&self, service: &str) -> Vec<String> {
        let endpoints = self.table.slot(service).unwrap().endpoints();
        let mut labels: Vec<_> = endpoints.iter().map(|e| e.label.to_string()).collect();
        labels.sort();
        labels
    }

    fn endpoint(&self, service: &str, label: &str) -> Endpoint {
        self.table.slot(service).unwrap().endpoints().iter().find(|e| &*e.label == label).unwrap().clone()
    }
}

#[test]
fn a_list_appears_whole_and_wakes_readers_once() {
    let mut case = Case::new(1);
    let changes = case.table.subscribe();
    let ready_before = case.table.ready();
    case.reset(1, (0..100).map(|i| kv(&format!("/s1/a{}/{i}", i % 10), &format!("h:{}", i + 1), 5)).collect());
    assert_eq!((ready_before, case.table.ready()), (false, true));
    assert_eq!(case.table.slots().len(), 10);
    assert_eq!(case.labels("a3").len(), 10);
    assert_eq!(case.table.rebuilds(), 10);
    assert!(*changes.borrow() <= 2, "once for the services, once for readiness");
}

#[test]
fn a_change_rebuilds_its_service_only_and_an_equal_value_none() {
    let mut case = Case::new(1);
    case.reset(1, vec![kv("/s1/a/0", "h:1", 5), kv("/s1/b/0", "h:2", 5)]);
    let before = (case.table.rebuilds(), case.table.slot("b").unwrap().generation());
    case.put(1, "/s1/a/1", "h:3");
    assert_eq!(case.table.rebuilds(), before.0 + 1);
    assert_eq!(case.table.slot("b").unwrap().generation(), before.1);
    let changes = *case.table.subscribe().borrow();
    case.put(1, "/s1/a/1", "h:3");
    assert_eq!(case.table.rebuilds(), before.0 + 1);
    assert_eq!(*case.table.subscribe().borrow(), changes, "and nobody is woken");
}

#[test]
fn two_keys_with_one_address_are_one_endpoint_and_the_newest_wins() {
    let mut case = Case::new(2);
    case.reset(1, vec![kv("/s1/a/old", "h:1", 5)]);
    case.reset(2, vec![]);
    let id = case.endpoint("a", "h:1").id;
    case.put(2, "/s2/a/new", "h:1");
    assert_eq!(case.labels("a"), ["h:1"]);
    let newest = case.endpoint("a", "h:1");
    assert_eq!((newest.id, newest.instance.id.as_str()), (id, "new"));
    // The older one stands in when the newer leaves.
    case.delete(2, "/s2/a/new");
    assert_eq!(case.endpoint("a", "h:1").instance.id, "old");
    case.delete(1, "/s1/a/old");
    assert_eq!(case.labels("a"), [""; 0]);
}

#[test]
fn an_endpoint_that_comes_back_is_the_same() {
    let mut case = Case::new(1);
    case.reset(1, vec![kv("/s1/a/0", "h:1", 5), kv("/s1/b/0", "h:1", 5)]);
    let before = case.endpoint("a", "h:1");
    assert_ne!(before.id, case.endpoint("b", "h:1").id, "an address of another service is another endpoint");
    before.state.mark_unreachable();
    case.delete(1, "/s1/a/0");
    case.put(1, "/s1/a/other", "h:1");
    let after = case.endpoint("a", "h:1");
    assert_eq!(after.id, before.id);
    assert!(Arc::ptr_eq(&after.state, &before.state), "and its state was kept");
    assert!(!after.state.is_unreachable(), "but whoever registers anew gets another chance");
    assert_ne!(case.endpoint("b", "h:1").id, EndpointId(0));
}

#[test]
fn an_endpoint_that_left_long_ago_is_forgotten() {
    let mut case = Case::new(1);
    case.reset(1, vec![kv("/s1/a/0", "h:1", 5), kv("/s1/a/1", "h:2", 5)]);
    let ids = |case: &Case| ["h:1", "h:2"].map(|label| case.endpoint("a", label).id);
    let before = ids(&case);
    case.delete(1, "/s1/a/1");
    case.tick(Duration::from_secs(3600));
    case.put(1, "/s1/a/1", "h:2");
    assert_eq!(ids(&case), before, "it was away for a while only");
    case.delete(1, "/s1/a/1");
    case.tick(Duration::from_secs(3600));
    case.tick(Duration::from_secs(3600));
    case.put(1, "/s1/a/1", "h:2");
    assert_eq!(ids(&case)[0], before[0]);
    assert_ne!(ids(&case)[1], before[1]);
}

#[test]
fn an_endpoint_that_only_stays_stays_unreachable() {
    let mut case = Case::new(1);
    case.reset(1, vec![kv("/s1/a/0", "h:1", 5)]);
    let state = case.endpoint("a", "h:1").state;
    state.mark_unreachable();
    case.put(1, "/s1/a/1", "h:2");
    assert!(state.is_unreachable(), "another instance came");
    let lease = KeyValue { lease: 7, ..kv("/s1/a/0", "h:1", 200) };
    case.change(1, Change::Delta { revision: 200, set: vec![lease], gone: vec![] });
    assert!(!state.is_unreachable(), "its own registration is under a new lease");
}

#[test]
fn services_of_several_prefixes_are_merged() {
    let mut case = Case::new(2);
    case.reset(1, vec![kv("/s1/a/0", "h:1", 5)]);
    assert!(!case.table.ready(), "the second prefix has not been listed");
    case.reset(2, vec![kv("/s2/a/0", "h:2", 5)]);
    assert!(case.table.ready());
    assert_eq!(case.labels("a"), ["h:1", "h:2"]);
    case.take(Message::Remove(SourceId(1)));
    assert_eq!(case.labels("a"), ["h:2"]);
}

#[test]
fn a_source_that_is_read_anew_keeps_its_instances_until_it_was_listed() {
    let mut case = Case::new(1);
    case.reset(1, vec![kv("/s1/a/0", "h:1", 5)]);
    case.add(2, 1, Some(1));
    assert_eq!(case.labels("a"), ["h:1"]);
    assert!(case.table.ready(), "what was ready stays so");
    // And again before that list came.
    case.add(3, 1, Some(2));
    assert_eq!(case.labels("a"), ["h:1"]);
    let rebuilds = case.table.rebuilds();
    case.reset(3, vec![kv("/s1/a/0", "h:1", 5)]);
    assert_eq!(case.table.rebuilds(), rebuilds, "the same instances make no change");
    case.delete(3, "/s1/a/0");
    assert_eq!(case.labels("a"), [""; 0], "nothing of the old sources is left");
    // The last words of watchers that were stopped.
    case.reset(1, vec![kv("/s1/a/0", "h:1", 5)]);
    assert_eq!(case.labels("a"), [""; 0]);
}

#[test]
fn an_empty_service_is_known_for_a_while() {
    let mut case = Case::new(1);
    case.reset(1, vec![kv("/s1/a/0", "h:1", 5), kv("/s1/b/0", "h:2", 5)]);
    case.delete(1, "/s1/a/0");
    case.tick(case.config.forget - Duration::from_secs(1));
    assert_eq!(case.labels("a"), [""; 0]);
    case.tick(Duration::from_secs(1));
    assert!(case.table.slot("a").is_none(), "it is forgotten");
    assert_eq!(case.labels("b"), ["h:2"], "others are not");
    case.put(1, "/s1/a/0", "h:1");
    assert_eq!(case.labels("a"), ["h:1"]);
}

#[test]
fn a_service_that_came_back_is_not_forgotten() {
    let mut case = Case::new(1);
    case.reset(1, vec![kv("/s1/a/0", "h:1", 5)]);
    case.delete(1, "/s1/a/0");
    case.put(1, "/s1/a/0", "h:1");
    case.tick(case.config.forget * 2);
    assert_eq!(case.labels("a"), ["h:1"]);
}

#[test]
fn doubted_instances_take_calls_until_a_connect_fails() {
    let mut case = Case::new(1);
    case.reset(1, vec![kv("/s1/a/0", "h:1", 5), kv("/s1/a/1", "h:2", 5)]);
    case.reset(1, vec![]);
    assert!(case.endpoint("a", "h:1").doubted && case.endpoint("a", "h:2").doubted);
    assert_eq!(case.writer.due(&case.config, case.now), Some(case.now + LOOK));
    case.endpoint("a", "h:2").state.mark_unreachable();
    case.tick(LOOK);
    assert_eq!(case.labels("a"), ["h:1"]);
    case.tick(case.config.doubt_limit);
    assert_eq!(case.labels("a"), [""; 0]);
}

#[test]
fn a_living_key_goes_before_a_doubted_one_with_the_same_address() {
    let mut case = Case::new(1);
    case.reset(1, vec![kv("/s1/a/0", "h:1", 500), kv("/s1/a/1", "h:2", 500)]);
    // The data was lost, and an instance registers again under another key, at a lower revision.
    case.change(1, Change::Reset { revision: 3, all: vec![] });
    case.change(1, Change::Delta { revision: 4, set: vec![kv("/s1/a/x", "h:1", 4)], gone: vec![] });
    let living = case.endpoint("a", "h:1");
    assert_eq!((living.doubted, living.instance.id.as_str()), (false, "x"));
    assert!(case.endpoint("a", "h:2").doubted);
}

#[test]
fn what_a_reader_still_holds_is_freed_by_the_writer() {
    let mut case = Case::new(1);
    case.reset(1, vec![kv("/s1/a/0", "h:1", 5)]);
    let held = case.table.slot("a").unwrap().endpoints();
    case.put(1, "/s1/a/1", "h:2");
    assert_eq!(Arc::strong_count(&held), 2, "the writer keeps it as long as the reader");
    assert!(case.writer.due(&case.config, case.now) <= Some(case.now + LOOK));
    let gone = Arc::downgrade(&held);
    drop(held);
    assert!(gone.upgrade().is_some());
    case.tick(LOOK);
    assert!(gone.upgrade().is_none());
    assert!(case.writer.due(&case.config, case.now) > Some(case.now + case.config.forget / 2), "and then it rests");
}
