//! How long it takes from the put of a new service to the first call that reaches it: the real proxy, a real etcd, one
//! gRPC client that calls without a pause; with 0, 10,000 and 100,000 other instances in the table.
//!
//!     cargo bench --bench discovery
//!
//! The clock starts before the put is sent, so that etcd's own write, with its sync to the disk, is part of it; it stops
//! when the answer of the new service's server is there, so that its first connection is, too.

#![allow(clippy::print_stdout, reason = "the result")]

#[path = "support/echo.rs"]
mod echo;
#[allow(dead_code, reason = "the other benchmark asks for more")]
#[path = "support/process.rs"]
mod process;
#[allow(dead_code, reason = "the other benchmark asks for more")]
#[path = "support/waypost.rs"]
mod waypost;

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use process::{Etcd, Folder, INSTANCES};
use tokio::net::TcpListener;
use tokio::time::Instant;
use waypost::Waypost;

/// Other services, of 50 instances each.
const OTHERS: [usize; 3] = [0, 200, 2000];
const WARM_UP: usize = 20;
const MEASURED: usize = 200;
const PATIENCE: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = Folder::new("discovery")?;
    let mut etcd = Etcd::start(&folder).await?;
    let server = TcpListener::bind("127.0.0.1:0").await?;
    let address = server.local_addr()?;
    tokio::spawn(echo::run(server));
    // Nobody calls the others, so nobody needs to be there.
    let elsewhere: Vec<_> = (1..=INSTANCES as u16).map(|port| SocketAddr::from(([127, 0, 0, 2], port))).collect();
    let mut there = 0;
    for others in OTHERS {
        etcd.fill(there..others, &elsewhere).await?;
        there = others;
        println!("with {} other instances:", others * INSTANCES);
        let waypost = Waypost::start(&folder, &etcd.url, "").await?;
        measure(&etcd, &waypost, others, &address.to_string()).await?;
    }
    Ok(())
}

async fn measure(etcd: &Etcd, waypost: &Waypost, others: usize, address: &str) -> Result<(), Box<dyn Error>> {
    let (mut puts, mut routed) = (Vec::new(), Vec::new());
    for i in 0..WARM_UP + MEASURED {
        let service = format!("new-{others}-{i}");
        let mut kv = etcd.client.kv_client();
        let (key, value) = (format!("/services/{service}/1"), address.to_owned());
        let start = Instant::now();
        let put = tokio::spawn(async move { kv.put(key, value, None).await.map(|_| start.elapsed()) });
        while !waypost.call(&service).await? {
            if start.elapsed() > PATIENCE {
                return Err(format!("no call to {service} was routed within {PATIENCE:?}").into());
            }
        }
        routed.push(start.elapsed());
        puts.push(put.await??);
    }
    for (what, times) in [("put to first routed call", &mut routed), ("the put alone", &mut puts)] {
        let times = &mut times[WARM_UP..];
        times.sort_unstable();
        let [median, p99, most] = [50, 99, 100].map(|percent| times[MEASURED * percent / 100 - 1].as_secs_f64() * 1e3);
        println!("{what}: median {median:.2} ms, p99 {p99:.2} ms, longest {most:.2} ms, of {MEASURED}");
    }
    Ok(())
}
