//! A counter in a store that knows fencing tokens, raised by one process at a time.
//!
//!     cargo run --example fenced_counter -- NAME ADDRESS
//!
//! The store takes lines over TCP: `read NAME TOKEN` and `write NAME TOKEN VALUE`. It answers with the value, and refuses
//! a token that is smaller than one that it has seen. So a process that was stopped between its check and its write,
//! for longer than its lock lasts, does no harm when it goes on.
#![allow(clippy::print_stderr, clippy::print_stdout, reason = "a program that talks to whoever started it")]

use std::error::Error;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::sleep;
use waypost::Manager;
use waypost::registry::Lock;

type Failure = Box<dyn Error>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().ok_or("which NAME?")?;
    let address = arguments.next().ok_or("which ADDRESS?")?;
    let mut store = BufReader::new(TcpStream::connect(address).await?);
    let manager = Manager::connect()?;
    let locks = manager.locks();
    loop {
        let lock = match locks.lock("counter").await {
            Ok(lock) => lock,
            // It was taken from us while we waited: stand in line again.
            Err(error) => {
                eprintln!("{name}: {error}");
                continue;
            }
        };
        if let Err(error) = raise(&lock, &name, &mut store).await {
            eprintln!("{name}: {error}");
        }
        // What was lost needs no unlocking.
        lock.unlock().await.ok();
    }
}

async fn raise(lock: &Lock, name: &str, store: &mut BufReader<TcpStream>) -> Result<(), Failure> {
    let value: u64 = ask(store, &format!("read {name} {}\n", lock.token()?)).await?.parse()?;
    sleep(Duration::from_millis(fastrand::u64(..8))).await;
    ask(store, &format!("write {name} {} {}\n", lock.token()?, value + 1)).await?;
    Ok(())
}

async fn ask(store: &mut BufReader<TcpStream>, question: &str) -> Result<String, Failure> {
    store.write_all(question.as_bytes()).await?;
    let mut answer = String::new();
    store.read_line(&mut answer).await?;
    match answer.trim() {
        "" => std::process::exit(0),
        "refused" => Err("the store has seen a greater token".into()),
        value => Ok(value.to_owned()),
    }
}
