//! Every byte of the connection's window comes back, whatever becomes of it.

use super::peer::*;
use super::*;

/// What the server does with the stream in the middle of it.
#[derive(Debug, Clone, Copy)]
enum Does {
    Nothing,
    Reads,
    DropsReceiver,
    DropsBoth,
    Resets,
}
use Does::{DropsBoth, DropsReceiver, Nothing, Reads, Resets};

const WINDOW: i64 = 1 << 18;

/// A peer that counts.
struct Account {
    peer: Peer,
    left: i64,
}

impl Account {
    /// Sends, within the window.
    async fn spend(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while let [a, b, c, kind, ..] = *rest {
            let length = u32::from_be_bytes([0, a, b, c]);
            self.left -= if kind == DATA { i64::from(length) } else { 0 };
            rest = &rest[9 + length as usize..];
        }
        assert!(self.left >= 0, "starved");
        self.peer.write(bytes).await;
    }

    async fn collect(&mut self) -> bool {
        let before = self.left;
        for seen in self.peer.all().await.into_iter().map(|seen| seen.expect("the connection should go on")) {
            if (seen.kind, seen.id) == (WINDOW_UPDATE, 0) {
                self.left += i64::from(u32::from_be_bytes(*seen.payload.first_chunk().unwrap()));
            }
        }
        self.left > before
    }

    /// Sends for a stream that was reset until the peer says how much it has thrown away: all of it.
    async fn settle(&mut self, closed: u32) {
        for _ in 0..WINDOW / 1_024 {
            self.spend(&data(closed, 0, &[0; 1_024])).await;
            if self.collect().await {
                break;
            }
        }
        assert_eq!(self.left, WINDOW);
    }
}

fn settings() -> Settings {
    Settings { connection_window: WINDOW as u32, max_error_resets: usize::MAX, ..OURS }
}

async fn step(does: Does, (mut receiver, mut sender): (Receiver, Sender)) -> Option<(Option<Receiver>, Sender)> {
    match does {
        Nothing => {}
        Reads => {
            let reading = poll_fn(|cx| {
                while receiver.poll_frame(cx).is_ready() {}
                std::task::Poll::Ready(())
            });
            reading.await;
        }
        DropsReceiver => return Some((None, sender)),
        DropsBoth => return None,
        Resets => sender.reset(Reason::CANCEL),
    }
    Some((Some(receiver), sender))
}

type Frames = fn(u32) -> Vec<u8>;

const BEGIN: Frames = |id| post(id, 0, &[]);
const BEGIN_AND_SEND: Frames = |id| [post(id, 0, &[]), data(id, 0, &[1; 9_000]).repeat(3)].concat();
const SEND: Frames = |id| [data(id, 0, &[1; 1_000]).repeat(3), data(id, 0, &[1; 9_000])].concat();
const PAD: Frames =
    |id| [data(id, PADDED, &[255; 256]).repeat(3), data(id, PADDED, &[[9; 15], [1; 15]].concat())].concat();
const END_IT: Frames = |id| data(id, END, &[1; 100]);
const RESET_IT: Frames = |id| reset(id, 8);
const RESET_AND_SEND: Frames = |id| [RESET_IT(id), SEND(id)].concat();

