//! What it costs to probe 10,000 endpoints every 10 s over gRPC, and whether calls notice.
//!
//!     cargo bench --bench health
//!
//! Two proxies follow one registry; one of them probes. Its CPU time beside the other's is the cost. Calls go through
//! either in turn to a service that is not probed, one after the other; what is compared are the medians of their
//! latencies. The endpoints are in this process, so that accepting a thousand connections a second costs the same
//! machine as well.

#![allow(clippy::print_stdout, reason = "the result")]

#[path = "support/echo.rs"]
mod echo;
#[allow(dead_code, reason = "other benchmarks ask for more")]
#[path = "support/process.rs"]
mod process;
#[allow(dead_code, reason = "other benchmarks ask for more")]
#[path = "support/waypost.rs"]
mod waypost;

use std::error::Error;
use std::time::Duration;

use etcd_client::{Client, Txn, TxnOp};
use process::{Folder, Process, free_address, until};
use tokio::net::TcpListener;
use tokio::time::Instant;
use waypost::Waypost;

const SERVICES: usize = 100;
const INSTANCES: usize = 100;
const INTERVAL: Duration = Duration::from_secs(10);
const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(5);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = Folder::new("health")?;
    let etcd = free_address()?.to_string();
    let _etcd = Process::start(&folder, env!("CARGO_BIN_EXE_waypost"), ["etcd", "--listen", &etcd])?;
    let mut client = until("the registry answers", async || {
        let mut client = Client::connect([&etcd], None).await.ok()?;
        client.get("/", None).await.ok().map(|_| client)
    })
    .await?;
    for service in 0..SERVICES {
        let mut puts = Vec::new();
        for instance in 0..INSTANCES {
            let server = TcpListener::bind("127.0.0.1:0").await?;
            let address = server.local_addr()?.to_string();
            puts.push(TxnOp::put(format!("/services/s{service}/{instance}"), address, None));
            tokio::spawn(echo::run(server));
        }
        client.txn(Txn::new().and_then(puts)).await?;
    }
    let server = TcpListener::bind("127.0.0.1:0").await?;
    client.put("/services/hot/1", server.local_addr()?.to_string(), None).await?;
    tokio::spawn(echo::run(server));

    let probe = format!("probe: {{kind: grpc, interval: {}s}}", INTERVAL.as_secs());
    let probing =
        format!("services: {{default: {{health: {{{probe}}}}}, named: {{hot: {{health: {{probe: {{kind: off}}}}}}}}}}");
    let etcd = format!("http://{etcd}");
    let without = Waypost::start(&folder, &etcd, "").await?;
    let with = Waypost::start(&folder, &etcd, &probing).await?;
    // Every endpoint is asked once within the first interval.
    tokio::time::sleep(INTERVAL + Duration::from_secs(1)).await;
    if good(&with).await? < (SERVICES * INSTANCES) as u64 {
        return Err("not every endpoint was probed with success".into());
    }

    let (start, before) = (Instant::now(), (without.cpu_time()?, with.cpu_time()?, good(&with).await?));
    tokio::time::sleep(2 * INTERVAL).await;
    let took = start.elapsed().as_secs_f64();
    let probes = good(&with).await? - before.2;
    let spent = [without.cpu_time()? - before.0, with.cpu_time()? - before.1].map(|time| time.as_secs_f64());
    println!(
        "{probes} probes in {took:.0} s: {:.1} % of a core, {:.0} µs each; without probes {:.1} %",
        spent[1] / took * 100.0,
        (spent[1] - spent[0]) * 1e6 / probes as f64,
        spent[0] / took * 100.0,
    );

    let mut ratios = Vec::new();
    for _ in 0..ROUNDS {
        let (without, with) = (latency(&without).await?, latency(&with).await?);
        ratios.push(with / without);
        println!("median latency of a call: {:.1} µs without probes, {:.1} µs with", without * 1e6, with * 1e6);
    }
    ratios.sort_unstable_by(f64::total_cmp);
    let (least, median, most) = (ratios[0], ratios[ROUNDS / 2], ratios[ROUNDS - 1]);
    println!("with probes to without: {median:.2} (from {least:.2} to {most:.2}), of {ROUNDS} rounds");
    Ok(())
}

/// Probes that found their endpoint well.
async fn good(waypost: &Waypost) -> Result<u64, Box<dyn Error>> {
    let page = waypost.page("/metrics").await?;
    let sample = page.lines().find_map(|line| line.strip_prefix("waypost_probes_total{result=\"good\"} "));
    Ok(sample.map_or(Ok(0), str::parse)?)
}

/// The median of the latencies of a round, in seconds.
async fn latency(waypost: &Waypost) -> Result<f64, Box<dyn Error>> {
    let start = Instant::now();
    let mut times = Vec::new();
    while start.elapsed() < ROUND {
        let start = Instant::now();
        if !waypost.call("hot").await? {
            return Err("a call was not answered".into());
        }
        times.push(start.elapsed());
    }
    times.sort_unstable();
    Ok(times[times.len() / 2].as_secs_f64())
}
