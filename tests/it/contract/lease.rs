//! Leases: their ids and times, what holds them up, and what goes with them when they end.

use etcd_client::{
    GetOptions, LeaseGrantOptions, LeaseTimeToLiveOptions, WatchOptions, proto::PbLeaseTimeToLiveResponse,
};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

use super::{
    Case, Failures, Refused, Target, cases, refused, revision, run,
    streams::{KeepAlive, Watching},
};

/// The cases of this area.
pub async fn holds(target: &Target) -> Failures {
    let cases = cases![
        ids,
        times_to_live,
        a_revoked_lease_takes_its_keys,
        what_cannot_be_revoked,
        the_time_that_is_left,
        all_leases,
        keep_alives_of_several,
        leases_end_by_themselves,
    ];
    run(target, "lease", cases).await
}

async fn try_grant(case: &Case, ttl: i64, id: i64) -> Result<(i64, i64), Refused> {
    let answer = case.client().lease_grant(ttl, Some(LeaseGrantOptions::new().with_id(id))).await?.0;
    assert_eq!(answer.error, "");
    assert_eq!(revision(&answer.header), case.revision().await, "a lease is no revision");
    Ok((answer.id, answer.ttl))
}

async fn left(case: &Case, id: i64) -> PbLeaseTimeToLiveResponse {
    let mut answer =
        case.client().lease_time_to_live(id, Some(LeaseTimeToLiveOptions::new().with_keys())).await.unwrap().0;
    assert_eq!(answer.id, id);
    answer.keys.sort();
    answer
}

async fn ids(case: Case) {
    let before = case.put("a", "1").await;
    let (one, two) = (try_grant(&case, 60, 0).await.unwrap().0, try_grant(&case, 60, 0).await.unwrap().0);
    assert!(one > 0 && two > 0 && one != two, "{one} {two}");
    for id in [77, -3, i64::MAX] {
        assert_eq!(try_grant(&case, 60, id).await.unwrap(), (id, 60));
        assert_eq!(try_grant(&case, 90, id).await.unwrap_err(), refused::lease_exists(), "{id}");
        assert_eq!(left(&case, id).await.granted_ttl, 60);
        case.client().lease_revoke(id).await.unwrap();
        assert_eq!(try_grant(&case, 60, id).await.unwrap(), (id, 60), "once more after its end");
        case.client().lease_revoke(id).await.unwrap();
    }
    assert_eq!(case.revision().await, before);
}

async fn times_to_live(case: Case) {
    // At least as long as an election may take twice over; at most 9,000,000,000 s.
    for (asked, granted) in
        [(i64::MIN, 2), (-5, 2), (0, 2), (1, 2), (2, 2), (3, 3), (60, 60), (9_000_000_000, 9_000_000_000)]
    {
        let (id, ttl) = try_grant(&case, asked, 0).await.unwrap();
        assert_eq!((ttl, left(&case, id).await.granted_ttl), (granted, granted), "{asked}");
        case.client().lease_revoke(id).await.unwrap();
    }
    for asked in [9_000_000_001, i64::MAX] {
        assert_eq!(try_grant(&case, asked, 0).await.unwrap_err(), refused::ttl_too_large(), "{asked}");
    }
}

async fn a_revoked_lease_takes_its_keys(case: Case) {
    let (lease, other) = (case.grant(60).await, case.grant(60).await);
    let (mut watch, id) = Watching::all(&case).await;
    for name in ["c", "a", "b"] {
        case.put_leased(name, "1", lease).await;
    }
    case.put_leased("kept", "1", other).await;
    let before = case.put("own", "1").await;
    watch.events(id, 5).await;

    let answer = case.client().lease_revoke(lease).await.unwrap().0;
    assert_eq!(revision(&answer.header), before + 1);
    assert_eq!(case.names(&case.all(GetOptions::new()).await.unwrap().kvs), "kept own");
    // All of them in one revision, by key.
    let events = watch.events(id, 3).await;
    assert_eq!(case.told(&events), "-a -b -c");
    assert!(events.iter().all(|event| event.kv.as_ref().unwrap().mod_revision == before + 1));
    // One without keys is no revision.
    let empty = case.grant(60).await;
    let answer = case.client().lease_revoke(empty).await.unwrap().0;
    assert_eq!(revision(&answer.header), before + 1);
    assert_eq!(case.put("own", "2").await, before + 2);
}

async fn what_cannot_be_revoked(case: Case) {
    let lease = case.grant(60).await;
    case.client().lease_revoke(lease).await.unwrap();
    for id in [lease, 424_242, 0, -1] {
        let refusal = Refused::from(case.client().lease_revoke(id).await.unwrap_err());
        assert_eq!(refusal, refused::lease_not_found(), "{id}");
    }
}

async fn the_time_that_is_left(case: Case) {
    let lease = case.grant(60).await;
    assert_eq!(left(&case, lease).await.keys, Vec::<Vec<u8>>::new());
    let now = case.put_leased("b", "1", lease).await;
    let now = now.max(case.put_leased("a", "1", lease).await);
    let answer = left(&case, lease).await;
    assert_eq!((answer.granted_ttl, answer.keys), (60, vec![case.key("a"), case.key("b")]));
    assert!((50..=60).contains(&answer.ttl), "{}", answer.ttl);
    assert_eq!(revision(&answer.header), now);
    // Keys only when they are asked for; none that left.
    case.put("a", "2").await;
    case.delete("b").await;
    case.put_leased("c", "1", lease).await;
    assert_eq!(case.client().lease_time_to_live(lease, None).await.unwrap().keys().len(), 0);
    assert_eq!(left(&case, lease).await.keys, [case.key("c")]);

    case.client().lease_revoke(lease).await.unwrap();
    for id in [lease, 424_242, 0] {
        let answer = left(&case, id).await;
        assert_eq!((answer.ttl, answer.granted_ttl, answer.keys.len()), (-1, 0, 0), "{id}");
    }
}

