//! What a large table costs: 10,000 and 100,000 instances, 50 to a service, in the real proxy with a real etcd.
//!
//!     cargo bench --bench table
//!
//! Prints how long the proxy takes from its start to being ready and its resident memory, each beside the same with an
//! empty etcd; the CPU time of the whole process for one change of one instance; and shows that a change rebuilds the
//! pickers of its own service only.

#![allow(clippy::print_stdout, reason = "the result")]

#[path = "support/echo.rs"]
mod echo;
#[path = "support/process.rs"]
mod process;
#[path = "support/waypost.rs"]
mod waypost;

use std::error::Error;
use std::fs;
use std::net::SocketAddr;

use etcd_client::ResponseHeader;
use process::{Etcd, Folder, INSTANCES, registration, until};
use tokio::net::TcpListener;
use tokio::time::Instant;
use waypost::Waypost;

const SERVICES: [usize; 2] = [200, 2000];
const CHANGES: usize = 1000;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = Folder::new("table")?;
    let mut etcd = Etcd::start(&folder).await?;
    // The instances of a service each have an address of their own; the services share them.
    let mut addresses = Vec::new();
    for _ in 0..INSTANCES {
        let server = TcpListener::bind("127.0.0.1:0").await?;
        addresses.push(server.local_addr()?);
        tokio::spawn(echo::run(server));
    }

    report("with an empty etcd", &folder, &etcd).await?;
    let mut there = 0;
    for services in SERVICES {
        etcd.fill(there..services, &addresses).await?;
        there = services;
        let what = format!("with {} instances in {services} services", services * INSTANCES);
        let waypost = report(&what, &folder, &etcd).await?;
        changes(&mut etcd, &waypost, services, &addresses).await?;
    }
    Ok(())
}

/// What one change among so many costs.
async fn changes(
    etcd: &mut Etcd,
    waypost: &Waypost,
    services: usize,
    addresses: &[SocketAddr],
) -> Result<(), Box<dyn Error>> {
    let before = waypost.cpu_time()?;
    for change in 0..CHANGES {
        let (service, instance) = (change % services, change % INSTANCES);
        let (key, value) = registration(service, instance, addresses[instance], 2 + change / services);
        put_and_see(etcd, waypost, key, value, change + 1 == CHANGES).await?;
    }
    let spent = (waypost.cpu_time()? - before).as_secs_f64() * 1e6 / CHANGES as f64;
    println!("one change: {spent:.0} µs of CPU, all threads, of {CHANGES} changes one after the other");

    for service in ["s0", "s1"] {
        waypost.call(service).await?;
    }
    let before = [rebuilds(waypost, "s0").await?, rebuilds(waypost, "s1").await?];
    let (key, value) = registration(0, 0, addresses[0], 100);
    put_and_see(etcd, waypost, key, value, true).await?;
    for service in ["s0", "s1"] {
        waypost.call(service).await?;
    }
    let after = [rebuilds(waypost, "s0").await?, rebuilds(waypost, "s1").await?];
    println!("pickers rebuilt for a change of s0: {} of s0, {} of s1", after[0] - before[0], after[1] - before[1]);
    if after != [before[0] + 1, before[1]] {
        return Err("a change of s0 must rebuild the picker of s0, and no other".into());
    }
    Ok(())
}

/// Starts the proxy and prints how long it took and what it takes.
async fn report(what: &str, folder: &Folder, etcd: &Etcd) -> Result<Waypost, Box<dyn Error>> {
    let start = Instant::now();
    let waypost = Waypost::start(folder, &etcd.url, "").await?;
    let took = start.elapsed().as_secs_f64() * 1e3;
    let status = fs::read_to_string(format!("/proc/{}/status", waypost.process.id()))?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("unknown").trim();
    println!("{what}: ready {took:.0} ms after the start, {resident} resident");
    Ok(waypost)
}

/// Puts, and if asked waits until the proxy's table stands at that revision.
async fn put_and_see(
    etcd: &mut Etcd,
    waypost: &Waypost,
    key: String,
    value: String,
    wait: bool,
) -> Result<(), Box<dyn Error>> {
    let put = etcd.client.put(key, value, None).await?;
    let revision = put.header().map_or(0, ResponseHeader::revision);
    if !wait {
        return Ok(());
    }
    let shown = format!(": at revision {revision},");
    until("the change is in the table", async || waypost.page("/readyz").await.ok()?.contains(&shown).then_some(()))
        .await
}

/// How many pickers were rebuilt for a service, as the metrics have it.
async fn rebuilds(waypost: &Waypost, service: &str) -> Result<u64, Box<dyn Error>> {
    let page = waypost.page("/metrics").await?;
    let sample = format!("waypost_picker_rebuilds_total{{service=\"{service}\"}} ");
    let value = page.lines().find_map(|line| line.strip_prefix(&sample));
    Ok(value.ok_or_else(|| format!("no {sample}among the metrics"))?.parse()?)
}