/// What is sent before the server does something, and what after.
type Way = (&'static str, Frames, Does, Frames);

const WAYS: [Way; 18] = [
    ("read to its end", BEGIN_AND_SEND, Reads, END_IT),
    ("read, and reset", BEGIN_AND_SEND, Reads, RESET_IT),
    ("not read to its end", BEGIN_AND_SEND, Nothing, END_IT),
    ("reset before it was read", BEGIN_AND_SEND, Nothing, RESET_IT),
    ("reset, and more", BEGIN_AND_SEND, Nothing, RESET_AND_SEND),
    ("not wanted", BEGIN, DropsReceiver, SEND),
    ("not wanted after some of it", BEGIN_AND_SEND, DropsReceiver, END_IT),
    ("not wanted, padded", BEGIN, DropsReceiver, PAD),
    ("dropped", BEGIN_AND_SEND, DropsBoth, SEND),
    ("dropped, padded", BEGIN, DropsBoth, PAD),
    ("reset here", BEGIN_AND_SEND, Resets, SEND),
    ("reset here, padded", BEGIN, Resets, PAD),
    ("padded", BEGIN, Nothing, PAD),
    ("padded, and read", |id| [BEGIN(id), PAD(id)].concat(), Reads, END_IT),
    ("reset early", |id| [BEGIN_AND_SEND(id), RESET_IT(id)].concat(), Nothing, SEND),
    ("malformed", |id| post(id, 0, &[("Upper", "x")]), Nothing, SEND),
    ("after its end", |id| [BEGIN(id), END_IT(id)].concat(), Nothing, PAD),
    ("more than it said", |id| [post(id, 0, &[("content-length", "9")]), SEND(id)].concat(), Nothing, PAD),
];

async fn go(account: &mut Account, serving: &mut Serving<DuplexStream>, (_, before, does, after): Way, id: u32) {
    account.spend(&before(id)).await;
    settle().await;
    let kept = match serving.accepted.try_recv() {
        Ok((request, sender)) => step(does, (request.into_body(), sender)).await,
        Err(_) => None,
    };
    account.spend(&after(id)).await;
    settle().await;
    drop(kept);
    account.collect().await;
}

async fn begin(settings: Settings) -> (Account, Serving<DuplexStream>) {
    let (mut peer, mut serving) = serve(settings).await;
    // The stream for what is to be thrown away at the end.
    peer.write(&[post(1, 0, &[]), reset(1, 8), data(1, 0, &[])].concat()).await;
    let mut account = Account { peer, left: WINDOW };
    account.collect().await;
    assert!(serving.accepted.try_recv().is_err());
    (account, serving)
}

#[tokio::test(start_paused = true)]
async fn every_byte_of_the_window_comes_back() {
    for way in WAYS {
        let (mut account, mut serving) = begin(settings()).await;
        for round in 0..20 {
            go(&mut account, &mut serving, way, 3 + 2 * round).await;
        }
        account.settle(1).await;
        assert!(!serving.has_streams(), "{}", way.0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_mix_of_all_ways_costs_nothing_either() {
    let mut random = fastrand::Rng::with_seed(7);
    let (mut account, mut serving) = begin(settings()).await;
    for round in 0..500 {
        go(&mut account, &mut serving, WAYS[random.usize(..WAYS.len())], 3 + 2 * round).await;
    }
    account.settle(1).await;
    assert!(!serving.has_streams());
}

#[tokio::test(start_paused = true)]
async fn what_is_sent_for_refused_streams_comes_back() {
    let (mut account, serving) = begin(Settings { max_streams: 0, ..settings() }).await;
    for round in 0..50 {
        account.spend(&BEGIN_AND_SEND(3 + 2 * round)).await;
        account.collect().await;
    }
    account.settle(1).await;
    assert!(!serving.has_streams());
}

#[tokio::test(start_paused = true)]
async fn a_client_gives_back_what_comes_for_streams_it_does_not_know_any_more() {
    let (peer, dialled) = dial(settings(), &[]).await;
    let mut account = Account { peer, left: WINDOW };
    for round in 0..50 {
        let id = 1 + 2 * round;
        let mut kept = Some(dialled.begin(true));
        account.spend(&[ok(id, 0, &[]), data(id, 0, &[1; 9_000])].concat()).await;
        settle().await;
        match round % 3 {
            0 => kept = None,
            1 => assert!(!part(&mut kept.as_mut().unwrap().0).await.is_empty()),
            _ => {}
        }
        account.spend(&[data(id, PADDED, &[[7; 8], [0; 8]].concat()), data(id, END, &[1; 100])].concat()).await;
        settle().await;
        drop(kept);
        account.spend(&data(id, PADDED, &[7; 8])).await;
        account.collect().await;
    }
    account.settle(1).await;
    assert!(!dialled.has_streams());
}
