//! One request on its way: each callback asks the mode what to do.

use std::{mem, rc::Rc, time::UNIX_EPOCH};

use log::{debug, error, info, trace, warn};
use proxy_wasm::{hostcalls, traits::*, types::*};

use crate::{body, calls, maps, root::Shared, state};

pub struct Filter {
    context: u32,
    shared: Rc<Shared>,
    /// Headers that the response is to get.
    report: Vec<(String, String)>,
    /// Calls that have not been answered.
    pending: u32,
    answered: u32,
    request: Progress,
    response: Progress,
    request_size: usize,
    /// True while the response waits for a call, not the request.
    in_response: bool,
}

/// How far a body has come.
#[derive(Default)]
pub struct Progress {
    /// A piece has gone by.
    pub begun: bool,
    /// The last one has.
    pub ended: bool,
}

/// What a callback comes to: an error is the host refusing something it should not.
type Step = Result<Action, Status>;

impl Filter {
    pub fn new(context: u32, shared: Rc<Shared>) -> Self {
        Self {
            context,
            shared,
            report: Vec::new(),
            pending: 0,
            answered: 0,
            request: Progress::default(),
            response: Progress::default(),
            request_size: 0,
            in_response: false,
        }
    }

    fn tell(&mut self, name: &str, value: impl ToString) {
        self.report.push((format!("x-guest-{name}"), value.to_string()));
    }

    /// Panics where the configuration says so; answers with 500 where the host refused a call.
    fn run(&mut self, phase: &str, step: impl FnOnce(&mut Self) -> Step) -> Action {
        let config = &self.shared.config;
        assert!(config.mode != "panic" || config.argument(0) != phase, "guest panics in {phase}");
        step(self).unwrap_or_else(|status| {
            error!("guest: the host answered {status:?} in {phase}");
            self.send_http_response(500, vec![("x-guest-refused", &format!("{status:?}"))], None);
            Action::Pause
        })
    }

