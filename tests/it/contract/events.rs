//! What events tell: which changes make one, in which order, and what each carries.

use etcd_client::{
    Compare, CompareOp, DeleteOptions, Txn, WatchOptions,
    proto::{PbEvent, PbKeyValue},
};
use tokio::task::JoinSet;

use super::{
    Case, Failures, Target, ages, cases,
    ops::{branches, delete, get, put},
    run,
    streams::Watching,
};

/// The cases of this area.
pub async fn holds(target: &Target) -> Failures {
    let cases = cases![
        creations_and_changes,
        deletes_carry_no_value,
        what_was_before,
        what_makes_no_event,
        the_order_within_a_revision,
        a_long_past_in_order,
        the_past_joins_the_present,
        a_slow_reader_misses_nothing,
    ];
    run(target, "events", cases).await
}

fn kv(event: &PbEvent) -> &PbKeyValue {
    event.kv.as_ref().expect("a key")
}

async fn creations_and_changes(case: Case) {
    let (mut watch, id) = Watching::all(&case).await;
    let lease = case.grant(60).await;
    let created = case.put("a", "1").await;
    let changed = case.put_leased("a", "1", lease).await;
    let now = case.get("a").await.unwrap();
    let gone = case.delete("a").await;
    let back = case.put("a", "").await;
    let events = watch.events(id, 4).await;
    assert_eq!(case.told(&events), "a=1 a=1 -a a=", "also what puts the same value");
    // Created where the version is 1, or where both revisions are the same; changed otherwise.
    assert_eq!(ages(kv(&events[0])), (1, created, created));
    assert_eq!(ages(kv(&events[1])), (2, created, changed));
    assert_eq!(kv(&events[1]), &now, "the key as a read gives it");
    assert_eq!(kv(&events[2]).mod_revision, gone);
    assert_eq!(ages(kv(&events[3])), (1, back, back));
    assert!(events.iter().all(|event| event.prev_kv.is_none()), "it was not asked for");
}

async fn deletes_carry_no_value(case: Case) {
    let (mut watch, id) = Watching::all(&case).await;
    let lease = case.grant(60).await;
    case.put_leased("a", "1", lease).await;
    let gone = case.delete("a").await;
    case.put_leased("b", "1", lease).await;
    case.client().lease_revoke(lease).await.unwrap();
    let events = watch.events(id, 4).await;
    for (event, name, mod_revision) in [(&events[1], "a", gone), (&events[3], "b", gone + 2)] {
        // The key, and when it went; nothing else.
        assert_eq!(kv(event), &PbKeyValue { key: case.key(name), mod_revision, ..PbKeyValue::default() });
    }
}

async fn what_was_before(case: Case) {
    let previous = || WatchOptions::new().with_prefix().with_prev_key();
    let (mut watch, id) = Watching::open(&case, case.key(""), previous()).await;
    let lease = case.grant(60).await;
    let first = case.put_leased("a", "1", lease).await;
    let one = case.get("a").await;
    case.put("a", "2").await;
    let two = case.get("a").await;
    case.delete("a").await;
    case.put("a", "3").await;
    let three = case.get("a").await;
    case.delete_range(case.key(""), DeleteOptions::new().with_prefix()).await.unwrap();
    // A key that was not there has no value before, whether it never was or is gone.
    let expected = [None, one, two, None, three];
    let check = |events: Vec<PbEvent>| {
        assert_eq!(case.told(&events), "a=1 a=2 -a a=3 -a");
        assert_eq!(events.into_iter().map(|event| event.prev_kv).collect::<Vec<_>>(), expected);
    };
    check(watch.events(id, 5).await);
    // The past tells the same.
    let past = watch.add(case.key(""), previous().with_start_revision(first)).await;
    check(watch.events(past, 5).await);
}

async fn what_makes_no_event(case: Case) {
    let (mut watch, id) = Watching::all(&case).await;
    case.put("a", "1").await;
    case.delete("none").await;
    case.delete_range(case.key("x"), DeleteOptions::new().with_prefix()).await.unwrap();
    let empty = case.grant(60).await;
    case.client().lease_revoke(empty).await.unwrap();
    let never = Compare::version(case.key("a"), CompareOp::Equal, 0);
    case.txn(Txn::new().when([never]).and_then([put(&case, "b", "1")])).await.unwrap();
    case.txn(Txn::new().and_then([get(&case, "a"), delete(&case, "none")])).await.unwrap();
    case.txn(Txn::new().and_then([put(&case, "b", "1"), put(&case, "b", "2")])).await.unwrap_err();
    case.put("z", "1").await;
    assert_eq!(case.told(&watch.events(id, 2).await), "a=1 z=1");
}

