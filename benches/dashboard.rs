//! Whether calls notice that people look at the dashboard: the CPU time of the proxy per call, with ten live streams open
//! and with none, in alternating rounds.
//!
//!     cargo bench --bench dashboard
//!
//! A thousand endpoints in a hundred services are registered; calls go to one more. The streams follow five pages, two
//! each, and read all that they are sent.

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
use futures_util::future::try_join_all;
use process::{Folder, Process, free_address, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use waypost::Waypost;

const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(6);
const AT_ONCE: usize = 16;
const PAGES: [&str; 5] = ["/", "/services", "/service%3Fname=hot", "/leases", "/events"];

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = Folder::new("dashboard")?;
    let etcd = free_address()?.to_string();
    let _etcd = Process::start(&folder, env!("CARGO_BIN_EXE_waypost"), ["etcd", "--listen", &etcd])?;
    let mut client = until("the registry answers", async || {
        let mut client = Client::connect([&etcd], None).await.ok()?;
        client.get("/", None).await.ok().map(|_| client)
    })
    .await?;
    for service in 0..100 {
        let put = |n| TxnOp::put(format!("/services/s{service}/{n}"), format!("127.1.{service}.{}:80", n + 1), None);
        client.txn(Txn::new().and_then((0..10).map(put).collect::<Vec<_>>())).await?;
    }
    let server = TcpListener::bind("127.0.0.1:0").await?;
    client.put("/services/hot/1", server.local_addr()?.to_string(), None).await?;
    tokio::spawn(echo::run(server));
    let waypost = Waypost::start(&folder, &format!("http://{etcd}"), "").await?;

    // Both have run warm before anything counts.
    cost(&waypost).await?;
    let mut ratios = Vec::new();
    for _ in 0..ROUNDS {
        let without = cost(&waypost).await?;
        let streams = try_join_all((0..10).map(|n| follow(&waypost, PAGES[n % PAGES.len()]))).await?;
        let with = cost(&waypost).await?;
        for stream in streams {
            if stream.is_finished() {
                return Err("a stream ended".into());
            }
            stream.abort();
        }
        println!("CPU per call: {:.2} µs without streams, {:.2} µs with ten", without * 1e6, with * 1e6);
        ratios.push(with / without);
    }
    ratios.sort_unstable_by(f64::total_cmp);
    let (least, median, most) = (ratios[0], ratios[ROUNDS / 2], ratios[ROUNDS - 1]);
    println!("with streams to without: {median:.3} (from {least:.3} to {most:.3}), of {ROUNDS} rounds");
    Ok(())
}

/// Opens a stream, and reads it until it is told to stop.
async fn follow(waypost: &Waypost, page: &str) -> Result<JoinHandle<()>, Box<dyn Error>> {
    let mut stream = TcpStream::connect(waypost.admin).await?;
    let request = format!("GET /live?topics={page} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut buffer = vec![0; 1 << 16];
    let read = stream.read(&mut buffer).await?;
    if !buffer[..read].starts_with(b"HTTP/1.1 200") {
        return Err(String::from_utf8_lossy(&buffer[..read]).into());
    }
    Ok(tokio::spawn(async move { while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {} }))
}

/// The CPU time of the proxy per call of a round, in seconds.
async fn cost(waypost: &Waypost) -> Result<f64, Box<dyn Error>> {
    let (start, before) = (Instant::now(), waypost.cpu_time()?);
    let calling = (0..AT_ONCE).map(|_| async move {
        let mut calls = 0_u32;
        while start.elapsed() < ROUND {
            if !waypost.call("hot").await? {
                return Err::<_, Box<dyn Error>>("a call was not answered".into());
            }
            calls += 1;
        }
        Ok(calls)
    });
    let calls: u32 = try_join_all(calling).await?.into_iter().sum();
    Ok((waypost.cpu_time()? - before).as_secs_f64() / f64::from(calls))
}
