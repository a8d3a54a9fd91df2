//! A gRPC client that knows nothing but the service's name.
//!
//!     cargo run --example greeter_client -- you 4
#![allow(clippy::print_stderr, clippy::print_stdout, reason = "a program that talks to whoever started it")]

use std::error::Error;

use waypost::Manager;

use greeter::HelloRequest;
use greeter::greeter_client::GreeterClient;

#[allow(unreachable_pub, missing_docs, clippy::allow_attributes_without_reason, reason = "generated from a proto file")]
mod greeter {
    tonic::include_proto!("waypost.demo");
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().unwrap_or_else(|| "you".to_owned());
    let calls = arguments.next().map_or(Ok(1), |calls| calls.parse())?;

    let manager = Manager::connect()?;
    let mut client = GreeterClient::new(manager.channel("greeter").await);
    for _ in 0..calls {
        let reply = client.hello(HelloRequest { name: name.clone() }).await?;
        println!("{}", reply.into_inner().message);
    }
    Ok(())
}
