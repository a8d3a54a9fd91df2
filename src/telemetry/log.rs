//! Logs: what is said, how loudly, and in which form. They go to standard error, so that standard output stays with
//! the commands that answer something.

use tracing::Level;

use crate::config::Section;

/// The target of the access log, one event per finished exchange, at level info. It is switched by
/// [`LogConfig::access`] alone, whatever the level.
pub const ACCESS: &str = "waypost::access";

/// What is logged, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// `level`: `error`, `warn`, `info` (default), `debug`, or, in development builds, `trace`. Libraries are heard up
    /// to `warn`, because theirs is one line per frame.
    pub level: Level,
    /// `format`: `text` (default) or `json`. Fixed when the process starts.
    pub format: LogFormat,
    /// `access`: whether each exchange is logged. Default false.
    pub access: bool,
}

/// The form of a line in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people: time, level, message, `key=value`; coloured on a terminal.
    Text,
    /// For machines: an object per line.
    Json,
}

impl Default for LogConfig {
    fn default() -> Self {
        LogConfig { level: Level::INFO, format: LogFormat::Text, access: false }
    }
}

impl LogConfig {
    /// Reads the section `log`.
    pub fn read(section: &mut Section<'_>) -> Self {
        let default = LogConfig::default();
        let levels = [
            ("error", Level::ERROR),
            ("warn", Level::WARN),
            ("info", Level::INFO),
            ("debug", Level::DEBUG),
            ("trace", Level::TRACE),
        ];
        let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
        LogConfig {
            level: section.choice("level", &levels, default.level),
            format: section.choice("format", &formats, default.format),
            access: section.boolean("access", default.access),
        }
    }
}

#[cfg(feature = "cli")]
pub use output::{LogHandle, init_log};

#[cfg(feature = "cli")]
mod output {
    use std::io::{self, IsTerminal};

    use tracing::level_filters::LevelFilter;
    use tracing::{Level, Subscriber};
    use tracing_subscriber::filter::Targets;
    use tracing_subscriber::fmt::{self, MakeWriter};
    use tracing_subscriber::layer::{Layer, SubscriberExt};
    use tracing_subscriber::util::SubscriberInitExt;
    use tracing_subscriber::{Registry, registry, reload};

    use super::{ACCESS, LogConfig, LogFormat};

    /// Changes what is logged while the process runs.
    #[derive(Debug, Clone)]
    pub struct LogHandle(reload::Handle<Targets, Registry>);

    impl LogHandle {
        /// Takes over level and access log. The format stays as it was at the start.
        pub fn apply(&self, config: &LogConfig) {
            if let Err(error) = self.0.reload(targets(config)) {
                tracing::error!(%error, "the log's level could not be changed");
            }
        }
    }

    /// Starts logging to standard error. For the start of the process: if it logs already, that stays as it is, and
    /// the handle changes nothing.
    ///
    /// Lines are written by the thread that has something to say, each by one call; a reader of standard error that
    /// stops reading stops the process.
    pub fn init_log(config: &LogConfig) -> LogHandle {
        let (subscriber, handle) = subscriber(config, io::stderr, io::stderr().is_terminal());
        if let Err(error) = subscriber.try_init() {
            tracing::warn!(%error, "logging was set up before");
        }
        handle
    }

    fn subscriber<W>(config: &LogConfig, writer: W, colours: bool) -> (impl Subscriber + Send + Sync, LogHandle)
    where
        W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
    {
        let (filter, handle) = reload::Layer::new(targets(config));
        let lines = fmt::layer().with_writer(writer).with_ansi(colours);
        let lines = match config.format {
            LogFormat::Text => lines.with_target(false).boxed(),
            LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed(),
        };
        (registry().with(filter).with(lines), LogHandle(handle))
    }

    fn targets(config: &LogConfig) -> Targets {
        let access = if config.access { LevelFilter::INFO } else { LevelFilter::OFF };
        Targets::new()
            .with_default(config.level.min(Level::WARN))
            .with_target(env!("CARGO_CRATE_NAME"), config.level)
            .with_target(ACCESS, access)
    }

    #[cfg(test)]
    mod tests {
        use std::sync::{Arc, Mutex};

        use super::*;

        #[derive(Clone, Default)]
        struct Page(Arc<Mutex<Vec<u8>>>);

        impl io::Write for Page {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.lock().unwrap().write(bytes)
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }

        /// What is logged under `first`, and, after it was applied, under `then`.
        fn logged(first: &LogConfig, then: &LogConfig) -> String {
            let page = Page::default();
            let writer = page.clone();
            let (subscriber, handle) = subscriber(first, move || writer.clone(), false);
            tracing::subscriber::with_default(subscriber, || {
                say("before");
                handle.apply(then);
                say("after");
            });
            let bytes = page.0.lock().unwrap().clone();
            String::from_utf8(bytes).unwrap()
        }

        fn say(when: &str) {
            tracing::info!(when, "ours");
            tracing::debug!(when, "detail");
            tracing::info!(target: "h2", when, "theirs");
            tracing::warn!(target: "h2", when, "warning");
            tracing::info!(target: ACCESS, when, "access");
        }

        fn messages(page: &str) -> Vec<String> {
            page.lines().map(|line| line.split_whitespace().skip(2).collect::<Vec<_>>().join(" ")).collect()
        }

        #[test]
        fn the_level_and_the_access_log_change_while_running() {
            let loud = LogConfig { level: Level::DEBUG, access: true, ..LogConfig::default() };
            let got = messages(&logged(&LogConfig::default(), &loud));
            let expected = [
                r#"ours when="before""#,
                r#"warning when="before""#,
                r#"ours when="after""#,
                r#"detail when="after""#,
                r#"warning when="after""#,
                r#"access when="after""#,
            ];
            assert_eq!(got, expected);
            let quiet = LogConfig { level: Level::ERROR, access: true, ..LogConfig::default() };
            assert_eq!(messages(&logged(&quiet, &quiet)), [r#"access when="before""#, r#"access when="after""#]);
        }

        #[test]
        fn json_is_an_object_per_line() {
            let config = LogConfig { format: LogFormat::Json, ..LogConfig::default() };
            let page = logged(&config, &LogConfig { level: Level::ERROR, ..config.clone() });
            let lines: Vec<serde_json::Value> = page.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            assert_eq!(lines.len(), 2, "{page}");
            assert_eq!(lines[0]["message"], "ours");
            assert_eq!(lines[0]["when"], "before");
            assert_eq!(lines[0]["level"], "INFO");
            assert!(lines[0]["timestamp"].is_string());
        }
    }
}
