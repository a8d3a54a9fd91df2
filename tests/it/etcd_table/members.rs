//! A cluster of three: members die, stand still, and are found by themselves.

use std::time::Duration;

use waypost::etcd::{self, Error};

use super::super::harness::{Etcd, Version};
use super::{client, configured, count, put, quick, start, state, until, url};

#[tokio::test]
async fn a_member_that_dies_or_stands_still_is_left_for_another() {
    for version in Version::LOCAL {
        let mut etcd = Etcd::cluster(version, 3, &[]).await;
        let client = client(&etcd);
        put(&client, "/services/a/0", "10.0.0.1:1").await;
        let (table, _tasks) = start(&client, "/services/", quick()).await;
        for at in 0..3 {
            etcd.kill(at).await;
            put(&client, &format!("/services/a/dead{at}"), &format!("10.0.1.{at}:1")).await;
            until(&table, |table| count(table, "a") == 2 * at + 2).await;
            etcd.restart(at).await;
            etcd.freeze(at).await;
            put(&client, &format!("/services/a/still{at}"), &format!("10.0.2.{at}:1")).await;
            until(&table, |table| count(table, "a") == 2 * at + 3).await;
            etcd.thaw(at).await;
        }
        let status = state(&table);
        assert_eq!(status.doubted, 0);
    }
}

#[tokio::test]
async fn a_member_cut_off_from_the_quorum_does_not_hold_a_watch() {
    let mut etcd = Etcd::cluster(Version::LOCAL[0], 3, &[]).await;
    let one = configured(etcd::Config { endpoints: vec![url(&etcd, 0)], ..etcd::Config::default() });
    put(&one, "/services/a/0", "10.0.0.1:1").await;
    let (table, _tasks) = start(&one, "/services/", quick()).await;
    etcd.kill(1).await;
    etcd.kill(2).await;
    until(&table, |table| state(table).error.is_some()).await;
    assert_eq!(count(&table, "a"), 1);
    etcd.restart(1).await;
    etcd.restart(2).await;
    put(&one, "/services/a/1", "10.0.0.2:1").await;
    until(&table, |table| count(table, "a") == 2 && state(table).error.is_none()).await;
}

#[tokio::test]
async fn members_are_found_and_the_configured_one_is_kept() {
    let mut etcd = Etcd::cluster(Version::LOCAL[0], 3, &[]).await;
    let client = configured(etcd::Config {
        endpoints: vec![url(&etcd, 0)],
        auto_sync: Some(Duration::from_millis(200)),
        ..etcd::Config::default()
    });
    super::super::harness::until("three members", || client.members().len() == 3).await;
    assert_eq!(&*client.members()[0], url(&etcd, 0));
    etcd.kill(0).await;
    put(&client, "/k", "v").await;
    client.sync().await.unwrap();
    assert_eq!(&*client.members()[0], url(&etcd, 0), "the configured one stays, dead as it is");
}

#[tokio::test]
async fn an_advertised_address_that_leads_elsewhere_is_not_used() {
    let other = Etcd::start(Version::LOCAL[0]).await;
    // The later flag counts: it advertises another cluster's address, and one where nobody is.
    let advertised = format!("{},http://127.0.0.1:9", url(&other, 0));
    let etcd = Etcd::cluster(Version::LOCAL[0], 1, &["--advertise-client-urls", &advertised]).await;
    let client = client(&etcd);
    client.sync().await.unwrap();
    assert_eq!(client.members().len(), 1);
}

#[tokio::test]
async fn without_any_member_an_error_names_the_step_and_the_member() {
    let config = etcd::Config { endpoints: vec!["http://127.0.0.1:9".to_owned()], ..etcd::Config::default() };
    let error = configured(config).list(b"/services/").await.unwrap_err();
    assert!(matches!(error, Error::Call { .. }), "{error:?}");
    assert!(error.is_retryable());
    let text = error.to_string();
    assert!(text.starts_with("range at http://127.0.0.1:9 failed: "), "{text}");
    assert!(text.to_lowercase().contains("refused"), "{text}");
}
