use etcd_client::proto::{PbDeleteRequest, PbPutRequest, PbRangeRequest};

use super::*;

fn put(store: &mut Store, key: &str, value: &str, lease: i64) {
    let (key, value) = (key.into(), value.into());
    store.put(PbPutRequest { key, value, lease, ..PbPutRequest::default() }).unwrap();
}

fn delete(store: &mut Store, key: &str) {
    store.delete(&PbDeleteRequest { key: key.into(), ..PbDeleteRequest::default() });
}

/// All keys with their values, as they were at a revision.
fn all(store: &Store, revision: i64) -> Result<String, Error> {
    let request = PbRangeRequest { key: vec![0], range_end: vec![0], revision, ..PbRangeRequest::default() };
    let text = |kv: &PbKeyValue| [&kv.key[..], b"=", &kv.value].concat();
    let kvs: Vec<_> = store.range(&request)?.kvs.iter().map(text).collect();
    Ok(String::from_utf8(kvs.join(&b' ')).unwrap())
}

#[test]
fn compaction_forgets_old_versions_and_what_was_deleted() {
    let mut store = Store::new();
    put(&mut store, "a", "1", 0);
    put(&mut store, "b", "1", 0);
    put(&mut store, "a", "2", 0);
    delete(&mut store, "b");
    put(&mut store, "a", "3", 0);
    assert_eq!(store.revision(), 6);
    assert_eq!(all(&store, 4).unwrap(), "a=2 b=1");
    assert_eq!(store.bytes(), 8);

    assert_eq!(store.compact(7).unwrap_err(), Error::FutureRevision);
    store.compact(5).unwrap();
    assert_eq!(store.compact(5).unwrap_err(), Error::Compacted);
    assert_eq!(all(&store, 4), Err(Error::Compacted));
    assert_eq!(all(&store, 5).unwrap(), "a=2");
    assert_eq!(all(&store, 0).unwrap(), "a=3");
    assert_eq!(store.bytes(), 4);
    assert!(!store.keys.contains_key(&b"b"[..]));
}

#[test]
fn the_history_outlives_a_compaction_for_a_while_and_stays_bounded() {
    let mut store = Store::new();
    for i in 0..3 * TRAILING {
        put(&mut store, "a", &i.to_string(), 0);
    }
    store.compact(store.revision()).unwrap();
    assert_eq!(store.history.forgotten(), store.revision() - TRAILING - 1);

    for _ in 0..2 * MAX_REVISIONS {
        put(&mut store, "a", "x", 0);
        assert!(store.history.len() <= MAX_REVISIONS);
    }
    assert_eq!(store.history.forgotten(), store.compacted() - 1);
    assert!(store.bytes() <= 2 * MAX_REVISIONS);
}

#[test]
fn memory_is_bounded_by_what_lives() {
    let mut store = Store::new();
    let large = "x".repeat(1 << 20);
    for _ in 0..2_000 {
        put(&mut store, "a", &large, 0);
        assert!(store.bytes() <= MAX_BYTES / 2 + large.len() + 1);
    }
    for i in 0..1_100 {
        let request =
            PbPutRequest { key: i.to_string().into(), value: large.clone().into(), ..PbPutRequest::default() };
        if store.put(request) == Err(Error::NoSpace) {
            assert!(store.bytes() > MAX_BYTES);
            return;
        }
    }
    panic!("no end to it");
}

#[tokio::test(start_paused = true)]
async fn a_rewind_brings_back_what_was_and_its_leases() {
    let mut store = Store::new();
    let now = Instant::now();
    let (lease, _) = store.leases.grant(0, 10, now).unwrap();
    let (other, _) = store.leases.grant(0, 10, now).unwrap();
    put(&mut store, "a", "1", lease);
    put(&mut store, "b", "1", other);
    let before = store.revision();
    let cluster = store.header().cluster_id;
    put(&mut store, "a", "2", 0);
    store.revoke(other).unwrap();
    put(&mut store, "c", "1", 0);
    assert_eq!(all(&store, 0).unwrap(), "a=2 c=1");

    assert_eq!(store.rewind(store.revision() + 1, now), Err(Error::FutureRevision));
    store.rewind(before, now).unwrap();
    assert_eq!((store.revision(), store.header().cluster_id), (before, cluster));
    assert_eq!(all(&store, 0).unwrap(), "a=1 b=1");
    assert_eq!(store.bytes(), 4);
    assert_eq!(store.history.since(0, 10).map(|commit| commit.revision).collect::<Vec<_>>(), [2, 3]);
    assert_eq!(store.leases.get(lease).unwrap().left(now), 10);
    assert_eq!(store.leases.get(other).unwrap().left(now), REVIVED_TTL);

    store.expire(now + std::time::Duration::from_secs(10));
    assert_eq!(all(&store, 0).unwrap(), "b=1");
    assert_eq!(store.revision(), before + 1);
    store.compact(before + 1).unwrap();
    assert_eq!(store.rewind(before, now), Err(Error::Compacted));
}

#[test]
fn equal_data_has_an_equal_hash() {
    let (mut one, mut two) = (Store::new(), Store::new());
    for store in [&mut one, &mut two] {
        put(store, "a", "1", 0);
        put(store, "b", "1", 0);
    }
    put(&mut two, "a", "2", 0);
    assert_eq!(one.hash(0).unwrap(), two.hash(3).unwrap());
    assert_ne!(one.hash(0).unwrap(), two.hash(0).unwrap());
    assert_eq!(one.hash(9), Err(Error::FutureRevision));
}
