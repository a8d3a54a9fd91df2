use etcd_client::proto::{PbPutRequest, PbTxnOpRequest, PbTxnRequest, PbTxnRequestOp};

use super::*;

fn put(store: &mut Store, key: &str, value: &[u8]) {
    store.put(PbPutRequest { key: key.into(), value: value.into(), ..PbPutRequest::default() }).unwrap();
}

fn from(start_revision: i64) -> Ask {
    Ask { key: b"a".to_vec(), start_revision, puts: true, deletes: true, fragments: true, ..Ask::default() }
}

/// All that the watches are told until they know everything.
fn told(watchers: &mut Watchers, store: &Store) -> Vec<PbWatchResponse> {
    let mut all = Vec::new();
    while let Some(view) = watchers.view(store) {
        all.extend(watchers.tell(&view));
    }
    all
}

fn revisions(responses: &[PbWatchResponse]) -> Vec<Vec<i64>> {
    let revision = |event: &PbEvent| event.kv.as_ref().unwrap().mod_revision;
    responses.iter().map(|response| response.events.iter().map(revision).collect()).collect()
}

#[test]
fn each_watch_is_told_everything_once_from_where_it_began() {
    let mut store = Store::new();
    put(&mut store, "a", b"1");
    put(&mut store, "b", b"1");
    put(&mut store, "a", b"2");
    let mut watchers = Watchers::default();
    for (start, id) in [(1, 0), (4, 1), (0, 2), (6, 3)] {
        assert_eq!(watchers.create(from(start), &store).watch_id, id);
    }
    let first = told(&mut watchers, &store);
    assert_eq!(first.iter().map(|response| response.watch_id).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(revisions(&first), [vec![2, 4], vec![4]]);
    assert!(told(&mut watchers, &store).is_empty());
    put(&mut store, "a", b"3");
    put(&mut store, "a", b"4");
    assert_eq!(revisions(&told(&mut watchers, &store)), [vec![5, 6], vec![5, 6], vec![5, 6], vec![6]]);
}

#[test]
fn a_watch_that_is_far_behind_catches_up_in_batches() {
    let mut store = Store::new();
    for _ in 0..2 * BATCH + 1 {
        put(&mut store, "a", b"1");
    }
    let mut watchers = Watchers::default();
    watchers.create(from(1), &store);
    let sizes: Vec<_> = told(&mut watchers, &store).iter().map(|response| response.events.len()).collect();
    assert_eq!(sizes, [BATCH, BATCH, 1]);
}

#[test]
fn a_compaction_ends_watches_of_the_past_and_no_others() {
    let mut store = Store::new();
    let mut watchers = Watchers::default();
    watchers.create(from(1), &store);
    for _ in 0..5 {
        put(&mut store, "a", b"1");
    }
    store.compact(5).unwrap();
    watchers.create(from(4), &store);
    watchers.create(from(5), &store);
    let told = told(&mut watchers, &store);
    // The one that was there before is told what it had not heard of yet.
    assert_eq!(revisions(&told), [vec![2, 3, 4, 5, 6], vec![], vec![5, 6]]);
    let ends: Vec<_> = told.iter().map(|response| (response.canceled, response.compact_revision)).collect();
    assert_eq!(ends, [(false, 0), (true, 5), (false, 0)]);
}

#[test]
fn a_large_response_comes_in_parts() {
    let mut store = Store::new();
    let mut watchers = Watchers::default();
    watchers.create(Ask { range_end: b"b".to_vec(), ..from(0) }, &store);
    let put = |n: u8| {
        let (key, value) = (vec![b'a', n], vec![0; FRAGMENT / 2]);
        let put = PbPutRequest { key, value, ..PbPutRequest::default() };
        PbTxnRequestOp { request: Some(PbTxnOpRequest::RequestPut(put)) }
    };
    store.txn(PbTxnRequest { success: (0..4).map(put).collect(), ..PbTxnRequest::default() }).unwrap();
    let parts = told(&mut watchers, &store);
    assert_eq!(revisions(&parts), [[2], [2], [2], [2]]);
    assert_eq!(parts.iter().map(|part| part.fragment).collect::<Vec<_>>(), [true, true, true, false]);
}

#[test]
fn notices_go_to_those_who_want_them_and_heard_nothing() {
    let mut store = Store::new();
    let mut watchers = Watchers::default();
    watchers.create(Ask { progress: true, ..from(0) }, &store);
    watchers.create(from(0), &store);
    assert!(watchers.notices(&store).is_empty(), "it has only just begun");
    assert_eq!(watchers.notices(&store).iter().map(|notice| notice.watch_id).collect::<Vec<_>>(), [0]);
    put(&mut store, "a", b"1");
    assert!(watchers.notices(&store).is_empty(), "it does not know that revision yet");
    told(&mut watchers, &store);
    assert!(watchers.notices(&store).is_empty(), "it was told something");
    assert_eq!(watchers.notices(&store)[0].header.unwrap().revision, 2);
}
