use std::collections::VecDeque;
use std::future::poll_fn;

use tokio::io::AsyncWriteExt;

use super::*;

/// Takes this much at each write, and notes how much that was.
#[derive(Default)]
struct Taker {
    takes: VecDeque<usize>,
    writes: Vec<usize>,
    got: Vec<u8>,
    shut: bool,
}

impl AsyncWrite for Taker {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let all: Vec<u8> = bufs.iter().flat_map(|buf| buf.iter().copied()).collect();
        let n = match self.takes.pop_front() {
            Some(0) => {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Some(n) => n.min(all.len()),
            None => all.len(),
        };
        self.writes.push(n);
        self.got.extend_from_slice(&all[..n]);
        Poll::Ready(Ok(n))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shut = true;
        Poll::Ready(Ok(()))
    }
}

/// Polls until nothing waits.
async fn flushed(flush: &Flush<Taker>) {
    poll_fn(|cx| {
        flush.poll(cx);
        if lock(&flush.0).waiting.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

fn writes(flush: &Flush<Taker>) -> Vec<usize> {
    lock(&flush.0).stream.writes.clone()
}

#[tokio::test]
async fn small_writes_go_out_together_once_it_has_begun() {
    let (mut stream, flush) = batched(Taker::default());
    stream.write_all(b"hello").await.unwrap();
    stream.flush().await.unwrap();
    flush.begin();
    for _ in 0..20 {
        stream.write_all(&[7; 1000]).await.unwrap();
        stream.flush().await.unwrap();
    }
    assert_eq!(writes(&flush), [5]);
    flushed(&flush).await;
    assert_eq!(writes(&flush), [5, 20_000]);
}

#[tokio::test]
async fn a_large_write_goes_out_behind_what_waited_and_in_order() {
    for takes in [vec![], vec![3], vec![10], vec![0, 11, 0, 5_000], vec![1; 40]] {
        let (mut stream, flush) = batched(Taker { takes: takes.clone().into(), ..Taker::default() });
        flush.begin();
        let mut sent = vec![1; 10];
        stream.write_all(&sent).await.unwrap();
        let (head, payload) = ([2; 9], vec![3; 16_384]);
        sent.extend(head.iter().chain(&payload));
        // As h2 does: both at once, and from where it got to until all has gone.
        let mut rest = &sent[10..];
        while !rest.is_empty() {
            let bufs = [IoSlice::new(&rest[..rest.len().min(9)]), IoSlice::new(&rest[rest.len().min(9)..])];
            let n = poll_fn(|cx| Pin::new(&mut stream).poll_write_vectored(cx, &bufs)).await.unwrap();
            rest = &rest[n..];
        }
        stream.write_all(&[4; 5]).await.unwrap();
        sent.extend([4; 5]);
        flushed(&flush).await;
        assert!(lock(&flush.0).stream.got == sent, "{takes:?}");
        if takes.is_empty() {
            assert_eq!(writes(&flush), [10 + 9 + 16_384, 5]);
        }
    }
}

#[tokio::test]
async fn no_more_waits_than_is_allowed_and_a_burst_is_not_kept() {
    let (mut stream, flush) = batched(Taker::default());
    flush.begin();
    for _ in 0..100 {
        stream.write_all(&[0; 1_000]).await.unwrap();
        assert!(lock(&flush.0).waiting.len() <= MOST);
    }
    flushed(&flush).await;
    assert_eq!(writes(&flush).iter().sum::<usize>(), 100_000);
    assert!(writes(&flush).len() < 6, "{:?}", writes(&flush));
    assert!(lock(&flush.0).waiting.capacity() <= SMALL);
}

#[tokio::test]
async fn what_waits_goes_out_before_the_end() {
    let (mut stream, flush) = batched(Taker { takes: [0, 2].into(), ..Taker::default() });
    flush.begin();
    stream.write_all(b"goodbye").await.unwrap();
    stream.shutdown().await.unwrap();
    let taker = &lock(&flush.0).stream;
    assert_eq!(taker.got, b"goodbye");
    assert!(taker.shut);
}

#[tokio::test]
async fn after_an_error_nothing_waits() {
    let (near, far) = tokio::io::duplex(64);
    let (mut stream, flush) = batched(near);
    flush.begin();
    stream.write_all(&[0; 100]).await.unwrap();
    drop(far);
    flush.poll(&mut Context::from_waker(std::task::Waker::noop()));
    assert!(lock(&flush.0).waiting.is_empty());
    // The next that goes out at once is told.
    assert!(stream.write_all(&[0; 5_000]).await.is_err());
}
