//! Many clients at once: nothing is lost, nobody wins twice, and every change has a revision of its own.

use etcd_client::{Compare, CompareOp, GetOptions, Txn, TxnOp};
use tokio::task::JoinSet;

use super::{
    Case, Failures, Target, cases,
    ops::{get, put},
    run,
    streams::Watching,
};

/// The cases of this area.
pub async fn holds(target: &Target) -> Failures {
    run(target, "contention", cases![increments, one_winner, one_revision_each]).await
}

const CLIENTS: i64 = 200;

/// Adds one to the number in a key by compare and swap, again and again until nobody came in between.
async fn increment(case: &Case, name: &str) {
    let mut seen = case.get(name).await.unwrap();
    loop {
        let more = String::from_utf8(seen.value).unwrap().parse::<i64>().unwrap() + 1;
        let same = Compare::mod_revision(case.key(name), CompareOp::Equal, seen.mod_revision);
        let swap = Txn::new().when([same]).and_then([put(case, name, &more.to_string())]).or_else([get(case, name)]);
        let answer = case.txn(swap).await.unwrap();
        if answer.succeeded {
            return;
        }
        seen = match answer.responses.into_iter().next().unwrap().response {
            Some(etcd_client::proto::PbTxnOpResponse::ResponseRange(range)) => range.kvs.into_iter().next().unwrap(),
            other => panic!("{other:?}"),
        };
    }
}

async fn increments(case: Case) {
    let (mut watch, id) = Watching::all(&case).await;
    let first = case.put("a", "0").await;
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let case = case.clone();
        clients.spawn(async move { increment(&case, "a").await });
    }
    clients.join_all().await;
    let last = case.get("a").await.unwrap();
    assert_eq!((last.value, last.version), (CLIENTS.to_string().into_bytes(), CLIENTS + 1));
    // The watch saw each of them, in order: the revisions have no gap, for nobody else writes.
    for (number, event) in (0..).zip(watch.events(id, CLIENTS as usize + 1).await) {
        let kv = event.kv.unwrap();
        assert_eq!((kv.mod_revision, kv.value), (first + number, number.to_string().into_bytes()));
    }
}

async fn one_winner(case: Case) {
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let case = case.clone();
        clients.spawn(async move {
            let absent = Compare::create_revision(case.key("a"), CompareOp::Equal, 0);
            let put = TxnOp::put(case.key("a"), client.to_string(), None);
            case.txn(Txn::new().when([absent]).and_then([put])).await.unwrap().succeeded.then_some(client)
        });
    }
    let winners: Vec<_> = clients.join_all().await.into_iter().flatten().collect();
    assert_eq!(winners.len(), 1, "{winners:?}");
    assert_eq!(case.pairs(&case.all(GetOptions::new()).await.unwrap().kvs), format!("a={}", winners[0]));
}

async fn one_revision_each(case: Case) {
    let (mut watch, id) = Watching::all(&case).await;
    let before = case.revision().await;
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let case = case.clone();
        clients.spawn(async move { (case.put(&client.to_string(), "1").await, client) });
    }
    let mut puts = clients.join_all().await;
    puts.sort_unstable();
    let revisions: Vec<_> = puts.iter().map(|(revision, _)| *revision).collect();
    assert_eq!(revisions, (before + 1..=before + CLIENTS).collect::<Vec<_>>());
    // What is answered to the writer and what a watch tells is the same.
    let told: Vec<_> = puts.iter().map(|(_, client)| format!("{client}=1")).collect();
    assert_eq!(case.told(&watch.events(id, puts.len()).await), told.join(" "));
}
