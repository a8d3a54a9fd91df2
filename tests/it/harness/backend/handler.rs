//! How a backend answers one request.

use std::{
    error::Error,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, future, stream};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, BodyStream, Either, Empty, StreamBody};
use hyper::body::{Frame, Incoming};
use serde_json::json;
use tokio::time::sleep;

use super::{Mood, Seen};
use crate::harness::grpc::{self, ECHO, number, text};

type Failure = Box<dyn Error + Send + Sync>;
type Frames = Pin<Box<dyn Stream<Item = Result<Frame<Bytes>, Failure>> + Send>>;
type Answer = Response<Either<Empty<Bytes>, StreamBody<Frames>>>;

/// Counts a request as open while it lives, and as cancelled when it ends unfinished.
struct Call {
    seen: Arc<Seen>,
    finished: bool,
}

impl Call {
    /// The response is complete.
    fn finish(mut self) {
        self.finished = true;
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.seen.open.fetch_sub(1, Ordering::SeqCst);
        if !self.finished {
            self.seen.cancelled.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// Answers as the request's headers say.
pub async fn answer(name: String, seen: Arc<Seen>, request: Request<Incoming>) -> Result<Answer, Failure> {
    seen.calls.fetch_add(1, Ordering::SeqCst);
    seen.open.fetch_add(1, Ordering::SeqCst);
    *seen.paths.lock().unwrap().entry(request.uri().path().to_owned()).or_default() += 1;
    let call = Call { seen: Arc::clone(&seen), finished: false };

    let (head, body) = request.into_parts();
    if text(&head.headers, "x-refuse").is_some_and(|who| who == name || who == "all") {
        call.finish();
        return Err(h2::Error::from(h2::Reason::REFUSED_STREAM).into());
    }
    if let Some(delay) = number(&head.headers, "x-delay-ms") {
        sleep(Duration::from_millis(delay)).await;
    }

    let mood = *seen.mood.lock().unwrap();
    match mood {
        Mood::Well | Mood::NotServing => {}
        Mood::Hangs => future::pending().await,
        Mood::Slow(delay) => sleep(Duration::from_millis(delay)).await,
        Mood::Resets => {
            let reset = h2::Error::from(h2::Reason::INTERNAL_ERROR).into();
            let frames: Frames = Box::pin(stream::once(future::ready(Err(reset))));
            return Ok(Response::new(Either::Right(StreamBody::new(frames))));
        }
        Mood::Unavailable => {
            return Ok(grpc_end(&HeaderMap::new(), Box::pin(stream::empty()), call, "14", "as ordered"));
        }
    }
    if head.uri.path() == "/grpc.health.v1.Health/Check" {
        let status = if mood == Mood::NotServing { 2 } else { 1 };
        return Ok(grpc_end(&HeaderMap::new(), once(grpc::frame(&[8, status])), call, "0", ""));
    }
    let mut response = match head.uri.path().strip_prefix(ECHO) {
        Some(method) => grpc_answer(method, &head.headers, body, call).await?,
        None => http_answer(&name, &head, body, call).await?,
    };
    copy(&head.headers, "x-echo-", response.headers_mut());
    response.headers_mut().insert("x-instance", HeaderValue::from_str(&name)?);
    Ok(response)
}

async fn grpc_answer(method: &str, asked: &HeaderMap, body: Incoming, call: Call) -> Result<Answer, Failure> {
    let seen = Arc::clone(&call.seen);
    let messages: Frames = match method {
        "Unary" => once(reply(asked, collect(body, &seen).await?)),
        "Client" => {
            let all = grpc::messages(&collect(body, &seen).await?);
            let bytes: usize = all.iter().map(Bytes::len).sum();
            once(reply(asked, grpc::frame(format!("{} {bytes}", all.len()).as_bytes())))
        }
        "Server" => {
            let message = reply(asked, collect(body, &seen).await?);
            let count = number(asked, "x-count").unwrap_or(1);
            repeat(message, count, number(asked, "x-interval-ms").unwrap_or(0))
        }
        // Bytes go back as they came, so do messages.
        "Bidi" => Box::pin(incoming(body, seen).filter(|frame| {
            let keep = !matches!(frame, Ok(frame) if frame.is_trailers());
            async move { keep }
        })),
        "Cancelled" => once(grpc::frame(seen.cancelled().to_string().as_bytes())),
        _ => return Ok(grpc_end(asked, Box::pin(stream::empty()), call, "12", "no such method")),
    };
    let status = text(asked, "x-status").unwrap_or("0");
    Ok(grpc_end(asked, messages, call, status, text(asked, "x-message").unwrap_or("")))
}

fn grpc_end(asked: &HeaderMap, messages: Frames, call: Call, status: &str, message: &str) -> Answer {
    let trailers = trailers(asked, status, message);
    // An error without messages comes as gRPC servers send it: in the headers alone.
    let mut response = if status != "0" && !asked.contains_key("x-count") && !asked.contains_key("x-reset") {
        call.finish();
        let mut response = Response::new(Either::Left(Empty::new()));
        *response.headers_mut() = trailers;
        response
    } else {
        Response::new(Either::Right(StreamBody::new(ending(asked, messages, trailers, call))))
    };
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

/// The frames, then the reset or the trailers that the request asks for; then the call is finished.
fn ending(asked: &HeaderMap, frames: Frames, trailers: HeaderMap, call: Call) -> Frames {
    let reset = asked.contains_key("x-reset");
    let last = async move {
        call.finish();
        if reset {
            Some(Err(h2::Error::from(h2::Reason::INTERNAL_ERROR).into()))
        } else {
            (!trailers.is_empty()).then(|| Ok(Frame::trailers(trailers)))
        }
    };
    Box::pin(frames.chain(stream::once(last).filter_map(future::ready)))
}

fn trailers(asked: &HeaderMap, status: &str, message: &str) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_str(status).unwrap());
    if !message.is_empty() {
        trailers.insert("grpc-message", HeaderValue::from_str(message).unwrap());
    }
    if let Some(details) = asked.get("x-details-bin") {
        trailers.insert("grpc-status-details-bin", details.clone());
    }
    copy(asked, "x-trailer-", &mut trailers);
    trailers
}

async fn http_answer(name: &str, head: &http::request::Parts, body: Incoming, call: Call) -> Result<Answer, Failure> {
    let asked = &head.headers;
    let seen = Arc::clone(&call.seen);
    let mut trailers = HeaderMap::new();
    copy(asked, "x-trailer-", &mut trailers);
    let names: Vec<_> = trailers.keys().map(HeaderName::as_str).collect();
    let announced = HeaderValue::from_str(&names.join(", "))?;

    let (kind, frames): (_, Frames) = if head.uri.path() == "/echo" {
        ("application/octet-stream", Box::pin(incoming(body, seen)))
    } else if let Some(count) = number(asked, "x-count") {
        let chunk = Bytes::from(vec![b'x'; usize::try_from(number(asked, "x-size").unwrap_or(1))?]);
        ("text/plain", repeat(chunk, count, number(asked, "x-interval-ms").unwrap_or(0)))
    } else {
        let all = collect(body, &seen).await?;
        let pairs = asked.iter().map(|(name, value)| (name.as_str(), String::from_utf8_lossy(value.as_bytes())));
        let described = json!({
            "instance": name,
            "method": head.method.as_str(),
            "uri": head.uri.to_string(),
            "version": format!("{:?}", head.version),
            "headers": pairs.collect::<Vec<_>>(),
            "bytes": all.len(),
        });
        ("application/json", once(Bytes::from(described.to_string())))
    };
    let status = text(asked, "x-http-status").unwrap_or("200").parse()?;
    // Over HTTP/2, hyper leaves it to us that these have no body.
    let bodiless = head.method == Method::HEAD || [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&status);
    let mut response = Response::new(if bodiless {
        call.finish();
        Either::Left(Empty::new())
    } else {
        Either::Right(StreamBody::new(ending(asked, frames, trailers, call)))
    });
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    if !announced.is_empty() {
        response.headers_mut().insert(header::TRAILER, announced);
    }
    Ok(response)
}

/// The request's message, or one of the size that it asks for.
fn reply(asked: &HeaderMap, message: Bytes) -> Bytes {
    match number(asked, "x-size") {
        Some(size) => grpc::frame(&vec![b'x'; usize::try_from(size).unwrap()]),
        None => message,
    }
}

fn once(data: Bytes) -> Frames {
    Box::pin(stream::once(async { Ok(Frame::data(data)) }))
}

fn repeat(data: Bytes, count: u64, interval: u64) -> Frames {
    Box::pin(stream::iter(0..count).then(move |at| {
        let data = data.clone();
        async move {
            if at > 0 && interval > 0 {
                sleep(Duration::from_millis(interval)).await;
            }
            Ok(Frame::data(data))
        }
    }))
}

fn incoming(body: Incoming, seen: Arc<Seen>) -> impl Stream<Item = Result<Frame<Bytes>, Failure>> + Send {
    BodyStream::new(body).map(move |frame| {
        let frame = frame?;
        seen.bytes.fetch_add(frame.data_ref().map_or(0, Bytes::len) as u64, Ordering::SeqCst);
        Ok(frame)
    })
}

async fn collect(body: Incoming, seen: &Seen) -> Result<Bytes, Failure> {
    let all = body.collect().await?.to_bytes();
    seen.bytes.fetch_add(all.len() as u64, Ordering::SeqCst);
    Ok(all)
}

fn copy(from: &HeaderMap, prefix: &str, to: &mut HeaderMap) {
    for (name, value) in from.iter().filter(|(name, _)| name.as_str().starts_with(prefix)) {
        to.append(name.clone(), value.clone());
    }
}
