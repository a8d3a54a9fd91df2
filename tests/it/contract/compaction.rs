//! Compaction: what can no longer be read or watched, and what stays as it was.

use etcd_client::{CompactionOptions, GetOptions, Txn, TxnOp, WatchOptions, proto::PbWatchResponse};

use super::{
    Case, Failures, Lack, Refused, Target, cases,
    ops::{answers, fails},
    refused, revision, run,
    streams::Watching,
};

/// The cases of this area.
pub async fn holds(target: &Target) -> Failures {
    let cases = cases![
        reads_of_before,
        what_a_compaction_is_refused_for,
        nothing_else_changes,
        a_watch_of_before_is_canceled,
        a_watch_from_the_compacted_revision,
        a_delete_at_the_compacted_revision,
        live_watches_go_on,
    ];
    run(target, "compaction", cases).await
}

/// Compacts, and returns the store's revision as the answer tells it.
async fn compact(case: &Case, at: i64) -> Result<i64, Refused> {
    let options = CompactionOptions::new().with_physical();
    Ok(revision(&case.client().compact(at, Some(options)).await?.0.header))
}

async fn reads_of_before(case: Case) {
    let first = case.put("a", "1").await;
    case.put("b", "1").await;
    let at = case.put("a", "2").await;
    let gone = case.delete("b").await;
    let now = case.put("a", "3").await;
    assert_eq!(compact(&case, at).await.unwrap(), now, "a compaction is no revision");
    let then = |revision| GetOptions::new().with_revision(revision);
    for before in [1, first, at - 1] {
        assert_eq!(case.all(then(before)).await.unwrap_err(), refused::compacted(), "{before}");
        let count = case.all(then(before).with_count_only()).await;
        assert_eq!(count.unwrap_err(), refused::compacted(), "{before}");
        let missing = case.range(case.key("none"), then(before)).await;
        assert_eq!(missing.unwrap_err(), refused::compacted(), "{before}, also where nothing is");
        let read = TxnOp::get(case.key("a"), Some(then(before)));
        let write = TxnOp::put(case.key("c"), "1", None);
        fails(&case, Txn::new().and_then([read.clone()]), refused::compacted()).await;
        fails(&case, Txn::new().and_then([write, read]), refused::compacted()).await;
    }
    for (revision, expected) in [(at, "a=2 b=1"), (gone, "a=2"), (now, "a=3"), (0, "a=3")] {
        assert_eq!(case.pairs(&case.all(then(revision)).await.unwrap().kvs), expected, "{revision}");
    }
    answers(&case, Txn::new().and_then([TxnOp::get(case.key("a"), Some(then(at)))]), "then([a=2])").await;
}

async fn what_a_compaction_is_refused_for(case: Case) {
    case.put("a", "1").await;
    let at = case.put("a", "2").await;
    let now = case.put("a", "3").await;
    assert_eq!(compact(&case, now + 1).await.unwrap_err(), refused::future());
    compact(&case, at).await.unwrap();
    for before in [at, at - 1, 1, 0, -1] {
        assert_eq!(compact(&case, before).await.unwrap_err(), refused::compacted(), "{before}");
    }
    assert_eq!(compact(&case, i64::MAX).await.unwrap_err(), refused::future());
    // Up to now, and once more when there is more.
    assert_eq!(compact(&case, now).await.unwrap(), now);
    assert_eq!(compact(&case, now).await.unwrap_err(), refused::compacted());
    let next = case.put("a", "4").await;
    let lazily = case.client().compact(next, None).await.unwrap().0;
    assert_eq!(revision(&lazily.header), next);
}

async fn nothing_else_changes(case: Case) {
    let lease = case.grant(60).await;
    case.put("a", "1").await;
    case.put_leased("a", "2", lease).await;
    case.put("gone", "1").await;
    case.delete("gone").await;
    case.put("b", "1").await;
    let before = case.all(GetOptions::new()).await.unwrap();
    compact(&case, revision(&before.header)).await.unwrap();
    assert_eq!(case.all(GetOptions::new()).await.unwrap(), before);
    // Versions count on, and a key that was gone begins anew.
    case.put("a", "3").await;
    case.put("gone", "2").await;
    assert_eq!(case.get("a").await.unwrap().version, 3);
    assert_eq!(case.get("gone").await.unwrap().version, 1);
    case.put_leased("b", "2", lease).await;
    case.client().lease_revoke(lease).await.unwrap();
    assert_eq!(case.names(&case.all(GetOptions::new()).await.unwrap().kvs), "a gone");
}

async fn a_watch_of_before_is_canceled(case: Case) {
    let first = case.put("a", "1").await;
    case.put("a", "2").await;
    let at = case.put("a", "3").await;
    compact(&case, at).await.unwrap();
    let (mut watch, live) = Watching::all(&case).await;
    for before in [1, first, at - 1] {
        // It is created like any other, and then told where the history begins.
        let id = watch.add(case.key("a"), WatchOptions::new().with_start_revision(before)).await;
        let canceled = watch.answer().await;
        let header = canceled.header;
        let plain =
            PbWatchResponse { watch_id: id, canceled: true, compact_revision: at, header, ..Default::default() };
        assert_eq!(canceled, plain);
    }
    case.put("a", "4").await;
    assert_eq!(case.told(&watch.events(live, 1).await), "a=4", "the others go on");
}

async fn a_watch_from_the_compacted_revision(case: Case) {
    case.put("a", "1").await;
    case.put("b", "1").await;
    let at = case.put("a", "2").await;
    case.put("b", "2").await;
    compact(&case, at).await.unwrap();
    let options = WatchOptions::new().with_prefix().with_prev_key().with_start_revision(at);
    let (mut watch, id) = Watching::open(&case, case.key(""), options).await;
    let events = watch.events(id, 2).await;
    assert_eq!(case.told(&events), "a=2 b=2");
    // What was before the compacted revision is not known any more; what was at it is.
    assert_eq!(events[0].prev_kv, None);
    assert_eq!(events[1].prev_kv.as_ref().unwrap().value, b"1");
}

async fn a_delete_at_the_compacted_revision(case: Case) {
    case.put("a", "1").await;
    let at = case.delete("a").await;
    case.put("b", "1").await;
    compact(&case, at).await.unwrap();
    assert_eq!(case.names(&case.all(GetOptions::new().with_revision(at)).await.unwrap().kvs), "");
    if !case.lacks(Lack::CompactedDeletes) {
        let options = WatchOptions::new().with_prefix().with_start_revision(at);
        let (mut watch, id) = Watching::open(&case, case.key(""), options).await;
        assert_eq!(case.told(&watch.events(id, 2).await), "-a b=1");
    }
}

async fn live_watches_go_on(case: Case) {
    let (mut watch, id) = Watching::all(&case).await;
    case.put("a", "1").await;
    let now = case.put("a", "2").await;
    compact(&case, now).await.unwrap();
    case.put("a", "3").await;
    compact(&case, now + 1).await.unwrap();
    case.delete("a").await;
    assert_eq!(case.told(&watch.events(id, 4).await), "a=1 a=2 a=3 -a");
}
