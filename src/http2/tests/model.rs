//! Our client against our server, at random: what is not broken off arrives whole and in order, and nothing stays.

use std::pin::pin;

use fastrand::Rng;
use futures_util::future::{Either, select};
use tokio::io::AsyncReadExt;
use tokio::task::JoinSet;

use super::*;
use crate::http2::PREFACE;

/// How one direction of a call goes: its chunks, and after how many of them it is broken off.
struct Plan {
    chunks: Vec<usize>,
    trailers: bool,
    breaks_off: Option<usize>,
    seed: usize,
}

impl Plan {
    fn new(random: &mut Rng) -> Plan {
        let most = [10, 1_500, 15_000][random.usize(..3)];
        let chunks: Vec<usize> = (0..random.usize(..12)).map(|_| random.usize(..most)).collect();
        let breaks_off = (random.u8(..8) == 0).then(|| random.usize(..=chunks.len()));
        Plan { chunks, trailers: random.bool(), breaks_off, seed: random.usize(..1_000) }
    }

    fn body(&self) -> Bytes {
        pattern(self.seed, self.chunks.iter().sum())
    }
}

async fn pause(random: &mut Rng) {
    match random.u8(..4) {
        0 => tokio::task::yield_now().await,
        1 => tokio::time::sleep(Duration::from_millis(random.u64(..20))).await,
        _ => {}
    }
}

/// Says it all, unless it breaks off or the stream is over. True if all was said.
async fn say(mut sender: Sender, plan: &Plan, mut random: Rng) -> bool {
    let mut body = plan.body();
    for (i, length) in plan.chunks.iter().enumerate() {
        if plan.breaks_off == Some(i) {
            if random.bool() {
                sender.reset(Reason::CANCEL);
            }
            return false;
        }
        pause(&mut random).await;
        let last = i + 1 == plan.chunks.len() && !plan.trailers;
        let ends = last && random.bool() && plan.breaks_off.is_none();
        if send(&mut sender, body.split_to(*length), ends).await.is_err() {
            return false;
        }
        if ends {
            return true;
        }
    }
    pause(&mut random).await;
    if plan.breaks_off.is_some() {
        return false;
    }
    let said = if plan.trailers {
        sender.send_trailers(&header("grpc-status", "0"))
    } else {
        send(&mut sender, Bytes::new(), true).await
    };
    said.is_ok()
}

/// Hears what the plan says, or the beginning of it. True if it was all; `None` if it was not wanted any more.
async fn hear(receiver: &mut Receiver, plan: &Plan, mut random: Rng) -> Option<bool> {
    let leaves = random.u8(..8) == 0;
    let (expected, mut at, mut trailers) = (plan.body(), 0, false);
    loop {
        pause(&mut random).await;
        if leaves && random.u8(..4) == 0 {
            return None;
        }
        match soon(poll_fn(|cx| receiver.poll_frame(cx))).await {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => {
                    assert!(!trailers && expected[at..].starts_with(&data), "other bytes at {at}");
                    at += data.len();
                }
                Err(_) => trailers = true,
            },
            Some(Err(_)) => return Some(false),
            None => {
                assert_eq!((at, trailers), (expected.len(), plan.trailers));
                assert!(receiver.is_end_stream());
                return Some(true);
            }
        }
    }
}

/// Both plans of a call follow from its seed.
fn plans(seed: u64) -> (Plan, Plan, Rng) {
    let mut random = Rng::with_seed(seed);
    (Plan::new(&mut random), Plan::new(&mut random), random)
}

async fn serve_call((request, mut sender): Accepted) -> bool {
    let seed: u64 = request.uri().path()[1..].parse().unwrap();
    let (up, down, mut random) = plans(seed);
    random.seed(seed ^ 0x5555);
    let mut receiver = request.into_body();
    pause(&mut random).await;
    if random.u8(..20) == 0 {
        return false;
    }
    if sender.respond(&Response::new(()), false).is_err() {
        return false;
    }
    let (speaker, hearer) = (random.fork(), random.fork());
    let hearing = async move { hear(&mut receiver, &up, hearer).await };
    let (said, heard) = tokio::join!(say(sender, &down, speaker), hearing);
    said && heard == Some(true)
}

/// True if all of the call went well here.
async fn make_call(client: Client, seed: u64) -> bool {
    let (up, down, mut random) = plans(seed);
    random.seed(seed ^ 0xaaaa);
    pause(&mut random).await;
    let head = request(Method::POST, &format!("http://x/{seed}"));
    let Ok((mut receiver, sender)) = client.send(&RequestHead::of(&head), false) else { return false };
    drop(client);
    let (speaker, hearer) = (random.fork(), random.fork());
    let hearing = async move {
        match respond_to(&mut receiver).await {
            Ok(_) => hear(&mut receiver, &down, hearer).await,
            Err(_) => None,
        }
    };
    let (saying, hearing) = (pin!(say(sender, &up, speaker)), pin!(hearing));
    match select(saying, hearing).await {
        Either::Left((said, hearing)) => said && hearing.await == Some(true),
        Either::Right((None, _)) => false,
        Either::Right((Some(heard), saying)) => saying.await && heard,
    }
}

/// How many calls went well for the client, and how many for the server.
async fn run(seed: u64, calls: u64) -> (usize, usize) {
    let mut random = Rng::with_seed(seed);
    let mut settings = || Settings {
        max_streams: random.u32(1..60),
        stream_window: [100, 1_000, 10_000, 65_535, 200_000][random.usize(..5)],
        connection_window: [65_535, 100_000, 1 << 20][random.usize(..3)],
        max_pending_resets: usize::MAX,
        max_error_resets: usize::MAX,
        ..OURS
    };
    let (ours, theirs) = (settings(), settings());
    let (near, mut far) = duplex(random.usize(100..20_000));
    let server = tokio::spawn(async move {
        far.read_exact(&mut [0; PREFACE.len()]).await.unwrap();
        let mut serving = Serving::new(far, theirs);
        let mut tasks = JoinSet::new();
        while let Some(accepted) = serving.accepted.recv().await {
            tasks.spawn(serve_call(accepted));
        }
        let went_well = tasks.join_all().await.into_iter().filter(|well| *well).count();
        assert!(!serving.has_streams());
        serving.end().await.unwrap();
        went_well
    });
    let Dialled { client, shared, task } = Dialled::new(near, ours).await;
    let mut tasks = JoinSet::new();
    for call in 0..calls {
        tasks.spawn(make_call(client.clone(), seed * 1_000_000 + call));
    }
    drop(client);
    let went_well = tasks.join_all().await.into_iter().filter(|well| *well).count();
    soon(task).await.unwrap().unwrap();
    assert!(shared.lock().streams.is_empty());
    (went_well, soon(server).await.unwrap())
}

#[tokio::test(start_paused = true)]
async fn what_is_not_broken_off_arrives_whole() {
    let mut all = 0;
    for seed in 1..=25 {
        let (client, server) = run(seed, 150).await;
        all += client.min(server);
    }
    // That is enough to say something: most are broken off by neither side.
    assert!(all > 25 * 150 / 3, "{all}");
}