async fn the_order_within_a_revision(case: Case) {
    let first = case.revision().await + 1;
    for name in ["m", "c", "x"] {
        case.put(name, "1").await;
    }
    let (mut watch, live) = Watching::all(&case).await;
    // A transaction: as it is written. A range that is deleted: by key.
    let nested = branches([put(&case, "b", "1"), delete(&case, "c")], []);
    let operations = [put(&case, "z", "1"), delete(&case, "x"), nested, put(&case, "a", "1")];
    case.txn(Txn::new().and_then(operations)).await.unwrap();
    case.delete_range(case.key(""), DeleteOptions::new().with_prefix()).await.unwrap();
    let expected = "z=1 -x b=1 -c a=1 -a -b -m -z";
    assert_eq!(case.told(&watch.events(live, 9).await), expected);
    let past = watch.add(case.key(""), WatchOptions::new().with_prefix().with_start_revision(first)).await;
    assert_eq!(case.told(&watch.events(past, 12).await), format!("m=1 c=1 x=1 {expected}"));
}

async fn a_long_past_in_order(case: Case) {
    // More revisions than etcd sends in one go, which is 1,000; each of several keys, which stay together.
    const REVISIONS: i64 = 1_100;
    let first = case.revision().await + 1;
    let mut writers = JoinSet::new();
    for writer in 0..10 {
        let case = case.clone();
        writers.spawn(async move {
            for round in 0..REVISIONS / 10 {
                let name = format!("{writer}/{round}");
                case.put_together(&[(&name, "1"), ("last", &name)]).await;
            }
        });
    }
    writers.join_all().await;
    let options = WatchOptions::new().with_prefix().with_start_revision(first);
    let (mut watch, id) = Watching::open(&case, case.key(""), options).await;
    let events = watch.events(id, 2 * REVISIONS as usize).await;
    for (revision, pair) in (first..).zip(events.chunks(2)) {
        assert_eq!((kv(&pair[0]).mod_revision, kv(&pair[1]).mod_revision), (revision, revision));
        assert_eq!(case.name(&kv(&pair[0]).key).as_bytes(), kv(&pair[1]).value, "in the order of the transaction");
        assert_eq!(kv(&pair[1]).version, revision - first + 1);
    }
}

async fn the_past_joins_the_present(case: Case) {
    // Watches that begin while somebody writes miss nothing and see nothing twice.
    const COUNT: i64 = 300;
    let first = case.put("a", "0").await;
    let writer = tokio::spawn({
        let case = case.clone();
        async move {
            for number in 1..COUNT {
                case.put("a", &number.to_string()).await;
            }
        }
    });
    let options = WatchOptions::new().with_start_revision(first);
    let mut watches = Vec::new();
    for _ in 0..10 {
        watches.push(Watching::open(&case, case.key("a"), options.clone()).await);
        case.revision().await;
    }
    writer.await.unwrap();
    for (watch, id) in &mut watches {
        let events = watch.events(*id, COUNT as usize).await;
        for (number, event) in (0..).zip(events) {
            assert_eq!(kv(&event).mod_revision, first + number);
        }
    }
}

async fn a_slow_reader_misses_nothing(case: Case) {
    // More than the buffers between the two are likely to hold, before it reads a word.
    const WRITERS: i64 = 20;
    const PUTS: i64 = 100;
    let (mut watch, id) = Watching::all(&case).await;
    let first = case.revision().await + 1;
    let value = "x".repeat(1 << 10);
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let (case, value) = (case.clone(), value.clone());
        writers.spawn(async move {
            for _ in 0..PUTS {
                case.put(&writer.to_string(), &value).await;
            }
        });
    }
    writers.join_all().await;
    let count = WRITERS * PUTS;
    for (revision, event) in (first..).zip(watch.events(id, count as usize).await) {
        assert_eq!((kv(&event).mod_revision, kv(&event).value.len()), (revision, value.len()));
    }
}
