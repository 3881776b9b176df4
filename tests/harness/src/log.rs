//! What is logged.
//!
//! There is one subscriber a process, since one for a single thread would miss what other threads were the
//! first to log.

use std::cell::RefCell;
use std::fmt::{self, Write as _};
use std::sync::{Mutex, Once};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

thread_local! {
    static OF_THREAD: RefCell<Option<Vec<(Level, String)>>> = const { RefCell::new(None) };
}

/// Level, target and message.
type Line = (Level, &'static str, String);

/// Once they are wanted.
static OF_PROCESS: Mutex<Option<Vec<Line>>> = Mutex::new(None);

struct Capture;

struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            write!(self.0, "{value:?}").unwrap();
        }
    }
}

impl Subscriber for Capture {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::INFO
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        let mut message = Message(String::new());
        event.record(&mut message);
        let (level, target) = (*event.metadata().level(), event.metadata().target());
        OF_THREAD.with_borrow_mut(|lines| {
            if let Some(lines) = lines {
                lines.push((level, message.0.clone()));
            }
        });
        if let Some(lines) = &mut *OF_PROCESS.lock().unwrap() {
            lines.push((level, target, message.0));
        }
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

fn capture() {
    static CAPTURING: Once = Once::new();
    CAPTURING.call_once(|| tracing::subscriber::set_global_default(Capture).unwrap());
}

/// Runs `work`; what this thread logs meanwhile, of level INFO and above.
pub fn logged<T>(work: impl FnOnce() -> T) -> (Vec<(Level, String)>, T) {
    capture();
    OF_THREAD.set(Some(Vec::new()));
    let value = work();
    (OF_THREAD.take().unwrap(), value)
}

/// What all threads of this process have logged since the last call, of one level, INFO or above, and of
/// targets that begin so; all else is forgotten. The first call begins to keep it.
pub fn take_log(level: Level, target: &str) -> Vec<String> {
    capture();
    let lines = OF_PROCESS.lock().unwrap().replace(Vec::new());
    let wanted = lines.into_iter().flatten();
    wanted
        .filter(|line| line.0 == level && line.1.starts_with(target))
        .map(|line| line.2)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_kept_by_thread_and_by_process() {
        assert!(take_log(Level::INFO, "").is_empty());
        let (lines, ()) = logged(|| {
            tracing::warn!(number = 1, "of this thread");
            tracing::debug!("not wanted");
            std::thread::spawn(|| tracing::info!("of another one"))
                .join()
                .unwrap();
        });
        assert_eq!(lines, [(Level::WARN, "of this thread".to_owned())]);
        assert_eq!(take_log(Level::INFO, "trunkline"), ["of another one"]);
        assert!(take_log(Level::WARN, "trunkline").is_empty());
    }
}
