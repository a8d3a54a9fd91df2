//! Gentle traffic through the proxy, and who answered it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{MissedTickBehavior, interval};
use tonic::transport::{Channel, Endpoint};

use super::greeter::{GreeterClient, HelloRequest};

/// Between calls of `greeter`, over one connection.
const GREETER: Duration = Duration::from_millis(25);
/// Between requests of `clock`, each with a connection of its own.
const CLOCK: Duration = Duration::from_millis(100);

type Problem = Box<dyn std::error::Error>;

#[derive(Default)]
pub(super) struct Traffic(RefCell<Counted>);

#[derive(Default)]
struct Counted {
    /// By service and instance.
    answers: BTreeMap<(&'static str, String), u64>,
    failed: u64,
    /// The last failure, in words.
    why: Option<String>,
}

impl Traffic {
    /// Calls both services for ever.
    pub(super) async fn run(&self, proxy: SocketAddr) {
        let mut greeter = greeter(proxy);
        let greeter = self.repeat("greeter", GREETER, async || {
            let request = HelloRequest { name: "demo".to_owned() };
            let reply = greeter.as_mut().map_err(|error| error.to_string())?.hello(request).await?;
            Ok(reply.into_inner().instance)
        });
        let clock = self.repeat("clock", CLOCK, async || clock(proxy).await);
        tokio::join!(greeter, clock);
    }

    async fn repeat(
        &self,
        service: &'static str,
        every: Duration,
        mut call: impl AsyncFnMut() -> Result<String, Problem>,
    ) {
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let outcome = call().await;
            let mut counted = self.0.borrow_mut();
            match outcome {
                Ok(instance) => *counted.answers.entry((service, instance)).or_default() += 1,
                Err(error) => {
                    counted.failed += 1;
                    counted.why = Some(format!("{service}: {error}"));
                }
            }
        }
    }

    /// What has been counted since the last time, in a line, and counts anew.
    pub(super) fn report(&self) -> String {
        let Counted { answers, failed, why } = self.0.take();
        let mut services: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for ((service, instance), count) in answers {
            services.entry(service).or_default().push(format!("{instance} {count}"));
        }
        let service = |(service, instances): (&str, Vec<String>)| format!("{service} {}", instances.join(", "));
        let failed = match why {
            Some(why) => format!("failed {failed}, the last one: {why}"),
            None => "failed 0".to_owned(),
        };
        services.into_iter().map(service).chain([failed]).collect::<Vec<_>>().join("; ")
    }
}

/// A client whose calls name the service `greeter`. Connects when it is first needed.
pub(super) fn greeter(proxy: SocketAddr) -> Result<GreeterClient<Channel>, Problem> {
    let endpoint = Endpoint::from_shared(format!("http://{proxy}"))?.origin("http://greeter".parse()?);
    Ok(GreeterClient::new(endpoint.timeout(Duration::from_secs(5)).connect_lazy()))
}

/// Asks the service `clock`, and gives back the name of the instance that answered.
async fn clock(proxy: SocketAddr) -> Result<String, Problem> {
    let stream = TcpStream::connect(proxy).await?;
    let (mut client, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let call = async {
        let request = Request::get("/").header(http::header::HOST, "clock").body(Empty::<Bytes>::new())?;
        let response = client.send_request(request).await?;
        let status = response.status();
        let text = String::from_utf8(response.into_body().collect().await?.to_bytes().into())?;
        match text.trim_end().rsplit_once("says ") {
            Some((_, instance)) if status == StatusCode::OK => Ok(instance.to_owned()),
            _ => Err(format!("{status}: {}", text.trim_end()).into()),
        }
    };
    tokio::select! {
        outcome = call => outcome,
        Err(error) = connection => Err(error.into()),
    }
}