    fn request_headers(&mut self, number: usize, end: bool) -> Step {
        let shared = self.shared.clone();
        let config = &shared.config;
        let first = config.argument(0);
        match config.mode.as_str() {
            "headers" => {
                maps::change(MapType::HttpRequestHeaders, number, "request")?;
                self.add_http_request_header("x-guest-end", &end.to_string());
            }
            "headers-set" => maps::set(MapType::HttpRequestHeaders, "request")?,
            // The length will be another.
            _ if body::wanted(config, "request") && config.mode != "body-to-header" => {
                self.set_http_request_header("content-length", None);
            }
            "body-to-header" if !end => return Ok(Action::Pause),
            "body-to-header" => self.add_http_request_header("x-guest-size", "0"),
            "local" => {
                let body = config.rest(1);
                let headers = vec![("x-guest-local", "yes"), ("content-type", "text/x-guest")];
                self.send_http_response(config.number(0), headers, (!body.is_empty()).then_some(body.as_bytes()));
                return Ok(Action::Pause);
            }
            "grpc-status" => {
                let code = calls::GRPC_CODES.get(config.number(0) as usize).copied().unwrap_or(GrpcStatusCode::Unknown);
                let metadata: Vec<(&str, &[u8])> = vec![("x-guest-local", b"yes"), ("x-guest-bin", b"AAEC")];
                self.send_grpc_response(code, Some(&config.rest(1)), metadata);
                return Ok(Action::Pause);
            }
            "reset" => {
                self.reset_http_request();
                return Ok(Action::Pause);
            }
            "properties" => {
                for (name, value) in config.arguments.iter().map(|name| state::property(name)) {
                    self.add_http_request_header(&format!("x-guest-{name}"), &value);
                    self.tell(&format!("early-{name}"), value);
                }
            }
            "set-property" => {
                let value = config.rest(1);
                self.set_property(first.split('.').collect(), Some(value.as_bytes()));
                self.tell("property", state::property(first).1);
            }
            "service" => {
                let service = self.value_or_header(first, "x-service");
                if let Some(service) = service {
                    self.set_property(vec!["waypost", "service"], Some(service.as_bytes()));
                }
            }
            "header" => self.set_http_request_header(first, Some(&config.rest(1))),
            "route" => {
                self.set_http_request_header(first, Some(&config.rest(1)));
                let answer = self.call_foreign_function("clear_route_cache", None);
                self.tell("foreign", calls::told(answer));
            }
            "endpoint" => {
                if let Some(endpoint) = self.value_or_header(first, "x-endpoint") {
                    let answer = self.call_foreign_function("waypost.set_endpoint", Some(endpoint.as_bytes()));
                    self.tell("foreign", calls::told(answer));
                }
            }
            "foreign" => {
                let argument = config.rest(1);
                let answer = self.call_foreign_function(first, (!argument.is_empty()).then_some(argument.as_bytes()));
                self.tell("foreign", calls::told(answer));
            }
            "shared-data" => {
                let (count, again) = state::count(first)?;
                self.tell("count", count);
                self.tell("again", again);
            }
            "cas-mismatch" => {
                self.tell("cas", format!("{:?}", state::stale(first)));
                let (value, _) = self.get_shared_data(first);
                self.tell("value", calls::text(&value.unwrap_or_default()));
            }
            "shared-remove" => {
                self.tell("remove", format!("{:?}", self.remove_shared_data(first, None)));
                self.tell("value", calls::text(&self.get_shared_data(first).0.unwrap_or_default()));
            }
            "metrics" => self.count_request(),
            "tick" => self.tell("ticks", shared.ticks.get()),
            "tick-pause" => {
                shared.waiting.borrow_mut().push(self.context);
                return Ok(Action::Pause);
            }
            "http-call" => return Ok(self.call(1, first, config.argument(1), &config.rest(2))),
            "http-calls" => return Ok(self.call(config.number(0), config.argument(1), config.argument(2), "")),
            "grpc-call" => return Ok(self.grpc_call(first, config.argument(1), config.argument(2))),
            "grpc-stream" => {
                let stream = self.open_grpc_stream(first, config.argument(1), config.argument(2), vec![]);
                self.tell("stream", stream.map_or_else(|status| format!("{status:?}"), |_| "open".to_owned()));
                if let Ok(stream) = stream {
                    self.cancel_grpc_stream(stream);
                }
            }
            "log" => {
                trace!("guest log trace");
                debug!("guest log debug");
                info!("guest log info");
                warn!("guest log warn");
                error!("guest log error");
                hostcalls::log(LogLevel::Critical, "guest log critical")?;
                self.tell("log-level", format!("{:?}", hostcalls::get_log_level()?));
            }
            "time" => {
                let since = self.get_current_time().duration_since(UNIX_EPOCH);
                self.tell("time", since.map_or(0, |since| since.as_secs()));
            }
            "queue" => self.queue(first),
            "pause" if first == "request" => return Ok(Action::Pause),
            _ => {}
        }
        Ok(Action::Continue)
    }

    fn request_body(&mut self, size: usize, end: bool) -> Step {
        let shared = self.shared.clone();
        let config = &shared.config;
        self.request.ended = end;
        // Of a body that was let go, only the new piece is counted; of one that is held, all of it.
        self.request_size = if config.mode == "body-to-header" { size } else { self.request_size + size };
        match config.mode.as_str() {
            "body-to-header" if !end => return Ok(Action::Pause),
            "body-to-header" => self.add_http_request_header("x-guest-size", &size.to_string()),
            "local-body" if !end => return Ok(Action::Pause),
            "local-body" => {
                let body = self.get_http_request_body(0, size);
                self.send_http_response(config.number(0), vec![("x-guest-local", "body")], body.as_deref());
                return Ok(Action::Pause);
            }
            _ if body::wanted(config, "request") => {
                return body::piece(config, BufferType::HttpRequestBody, size, end, &mut self.request);
            }
            _ => {}
        }
        Ok(Action::Continue)
    }

