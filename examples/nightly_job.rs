//! A job that runs on one machine at a time. Start it on all of them: one works, the others wait.
//!
//!     cargo run --example nightly_job -- report.txt
//!
//! Each step asks for the fencing token first, so that a job which stood still for too long does nothing more; and the
//! token stands in each line, so that whoever reads them can refuse those of an earlier holder.
#![allow(clippy::print_stderr, clippy::print_stdout, reason = "a program that talks to whoever started it")]

use std::error::Error;
use std::fs::OpenOptions;
use std::io::Write;
use std::time::Duration;

use waypost::Manager;
use waypost::registry::Lock;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let file = std::env::args().nth(1).unwrap_or_else(|| "report.txt".to_owned());
    let manager = Manager::connect()?;
    let lock = manager.locks().lock("nightly-report").await?;
    tokio::select! {
        done = work(&lock, &file) => done?,
        loss = lock.lost() => return Err(format!("stopped half-way: {loss}").into()),
    }
    lock.unlock().await?;
    Ok(())
}

async fn work(lock: &Lock, file: &str) -> Result<(), Box<dyn Error>> {
    for step in 1..=3 {
        let token = lock.token()?;
        let mut report = OpenOptions::new().create(true).append(true).open(file)?;
        writeln!(report, "{token} {} step {step}", std::process::id())?;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}
