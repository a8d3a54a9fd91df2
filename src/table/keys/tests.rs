//! What is taken at its word, what is dropped as old, and what is doubted.

use super::*;
use crate::registry::format::FormatName;

const WINDOW: Duration = Duration::from_secs(120);
const LIMIT: Duration = Duration::from_secs(300);

/// The keys of a prefix, at a time that the test sets.
struct Case {
    keys: Keys,
    now: Instant,
    revision: i64,
}

fn kv(key: &str, value: &str, mod_revision: i64) -> KeyValue {
    KeyValue { key: format!("/s/{key}").into(), value: value.into(), lease: 0, mod_revision, create_revision: 1 }
}

/// Keys `a/0`, `a/1`, .. of one service, all with addresses of their own.
fn many(n: u16, revision: i64) -> Vec<KeyValue> {
    (0..n).map(|i| kv(&format!("a/{i}"), &format!("h:{}", 1000 + i), revision)).collect()
}

impl Case {
    /// Listed with these keys, outside of any window.
    fn new(all: Vec<KeyValue>) -> Self {
        let decoder = Decoder::new("/s/", FormatName::Raw, None);
        let mut case = Case { keys: Keys::new(decoder), now: Instant::now(), revision: 10 };
        case.reset(all);
        case
    }

    fn apply(&mut self, unsettled: bool, change: Option<Change>) -> Vec<String> {
        let mut dirty = Dirty::new();
        self.keys.apply(Update { unsettled, change }, self.now, WINDOW, &mut dirty);
        let mut dirty: Vec<_> = dirty.into_iter().collect();
        dirty.sort();
        dirty
    }

    fn reset(&mut self, all: Vec<KeyValue>) -> Vec<String> {
        self.revision += 1;
        let all = all.into_iter().map(|kv| Put::read(&self.keys.decoder, kv)).collect();
        self.apply(false, Some(Change::Reset { revision: self.revision, all }))
    }

    fn put(&mut self, kv: KeyValue) -> Vec<String> {
        self.apply(false, Some(Change::Delta { revision: kv.mod_revision, set: vec![kv], gone: vec![] }))
    }

    /// Deletes keys, in one response.
    fn delete(&mut self, keys: impl IntoIterator<Item = u16>) -> Vec<String> {
        self.revision += 1;
        let revision = self.revision;
        let gone = |i| Gone { key: format!("/s/a/{i}").into(), revision };
        self.apply(false, Some(Change::Delta { revision, set: vec![], gone: keys.into_iter().map(gone).collect() }))
    }