    fn response_headers(&mut self, number: usize, end: bool) -> Step {
        let shared = self.shared.clone();
        let config = &shared.config;
        match config.mode.as_str() {
            "headers" => {
                maps::change(MapType::HttpResponseHeaders, number, "response")?;
                self.add_http_response_header("x-guest-end", &end.to_string());
            }
            "headers-set" => maps::set(MapType::HttpResponseHeaders, "response")?,
            _ if body::wanted(config, "response") && config.mode != "body-to-header" => {
                self.set_http_response_header("content-length", None);
            }
            "local-response" => {
                let body = config.rest(1);
                let headers = vec![("x-guest-local", "response")];
                self.send_http_response(config.number(0), headers, (!body.is_empty()).then_some(body.as_bytes()));
                return Ok(Action::Pause);
            }
            "reset-response" => {
                self.reset_http_response();
                return Ok(Action::Pause);
            }
            "properties" => {
                for (name, value) in config.arguments.iter().map(|name| state::property(name)) {
                    self.tell(&name, value);
                }
            }
            "set-property" => self.tell("property-later", state::property(config.argument(0)).1),
            "http-call-response" => {
                self.in_response = true;
                return Ok(self.call(1, config.argument(0), config.argument(1), ""));
            }
            "pause" if config.argument(0) == "response" => return Ok(Action::Pause),
            _ => {}
        }
        for (name, value) in mem::take(&mut self.report) {
            self.add_http_response_header(&name, &value);
        }
        Ok(Action::Continue)
    }

    /// What is asked for, or if nothing is, what the request's header says.
    fn value_or_header(&self, value: &str, header: &str) -> Option<String> {
        if value.is_empty() {
            self.get_http_request_header(header)
        } else {
            Some(value.to_owned())
        }
    }

    fn count_request(&mut self) {
        let shared = self.shared.clone();
        let Some(metrics) = &shared.metrics else { return };
        let _ = hostcalls::increment_metric(metrics.requests, 1);
        let _ = hostcalls::increment_metric(metrics.open, 1);
        let _ = hostcalls::record_metric(metrics.last, 42);
        self.tell("counter", hostcalls::get_metric(metrics.requests).unwrap_or_default());
        self.tell("unknown-metric", format!("{:?}", hostcalls::get_metric(4_000_000)));
    }

    fn queue(&mut self, name: &str) {
        let queue = self.register_shared_queue(name);
        self.tell("enqueue", format!("{:?}", self.enqueue_shared_queue(queue, Some(b"queued"))));
        self.tell("resolve", self.resolve_shared_queue("", name).is_some());
        let value = self.dequeue_shared_queue(queue);
        self.tell(
            "dequeue",
            value.map_or_else(|status| format!("{status:?}"), |value| calls::text(&value.unwrap_or_default())),
        );
    }

    /// Pauses until so many calls have been answered.
    fn call(&mut self, calls: u32, service: &str, path: &str, body: &str) -> Action {
        for _ in 0..calls {
            if let Err(status) = calls::dispatch(service, path, body, 1000) {
                self.refused(status);
                return Action::Pause;
            }
            self.pending += 1;
        }
        Action::Pause
    }

    fn grpc_call(&mut self, service: &str, grpc_service: &str, method: &str) -> Action {
        let metadata: Vec<(&str, &[u8])> = vec![("x-guest-call", b"yes")];
        let second = std::time::Duration::from_secs(1);
        if let Err(status) = self.dispatch_grpc_call(service, grpc_service, method, metadata, Some(b""), second) {
            self.refused(status);
        }
        Action::Pause
    }

    /// The host would not take a call.
    fn refused(&self, status: Status) {
        self.send_http_response(500, vec![("x-guest-call-refused", &format!("{status:?}"))], None);
    }
}

impl Context for Filter {
    fn on_http_call_response(&mut self, _: u32, headers: usize, size: usize, trailers: usize) {
        let status = self.get_http_call_response_header(":status").unwrap_or_default();
        let body = calls::text(&self.get_http_call_response_body(0, size).unwrap_or_default());
        let told = [
            ("x-guest-call-status", if headers == 0 { "failed" } else { &status }),
            (
                "x-guest-call-headers",
                if self.get_http_call_response_headers().len() == headers { "counted" } else { "miscounted" },
            ),
            ("x-guest-call-body", &body),
            ("x-guest-call-trailers", &trailers.to_string()),
        ];
        self.pending = self.pending.saturating_sub(1);
        self.answered += 1;
        if self.pending > 0 {
            return;
        }
        if self.in_response {
            told.iter().for_each(|(name, value)| self.add_http_response_header(name, value));
            self.resume_http_response();
        } else if status == "200" {
            told.iter().for_each(|(name, value)| self.add_http_request_header(name, value));
            self.add_http_request_header("x-guest-calls", &self.answered.to_string());
            self.resume_http_request();
        } else {
            let code = if headers == 0 { 502 } else { 403 };
            self.send_http_response(code, told.to_vec(), Some(b"refused by the call"));
        }
    }

