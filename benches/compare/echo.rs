//! The server behind the proxies when they are compared. It listens on a free port of 127.0.0.1, prints the address,
//! and runs until it is ended.

#![allow(clippy::print_stdout, reason = "whoever starts it reads the address there")]

#[path = "../support/echo.rs"]
mod echo;

use std::io;

use tokio::net::TcpListener;

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    echo::run(listener).await
}