    fn disturb(&mut self) {
        self.apply(true, None);
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    /// Lets doubted instances go, those at `dead` ports among them. Returns the services that changed.
    fn settle(&mut self, dead: &[u16]) -> Vec<String> {
        let mut dirty = Dirty::new();
        self.keys.settle(self.now, LIMIT, |instance| dead.contains(&instance.address.port()), &mut dirty);
        dirty.into_iter().collect()
    }

    /// Instances in all, and those of them that are doubted.
    fn counts(&self) -> (usize, usize) {
        let of = |doubted: bool| {
            let all = self.keys.services().flat_map(|service| self.keys.of(service));
            all.filter(|(entry, _)| entry.doubted.is_some() || !doubted).count()
        };
        let counted = (of(false), of(true));
        assert_eq!(counted, (self.keys.instances(), self.keys.doubted()), "the counts are kept right");
        counted
    }
}

#[test]
fn a_delete_acts_at_once_while_nothing_disturbs() {
    let mut case = Case::new(many(10, 5));
    assert_eq!(case.delete(0..9), ["a"]);
    assert_eq!(case.counts(), (1, 0));
    assert_eq!(case.delete([9]), ["a"]);
    assert_eq!(case.counts(), (0, 0));
}

#[test]
fn up_to_half_may_leave_after_a_disturbance() {
    let mut case = Case::new(many(10, 5));
    case.disturb();
    case.delete(0..5);
    assert_eq!(case.counts(), (5, 0));
}

#[test]
fn more_than_half_is_doubted_in_one_response_or_many() {
    let mut at_once = Case::new(many(10, 5));
    at_once.disturb();
    at_once.delete(0..6);
    assert_eq!(at_once.counts(), (10, 6));

    let mut one_by_one = Case::new(many(10, 5));
    one_by_one.disturb();
    for i in 0..5 {
        one_by_one.delete([i]);
        assert_eq!(one_by_one.counts(), (9 - usize::from(i), 0));
        one_by_one.pass(Duration::from_secs(10));
    }
    one_by_one.delete([5]);
    assert_eq!(one_by_one.counts(), (10, 6), "the sixth brings the others back");
    one_by_one.delete(6..10);
    assert_eq!(one_by_one.counts(), (10, 10), "and the rest is doubted with it");
}

#[test]
fn the_window_ends() {
    let mut case = Case::new(many(10, 5));
    case.disturb();
    case.delete(0..3);
    case.pass(WINDOW);
    case.delete(3..10);
    assert_eq!(case.counts(), (0, 0));
}

#[test]
fn each_disturbance_opens_the_window_anew_and_forgets_nothing() {
    let mut case = Case::new(many(10, 5));
    case.disturb();
    case.delete(0..3);
    case.pass(WINDOW / 2);
    case.disturb();
    case.pass(WINDOW * 3 / 4);
    case.delete(3..6);
    assert_eq!(case.counts(), (10, 6));
}

#[test]
fn a_list_that_lost_most_is_doubted_by_itself() {
    let mut case = Case::new(many(10, 5));
    case.reset(vec![]);
    assert_eq!(case.counts(), (10, 10));
    // It opens no window: a delete later on is taken at its word.
    let mut case = Case::new(many(10, 5));
    case.reset(many(10, 5));
    case.delete(0..10);
    assert_eq!(case.counts(), (0, 0));
    // The first list has nothing before it.
    assert_eq!(Case::new(vec![]).counts(), (0, 0));
}

#[test]
fn what_comes_back_is_believed_again() {
    let mut case = Case::new(many(4, 5));
    case.disturb();
    case.delete(0..4);
    assert_eq!(case.counts(), (4, 4));
    assert_eq!(case.put(kv("a/1", "h:1001", 50)), ["a"]);
    assert_eq!(case.counts(), (4, 3));
    // A list that still lacks the others leaves them doubted.
    case.revision = 60;
    case.reset(vec![kv("a/1", "h:1001", 50), kv("a/2", "h:1002", 55)]);
    assert_eq!(case.counts(), (4, 2));
}

#[test]
fn a_doubted_instance_leaves_when_a_connect_fails_or_after_a_time() {
    let mut case = Case::new(many(4, 5));
    case.disturb();
    case.delete(0..4);
    assert_eq!(case.settle(&[]), [""; 0]);
    assert_eq!(case.settle(&[1002]), ["a"]);
    assert_eq!(case.counts(), (3, 3));
    case.pass(LIMIT - Duration::from_secs(1));
    assert_eq!(case.settle(&[]), [""; 0]);
    case.pass(Duration::from_secs(1));
    assert_eq!(case.settle(&[]), ["a"]);
    assert_eq!(case.counts(), (0, 0));
}

#[test]
fn without_a_window_nothing_is_doubted() {
    let mut case = Case::new(many(4, 5));
    let (now, mut dirty) = (case.now, Dirty::new());
    let change = Some(Change::Reset { revision: 20, all: vec![] });
    case.keys.apply(Update { unsettled: true, change }, now, Duration::ZERO, &mut dirty);
    assert_eq!(case.counts(), (0, 0));
}

#[test]
fn old_news_is_dropped() {
    let mut case = Case::new(many(1, 5));
    // Before the list, of a key in it and of one that had left by then.
    assert_eq!(case.put(kv("a/0", "h:9", 4)), [""; 0]);
    assert_eq!(case.put(kv("a/7", "h:9", 11)), [""; 0]);
    // A put that is older than what was seen of its key, be that a put or a delete.
    assert_eq!(case.put(kv("a/0", "h:20", 20)), ["a"]);
    assert_eq!(case.put(kv("a/0", "h:15", 15)), [""; 0]);
    case.revision = 29;
    assert_eq!(case.delete([0]), ["a"]);
    assert_eq!(case.put(kv("a/0", "h:20", 20)), [""; 0]);
    assert_eq!(case.counts(), (0, 0));
    // A delete that is older than the put that followed it.
    case.put(kv("a/0", "h:40", 40));
    assert_eq!(case.delete([0]), [""; 0]);
    assert_eq!(case.counts(), (1, 0));
    // A watch begins at the last known revision: it tells again what was known.
    assert_eq!(case.put(kv("a/0", "h:41", 40)), [""; 0]);
    // Another key has its own history: what comes late of it is news.
    assert_eq!(case.put(kv("a/1", "h:35", 35)), ["a"]);
}

#[test]
fn a_key_that_left_and_came_back_in_one_response_is_there() {
    let mut case = Case::new(many(1, 5));
    let gone = vec![Gone { key: "/s/a/0".into(), revision: 20 }];
    case.apply(false, Some(Change::Delta { revision: 21, set: vec![kv("a/0", "h:1", 21)], gone }));
    assert_eq!(case.counts(), (1, 0));
    // The other way round it is gone.
    let gone = vec![Gone { key: "/s/a/0".into(), revision: 31 }];
    case.apply(false, Some(Change::Delta { revision: 31, set: vec![kv("a/0", "h:2", 30)], gone }));
    assert_eq!(case.counts(), (0, 0));
}

#[test]
fn a_store_that_went_back_in_time_is_believed() {
    let mut case = Case::new(many(4, 100));
    case.revision = 1;
    assert_eq!(case.reset(many(4, 2)), [""; 0], "the same instances at other revisions change nothing");
    assert_eq!(case.put(kv("a/0", "h:9", 3)), ["a"], "and what follows is news");
    // Also what was lost with the old store and doubted.
    case.revision = 3;
    case.reset(vec![]);
    assert_eq!(case.counts(), (4, 4));
    assert_eq!(case.put(kv("a/1", "h:1001", 5)), ["a"]);
    assert_eq!(case.counts(), (4, 3));
}

#[test]
fn what_is_written_anew_with_the_same_value_changes_nothing() {
    let mut case = Case::new(many(2, 5));
    assert_eq!(case.put(kv("a/0", "h:1000", 20)), [""; 0]);
    assert_eq!(case.put(kv("a/0", " h:1000\n", 21)), [""; 0], "nor does what reads the same");
    assert_eq!(case.put(KeyValue { lease: 7, ..kv("a/0", "h:1000", 22) }), ["a"], "another lease is shown");
}

#[test]
fn a_key_that_moves_to_another_service_changes_both() {
    let decoder = Decoder::new("/s/", FormatName::Json, None);
    let mut case = Case { keys: Keys::new(decoder), now: Instant::now(), revision: 10 };
    case.reset(vec![]);
    let json = |name: &str| format!(r#"{{"name":"{name}","address":"h:1"}}"#);
    let services = |case: &Case| case.keys.services().cloned().collect::<Vec<_>>();
    let before = case.put(kv("x", &json("a"), 20));
    let first = services(&case);
    assert_eq!(before, first);
    let mut both = case.put(kv("x", &json("b"), 21));
    both.sort();
    let mut expected = [first, services(&case)].concat();
    expected.sort();
    expected.dedup();
    assert_eq!(both, expected);
    assert_eq!(case.counts(), (1, 0));
}

#[test]
fn unreadable_values_are_listed_and_hurt_nobody() {
    let long = "x".repeat(5000);
    let mut case = Case::new(vec![kv("a/0", "h:1", 5), kv("a/1", "no address", 5), kv("a/2", &long, 5)]);
    assert_eq!(case.counts(), (1, 0));
    let unreadable = case.keys.unreadable();
    assert_eq!(unreadable.iter().map(|u| &*u.key).collect::<Vec<_>>(), ["/s/a/1", "/s/a/2"]);
    assert!(unreadable.iter().all(|u| !u.reason.is_empty() && u.reason.chars().count() <= 257), "{unreadable:?}");
    // Mended, and deleted.
    case.put(kv("a/1", "h:2", 20));
    case.revision = 30;
    case.delete([2]);
    assert_eq!(case.keys.unreadable().len(), 0);
    assert_eq!(case.counts(), (2, 0));
    // An instance that becomes unreadable leaves.
    assert_eq!(case.put(kv("a/0", "?", 40)), ["a"]);
    assert_eq!(case.counts(), (1, 0));
}
