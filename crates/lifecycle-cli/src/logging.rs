//! Logs: on stderr only, so that stdout carries nothing but data.

use std::io::{self, IsTerminal};

use anyhow::anyhow;
use lifecycle_core::settings::{Log, LogFormat};
use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

use crate::exit::{self, ExitWith};
use crate::output::{printable, printable_json};

/// The Redis client's own logs repeat at `warn` every reconnect, which we report ourselves.
const QUIET: (&str, LevelFilter) = ("fred", LevelFilter::ERROR);

/// Starts logging for the whole process, text or JSON as set. Colours appear only on a terminal
/// and only where `NO_COLOR` is unset or empty.
///
/// # Errors
/// With exit code 2 when the level is invalid (loaded settings have been checked for that). With exit code 1 when the
/// process logs already.
pub fn start(log: &Log) -> anyhow::Result<()> {
    let filter =
        targets(&log.level).map_err(|problem| anyhow!("log.level: {problem}")).exit_with(exit::USAGE)?;
    let colours =
        io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let format = log.format;
    let lines = layer(format, colours, move || Printable { format, colours, out: io::stderr() });
    tracing_subscriber::registry().with(lines.with_filter(filter)).try_init()?;
    Ok(())
}

/// Reads a level such as `info`, or targets such as `info,sweeper=debug`.
///
/// # Errors
/// One line that says what a level looks like.
pub fn targets(text: &str) -> Result<Targets, String> {
    let mut targets = Targets::new().with_target(QUIET.0, QUIET.1);
    for part in text.split(',').map(str::trim) {
        let (target, level) =
            part.split_once('=').map_or((None, part), |(target, level)| (Some(target), level));
        let level = level_filter(level).filter(|_| target != Some("")).ok_or_else(|| {
            format!("{part:?} is no level: use error, warn, info, debug, trace or off, or targets such as info,sweeper=debug")
        })?;
        targets = match target {
            Some(target) => targets.with_target(target, level),
            None => targets.with_default(level),
        };
    }
    Ok(targets)
}

/// Only the names. Tracing also takes numbers and an empty text, which would let mistakes pass.
fn level_filter(name: &str) -> Option<LevelFilter> {
    if !name.starts_with(|first: char| first.is_ascii_alphabetic()) {
        return None;
    }
    name.parse().ok()
}

/// Writes log lines, and escapes in other people's text the characters that steer a terminal (C1 controls too), change
/// the direction of text, or begin a new line.
struct Printable<W> {
    format: LogFormat,
    colours: bool,
    out: W,
}

impl<W: io::Write> io::Write for Printable<W> {
    /// Takes one whole line, as the log writes it.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        let (text, end) = text.strip_suffix('\n').map_or((&*text, ""), |text| (text, "\n"));
        let shown = match self.format {
            LogFormat::Json => printable_json(text),
            // The colours are the log's own: escape characters in its input are escaped by then.
            LogFormat::Text if self.colours => {
                text.split('\u{1b}').map(printable).collect::<Vec<_>>().join("\u{1b}")
            }
            LogFormat::Text => printable(text),
        };
        self.out.write_all((shown + end).as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn layer<S, W>(format: LogFormat, colours: bool, writer: W) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    // A closed stderr must not end a daemon, and complaining about it on stderr would panic.
    let lines =
        tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(colours).log_internal_errors(false);
    match format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_ansi(false).boxed(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing::Level;

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, level: &str, log: impl FnOnce()) -> String {
        let written = Written::default();
        let writer = written.clone();
        let lines = layer(format, false, move || Printable { format, colours: false, out: writer.clone() });
        let lines = lines.with_filter(targets(level).unwrap());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), log);
        let bytes = written.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_text_line_has_no_colours_away_from_a_terminal() {
        let text = logged(LogFormat::Text, "info", || tracing::info!(orphans = 3, "pass done"));
        assert!(text.ends_with("pass done orphans=3\n"), "{text:?}");
        assert!(!text.contains('\u{1b}'), "{text:?}");
    }

    #[test]
    fn a_json_line_is_one_object() {
        let text = logged(LogFormat::Json, "info", || tracing::warn!(orphans = 3, "pass done"));
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&line["level"], &line["orphans"]), (&"WARN".into(), &3.into()));
        assert_eq!(text.lines().count(), 1);
    }

    proptest::proptest! {
        #[test]
        fn other_peoples_text_stays_on_its_line_and_steers_no_terminal(text in proptest::prelude::any::<String>(), at in 0x7f_u32..0xa0) {
            let hostile = format!("{text}\u{202e}\n\u{1b}[2J{}", char::from_u32(at).unwrap());
            for format in [LogFormat::Text, LogFormat::Json] {
                let line = logged(format, "info", || tracing::info!(agent = %hostile, "{hostile}"));
                let line = line.strip_suffix('\n').unwrap();
                proptest::prop_assert!(line.chars().all(crate::output::is_printable), "{line:?}");
                if format == LogFormat::Json {
                    let read: serde_json::Value = serde_json::from_str(line).unwrap();
                    proptest::prop_assert_eq!(read["agent"].as_str(), Some(hostile.as_str()));
                }
            }
        }
    }

    #[test]
    fn the_level_holds_for_all_targets_but_those_named() {
        let targets = targets("warn, sweeper=debug").unwrap();
        assert!(targets.would_enable("sweeper::pass", &Level::DEBUG));
        assert!(!targets.would_enable("coordinator", &Level::INFO));
        assert!(targets.would_enable("coordinator", &Level::WARN));
    }

    #[test]
    fn the_redis_client_is_quiet_unless_asked() {
        assert!(!targets("trace").unwrap().would_enable("fred::router", &Level::WARN));
        assert!(targets("info").unwrap().would_enable("fred::router", &Level::ERROR));
        assert!(targets("info,fred=debug").unwrap().would_enable("fred::router", &Level::DEBUG));
    }

    #[test]
    fn a_word_that_is_no_level_is_refused_in_one_line() {
        for bad in ["infoo", "", "3", "info,", "sweeper=loud", "=info", "sweeper="] {
            let error = targets(bad).unwrap_err();
            assert!(error.contains("is no level: use error, warn, info"), "{error}");
            assert_eq!(error.lines().count(), 1);
        }
    }
}
