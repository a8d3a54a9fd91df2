//! The root context: it reads the configuration, and carries what is not one request's: ticks, metrics, calls on a tick.

use std::{cell::Cell, cell::RefCell, rc::Rc, time::Duration};

use proxy_wasm::{hostcalls, traits::*, types::*};

use crate::{calls, filter::Filter, state::Metrics, Config};

/// What the contexts of one instance share.
#[derive(Default)]
pub struct Shared {
    pub config: Config,
    pub metrics: Option<Metrics>,
    pub ticks: Cell<u32>,
    /// Contexts that the next tick lets go on, or ends.
    pub waiting: RefCell<Vec<u32>>,
}

#[derive(Default)]
pub struct Root {
    shared: Rc<Shared>,
}

/// The modes that a filter has, apart from those that only the root context knows.
const MODES: &[&str] = &[
    "headers",
    "headers-set",
    "trailers",
    "trailers-set",
    "body",
    "body-stream",
    "body-around",
    "body-clear",
    "body-to-header",
    "local",
    "local-response",
    "local-body",
    "grpc-status",
    "reset",
    "reset-response",
    "properties",
    "set-property",
    "service",
    "header",
    "route",
    "endpoint",
    "foreign",
    "shared-data",
    "cas-mismatch",
    "shared-remove",
    "metrics",
    "tick",
    "tick-pause",
    "tick-call",
    "http-call",
    "http-calls",
    "http-call-response",
    "grpc-call",
    "grpc-stream",
    "log",
    "access-log",
    "done-later",
    "panic",
    "pause",
    "queue",
    "time",
    "nothing",
];

impl Context for Root {
    fn on_http_call_response(&mut self, _: u32, headers: usize, body: usize, _: usize) {
        let status = self.get_http_call_response_header(":status").unwrap_or_default();
        let body = self.get_http_call_response_body(0, body).unwrap_or_default();
        log::info!("guest call on tick: headers={headers} status={status} body={}", calls::text(&body));
    }

    fn on_done(&mut self) -> bool {
        log::info!("guest root on_done");
        if self.shared.config.mode == "done-later" {
            self.shared.waiting.borrow_mut().push(0);
            return false;
        }
        true
    }
}

impl RootContext for Root {
    fn on_vm_start(&mut self, size: usize) -> bool {
        log::info!(
            "guest on_vm_start: {size} bytes of configuration, {}",
            self.get_vm_configuration().unwrap_or_default().len()
        );
        true
    }

    fn on_configure(&mut self, size: usize) -> bool {
        let bytes = self.get_plugin_configuration().unwrap_or_default();
        let config = Config::parse(&calls::text(&bytes));
        log::info!("guest on_configure: {size} bytes, {}", config.mode);
        match config.mode.as_str() {
            "refuse" => return false,
            "panic" if config.argument(0) == "configure" => panic!("guest panics in configure"),
            mode if !MODES.contains(&mode) => {
                log::error!("guest: no mode is called {mode:?}");
                return false;
            }
            _ => {}
        }
        let metrics = (config.mode == "metrics").then(Metrics::define);
        match config.mode.as_str() {
            "tick" | "tick-pause" | "tick-call" => self.set_tick_period(Duration::from_millis(config.number(0).into())),
            // A count of two instances is exact only from a value that is there: version 0 overwrites whatever is.
            "shared-data" if self.get_shared_data(config.argument(0)).0.is_none() => {
                let _ = self.set_shared_data(config.argument(0), Some(b"0"), None);
            }
            "done-later" | "panic" => self.set_tick_period(Duration::from_millis(20)),
            _ => {}
        }
        self.shared = Rc::new(Shared { config, metrics, ..Shared::default() });
        true
    }

    fn on_tick(&mut self) {
        let (shared, config) = (&self.shared, &self.shared.config);
        shared.ticks.set(shared.ticks.get() + 1);
        match config.mode.as_str() {
            "tick" => log::info!("guest tick {}", shared.ticks.get()),
            "tick-call" => {
                if let Err(status) = calls::dispatch(config.argument(1), config.argument(2), "", 1000) {
                    log::error!("guest call on tick refused: {status:?}");
                }
            }
            "panic" if config.argument(0) == "tick" => panic!("guest panics in tick"),
            _ => {}
        }
        for context in shared.waiting.take() {
            // 0 is this root context, which is the effective one already.
            if context != 0 && hostcalls::set_effective_context(context).is_err() {
                continue;
            }
            if config.mode == "done-later" {
                log::info!("guest done");
                self.done();
            } else if let Err(status) = hostcalls::resume_http_request() {
                log::error!("guest resume refused: {status:?}");
            }
        }
    }

    fn on_log(&mut self) {
        log::info!("guest root on_log");
    }

    fn create_http_context(&self, context: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Filter::new(context, self.shared.clone())))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}
