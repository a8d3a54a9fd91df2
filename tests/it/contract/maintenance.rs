//! What a server tells of itself: status, members, alarms, hashes; and what it answers while authentication is off.

use etcd_client::{AlarmAction, AlarmType, GetOptions, WatchOptions, proto::PbResponseHeader};
use tonic::Code;

use super::{
    Case, Failures, Lack, Refused, Target, cases, refused, revision, run,
    streams::{KeepAlive, Watching},
};

/// The cases of this area.
pub async fn holds(target: &Target) -> Failures {
    let cases = cases![
        status,
        the_only_member,
        headers,
        no_alarms,
        hashes,
        defragmenting,
        authentication_is_off,
        what_it_does_not_know,
    ];
    run(target, "maintenance", cases).await
}

async fn status(case: Case) {
    let now = case.put("a", "1").await;
    let status = case.client().status().await.unwrap().0;
    let header = status.header.unwrap();
    assert_eq!(header.revision, now);
    let numbers: Vec<u32> = status.version.split('.').map(|number| number.parse().unwrap()).collect();
    assert!(numbers.len() == 3 && numbers[0] == 3, "{}", status.version);
    assert_eq!(status.leader, header.member_id, "who is alone leads");
    assert!(header.member_id != 0 && !status.is_learner);
    assert_eq!(status.raft_term, header.raft_term);
    assert!(0 < status.raft_applied_index && status.raft_applied_index <= status.raft_index, "{status:?}");
    assert!(0 < status.db_size_in_use && status.db_size_in_use <= status.db_size, "{status:?}");
    assert_eq!(status.errors, Vec::<String>::new());
    // Every write is one step of raft more.
    case.put("a", "2").await;
    assert!(case.client().status().await.unwrap().0.raft_index > status.raft_index);
}

async fn the_only_member(case: Case) {
    let answer = case.client().member_list().await.unwrap().0;
    let header = answer.header.unwrap();
    let [member] = &answer.members[..] else { panic!("{:?}", answer.members) };
    assert_eq!(member.id, header.member_id);
    assert!(!member.is_learner && !member.name.is_empty(), "{member:?}");
    let at = format!("http://{}", case.address());
    assert_eq!(member.client_ur_ls, [at], "where clients reach it");
    assert_eq!(member.peer_ur_ls.len(), 1);
}

async fn headers(case: Case) {
    let mut client = case.client();
    case.put("a", "1").await;
    let (mut watch, created) = Watching::ask(&case, case.key("a"), WatchOptions::new()).await;
    let compacted = case.put("a", "2").await;
    let event = watch.message().await;
    let same = |header: Option<PbResponseHeader>| {
        let header = header.expect("a header");
        (header.cluster_id, header.member_id, header.raft_term)
    };
    let lease = case.grant(60).await;
    let now = case.header().await;
    // Each tells who answers, and the store's revision when it did.
    for (call, header) in [
        ("compact", client.compact(compacted, None).await.unwrap().0.header),
        ("grant", client.lease_grant(60, None).await.unwrap().0.header),
        ("time to live", client.lease_time_to_live(lease, None).await.unwrap().0.header),
        ("time to live of none", client.lease_time_to_live(424_242, None).await.unwrap().0.header),
        ("leases", client.leases().await.unwrap().0.header),
        ("keep-alive", KeepAlive::open(&case, lease).await.1.header),
        ("keep-alive of none", KeepAlive::open(&case, 424_242).await.1.header),
        ("revoke", client.lease_revoke(lease).await.unwrap().0.header),
        ("status", client.status().await.unwrap().0.header),
        ("hash", client.hash_kv(0).await.unwrap().0.header),
    ] {
        assert_eq!(header, Some(now), "{call}");
    }
    if !case.lacks(Lack::AlarmHeader) {
        let alarms = client.alarm(AlarmAction::Get, AlarmType::None, None).await.unwrap().0;
        assert_eq!(alarms.header, Some(now), "alarms");
    }
    // What is about members knows no revision.
    let members = client.member_list().await.unwrap().0.header;
    assert_eq!(members, Some(PbResponseHeader { revision: 0, ..now }), "members");
    assert_eq!(same(created.header), same(Some(now)), "created");
    assert_eq!(event.header, Some(now), "an event");
    watch.stream.watch(case.key("a"), Some(WatchOptions::new().with_start_revision(1))).await.unwrap();
    assert_eq!(watch.answer().await.header, Some(now), "created");
    assert_eq!(same(watch.answer().await.header), same(Some(now)), "canceled");
}

async fn no_alarms(case: Case) {
    let answer = case.client().alarm(AlarmAction::Get, AlarmType::None, None).await.unwrap().0;
    assert_eq!(answer.alarms, []);
}

async fn hashes(case: Case) {
    case.put("a", "1").await;
    let then = case.put("b", "1").await;
    let hash = async |at| case.client().hash_kv(at).await.map(|answer| answer.0).map_err(Refused::from);
    let first = hash(then).await.unwrap();
    assert_eq!(revision(&first.header), then);
    // The same history has the same hash, whatever comes after; another has another.
    let next = case.put("b", "1").await;
    let again = hash(then).await.unwrap();
    assert_eq!((again.hash, revision(&again.header)), (first.hash, next));
    assert_ne!(hash(next).await.unwrap().hash, first.hash);
    assert_eq!(hash(next + 1).await.unwrap_err(), refused::future());
    case.client().compact(next, None).await.unwrap();
    assert_eq!(hash(then).await.unwrap_err(), refused::compacted());
    if !case.lacks(Lack::HashOfCompacted) {
        hash(next).await.unwrap();
    }
    let last = case.put("c", "1").await;
    assert_eq!(hash(last).await.unwrap().compact_revision, next);
}

async fn defragmenting(case: Case) {
    case.put("a", "1").await;
    let before = case.all(GetOptions::new()).await.unwrap();
    case.client().defragment().await.unwrap();
    assert_eq!(case.all(GetOptions::new()).await.unwrap(), before);
}

#[derive(Clone, PartialEq, prost::Message)]
struct AuthStatus {
    #[prost(message, optional, tag = "1")]
    header: Option<PbResponseHeader>,
    #[prost(bool, tag = "2")]
    enabled: bool,
}

async fn authentication_is_off(case: Case) {
    let token = case.client().auth_client().authenticate("root".into(), "secret".into()).await;
    assert_eq!(Refused::from(token.unwrap_err()), refused::auth_not_enabled());
    let status = case.call::<(), AuthStatus>("/etcdserverpb.Auth/AuthStatus", ()).await;
    if case.lacks(Lack::AuthStatus) {
        assert_eq!(status.unwrap_err().0, Code::Unimplemented);
    } else {
        let status = status.unwrap();
        assert!(!status.enabled);
        assert_eq!(revision(&status.header), case.revision().await);
    }
}

async fn what_it_does_not_know(case: Case) {
    for path in ["/etcdserverpb.KV/Nothing", "/etcdserverpb.Nothing/Range", "/nothing.KV/Range"] {
        let refusal = case.call::<(), ()>(path, ()).await.unwrap_err();
        assert_eq!(refusal.0, Code::Unimplemented, "{path}");
    }
}
