//! What the embedded etcd takes beside a real one: puts per second, and the time from a put to the watch that sees it.
//!
//!     cargo bench --bench embedded
//!
//! Both are processes of their own with their defaults: the real one syncs each write to the disk, which is most of the
//! difference; the embedded one keeps nothing. The rounds alternate.

#![allow(clippy::print_stdout, reason = "the result")]

#[allow(dead_code, reason = "other benchmarks ask for more")]
#[path = "support/process.rs"]
mod process;

use std::error::Error;
use std::time::Duration;

use etcd_client::{Client, WatchOptions};
use futures_util::future::try_join_all;
use process::{Etcd, Folder, Process, free_address, until};
use tokio::time::Instant;

const ROUNDS: usize = 5;
/// Puts of a round, with so many under way at a time.
const PUTS: usize = 2_000;
const UNDER_WAY: [usize; 2] = [1, 32];
/// Puts of a round that a watch waits for, one after the other.
const WATCHED: usize = 500;

/// What was measured of one server.
#[derive(Default)]
struct Measured {
    /// Puts per second, for each number under way.
    rates: [Vec<f64>; UNDER_WAY.len()],
    /// From each put to its event.
    seen: Vec<Duration>,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = Folder::new("embedded")?;
    let etcd = Etcd::start(&folder).await?;
    let listen = free_address()?.to_string();
    let _embedded = Process::start(&folder, env!("CARGO_BIN_EXE_waypost"), ["etcd", "--listen", &listen])?;
    let embedded = until("the embedded etcd answers", async || {
        let mut client = Client::connect([&listen], None).await.ok()?;
        client.get("/", None).await.ok().map(|_| client)
    });
    let mut servers =
        [("embedded", embedded.await?, Measured::default()), ("etcd", etcd.client.clone(), Measured::default())];
    for _ in 0..ROUNDS {
        for (_, client, measured) in &mut servers {
            for (at, under_way) in UNDER_WAY.into_iter().enumerate() {
                measured.rates[at].push(puts(client, under_way).await?);
            }
            measured.seen.extend(watch(client).await?);
        }
    }
    for (name, _, Measured { rates, mut seen }) in servers {
        for (mut rates, under_way) in rates.into_iter().zip(UNDER_WAY) {
            rates.sort_unstable_by(f64::total_cmp);
            let (least, median, most) = (rates[0], rates[ROUNDS / 2], rates[ROUNDS - 1]);
            println!("{name}: {median:.0} puts/s with {under_way} under way (from {least:.0} to {most:.0})");
        }
        seen.sort_unstable();
        let [median, p99] = [50, 99].map(|percent| seen[seen.len() * percent / 100].as_micros());
        println!("{name}: {median} µs from a put to the watch, 99th percentile {p99} µs, of {}", seen.len());
    }
    Ok(())
}

/// Puts per second, all on one connection.
async fn puts(client: &Client, under_way: usize) -> Result<f64, Box<dyn Error>> {
    let start = Instant::now();
    let writers = (0..under_way).map(|writer| {
        let mut kv = client.kv_client();
        async move {
            for n in 0..PUTS / under_way {
                kv.put(format!("/bench/{writer}/{}", n % 100), "10.0.0.1:50051", None).await?;
            }
            Ok::<_, etcd_client::Error>(())
        }
    });
    try_join_all(writers).await?;
    Ok((PUTS / under_way * under_way) as f64 / start.elapsed().as_secs_f64())
}

/// The times from sending a put to receiving its event.
async fn watch(client: &mut Client) -> Result<Vec<Duration>, Box<dyn Error>> {
    let mut kv = client.kv_client();
    let mut events = client.watch("/watched/", Some(WatchOptions::new().with_prefix())).await?;
    let mut seen = Vec::with_capacity(WATCHED);
    // The first message says that the watch is there.
    events.message().await?;
    for _ in 0..WATCHED {
        let start = Instant::now();
        let put = kv.put("/watched/1", "10.0.0.1:50051", None);
        let event = async {
            let event = events.message().await;
            event.map(|_| start.elapsed())
        };
        let (put, event) = tokio::join!(put, event);
        put?;
        seen.push(event?);
    }
    Ok(seen)
}