async fn all_leases(case: Case) {
    let leases = async || {
        let answer = case.client().leases().await.unwrap().0;
        assert_eq!(revision(&answer.header), case.revision().await);
        answer.leases.iter().map(|lease| lease.id).collect::<Vec<_>>()
    };
    let others = leases().await;
    let mut own = Vec::new();
    for ttl in [3_000, 1_000, 2_000] {
        own.push(case.grant(ttl).await);
    }
    // Those that end sooner come first.
    let listed: Vec<_> = leases().await.into_iter().filter(|id| !others.contains(id)).collect();
    assert_eq!(listed, [own[1], own[2], own[0]]);
    case.client().lease_revoke(own[1]).await.unwrap();
    let listed: Vec<_> = leases().await.into_iter().filter(|id| !others.contains(id)).collect();
    assert_eq!(listed, [own[2], own[0]]);
}

async fn keep_alives_of_several(case: Case) {
    let (one, two) = (case.grant(60).await, case.grant(90).await);
    let now = case.revision().await;
    let (mut stream, first) = KeepAlive::open(&case, one).await;
    assert_eq!((first.id, first.ttl, revision(&first.header)), (one, 60, now));
    assert_eq!(stream.renew(two).await, 90);
    // A lease that is not there is answered so, and the stream goes on.
    assert_eq!(stream.renew(424_242).await, 0);
    assert_eq!(stream.renew(0).await, 0);
    assert_eq!(stream.renew(one).await, 60);
    // Several at once are answered in their order.
    for lease in [two, 424_242, one] {
        stream.send(lease).await;
    }
    for (lease, ttl) in [(two, 90), (424_242, 0), (one, 60)] {
        let answer = stream.answer().await;
        assert_eq!((answer.id, answer.ttl), (lease, ttl));
    }
    case.client().lease_revoke(one).await.unwrap();
    assert_eq!((stream.renew(one).await, stream.renew(two).await), (0, 90));
    assert_eq!(case.revision().await, now, "a keep-alive is no revision");
    assert!(stream.close().await, "the server ends its side as well");
    assert!(left(&case, two).await.ttl > 80, "the lease lives on");
    // A stream that begins with one that is not there.
    let (mut stream, first) = KeepAlive::open(&case, 424_242).await;
    assert_eq!((first.id, first.ttl), (424_242, 0));
    assert_eq!(stream.renew(two).await, 90);
}

/// The shortest that is granted.
const TTL: Duration = Duration::from_secs(2);

async fn leases_end_by_themselves(case: Case) {
    // Each waits for some seconds: together they wait as long as one.
    tokio::join!(an_end_takes_the_keys(&case), a_keep_alive_postpones_the_end(&case), a_key_that_left_stays(&case));
}

async fn an_end_takes_the_keys(case: &Case) {
    let (mut watch, id) = Watching::open(case, case.key("end/"), WatchOptions::new().with_prefix()).await;
    let (start, lease) = (Instant::now(), case.grant(2).await);
    for name in ["end/b", "end/a"] {
        case.put_leased(name, "1", lease).await;
    }
    assert_eq!(case.told(&watch.events(id, 2).await), "end/b=1 end/a=1");
    let events = watch.events(id, 2).await;
    assert!(start.elapsed() >= TTL, "{:?} is too soon", start.elapsed());
    assert_eq!(case.told(&events), "-end/a -end/b");
    let revisions: Vec<_> = events.iter().map(|event| event.kv.as_ref().unwrap().mod_revision).collect();
    assert_eq!(revisions[0], revisions[1], "one revision");

    assert_eq!(case.get("end/a").await, None);
    assert_eq!(left(case, lease).await.ttl, -1);
    let (_, answer) = KeepAlive::open(case, lease).await;
    assert_eq!((answer.id, answer.ttl), (lease, 0));
    let refusal = case.client().lease_revoke(lease).await.unwrap_err();
    assert_eq!(Refused::from(refusal), refused::lease_not_found());
}

async fn a_keep_alive_postpones_the_end(case: &Case) {
    let (mut watch, id) = Watching::open(case, case.key("kept"), WatchOptions::new()).await;
    let (start, lease) = (Instant::now(), case.grant(2).await);
    case.put_leased("kept", "1", lease).await;
    let (mut stream, first) = KeepAlive::open(case, lease).await;
    assert_eq!(first.ttl, 2);
    let mut last = Instant::now();
    while start.elapsed() < 2 * TTL {
        sleep_until(last + TTL / 8).await;
        last = Instant::now();
        assert_eq!(stream.renew(lease).await, 2, "after {:?}", start.elapsed());
        assert!(case.get("kept").await.is_some(), "after {:?}", start.elapsed());
    }
    assert_eq!(case.told(&watch.events(id, 2).await), "kept=1 -kept");
    assert!(last.elapsed() >= TTL, "{:?} after the last keep-alive is too soon", last.elapsed());
    assert_eq!(stream.renew(lease).await, 0);
}

async fn a_key_that_left_stays(case: &Case) {
    let (mut watch, id) = Watching::open(case, case.key("left/"), WatchOptions::new().with_prefix()).await;
    let lease = case.grant(2).await;
    case.put_leased("left/a", "1", lease).await;
    case.put_leased("left/b", "1", lease).await;
    case.put("left/a", "2").await;
    let told = case.told(&watch.events(id, 4).await);
    assert_eq!(told, "left/a=1 left/b=1 left/a=2 -left/b");
    assert_eq!(case.get("left/a").await.unwrap().lease, 0);
}