    fn on_grpc_call_response(&mut self, _: u32, code: u32, size: usize) {
        let message = self.get_grpc_call_response_body(0, size).unwrap_or_default();
        self.add_http_request_header("x-guest-grpc-status", &code.to_string());
        self.add_http_request_header("x-guest-grpc-message", &calls::hex(&message));
        let (code, text) = self.get_grpc_status();
        self.add_http_request_header("x-guest-grpc-get-status", &format!("{code} {}", text.unwrap_or_default()));
        self.resume_http_request();
    }

    fn on_done(&mut self) -> bool {
        info!("guest on_done");
        if self.shared.config.mode == "done-later" {
            self.shared.waiting.borrow_mut().push(self.context);
            return false;
        }
        true
    }
}

impl HttpContext for Filter {
    fn on_http_request_headers(&mut self, number: usize, end: bool) -> Action {
        self.run("request-headers", |filter| filter.request_headers(number, end))
    }

    fn on_http_request_body(&mut self, size: usize, end: bool) -> Action {
        self.run("request-body", |filter| filter.request_body(size, end))
    }

    fn on_http_request_trailers(&mut self, number: usize) -> Action {
        self.run("request-trailers", |filter| filter.trailers(MapType::HttpRequestTrailers, number, "request"))
    }

    fn on_http_response_headers(&mut self, number: usize, end: bool) -> Action {
        self.run("response-headers", |filter| filter.response_headers(number, end))
    }

    fn on_http_response_body(&mut self, size: usize, end: bool) -> Action {
        self.run("response-body", |filter| filter.response_body(size, end))
    }

    fn on_http_response_trailers(&mut self, number: usize) -> Action {
        self.run("response-trailers", |filter| filter.trailers(MapType::HttpResponseTrailers, number, "response"))
    }

    fn on_log(&mut self) {
        let shared = self.shared.clone();
        match shared.config.mode.as_str() {
            "metrics" => {
                let Some(metrics) = &shared.metrics else { return };
                let _ = hostcalls::increment_metric(metrics.open, -1);
                let _ = hostcalls::record_metric(metrics.sizes, self.request_size as u64);
            }
            "access-log" => info!(
                "guest access: method={} path={} status={} code={} size={} duration={}",
                self.get_http_request_header(":method").unwrap_or_default(),
                state::property("request.path").1,
                self.get_http_response_header(":status").unwrap_or_default(),
                state::property("response.code:i").1,
                state::property("response.size:i").1,
                state::property("request.duration:i").1,
            ),
            "panic" if shared.config.argument(0) == "log" => panic!("guest panics in log"),
            "done-later" => info!("guest on_log"),
            _ => {}
        }
    }
}

impl Filter {
    /// A body that is followed by trailers is never said to end, so what waited for its end goes on here.
    fn trailers(&mut self, map: MapType, number: usize, own: &str) -> Step {
        let shared = self.shared.clone();
        let config = &shared.config;
        let held = ["body", "body-clear", "body-to-header", "local-body"].contains(&config.mode.as_str());
        match config.mode.as_str() {
            "trailers" => maps::change(map, number, own)?,
            "trailers-set" => maps::set(map, own)?,
            _ if held && own == "request" && !self.request.ended => {
                let size = self.get_http_request_body(0, usize::MAX).map_or(0, |body| body.len());
                return self.request_body(size, true);
            }
            _ if held && own == "response" && !self.response.ended => {
                let size = self.get_http_response_body(0, usize::MAX).map_or(0, |body| body.len());
                return self.response_body(size, true);
            }
            _ => {}
        }
        Ok(Action::Continue)
    }

    fn response_body(&mut self, size: usize, end: bool) -> Step {
        self.response.ended = end;
        let shared = self.shared.clone();
        if !body::wanted(&shared.config, "response") {
            return Ok(Action::Continue);
        }
        body::piece(&shared.config, BufferType::HttpResponseBody, size, end, &mut self.response)
    }
}
