//! What a thread writes to the log.

use std::cell::RefCell;
use std::fmt::{self, Write as _};
use std::sync::Once;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

thread_local! {
    static LINES: RefCell<Option<Vec<(Level, String)>>> = const { RefCell::new(None) };
}

/// For all threads: one for a single thread would miss what others were the first to log.
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
        LINES.with_borrow_mut(|lines| {
            let Some(lines) = lines else {
                return;
            };
            let mut message = Message(String::new());
            event.record(&mut message);
            lines.push((*event.metadata().level(), message.0));
        });
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// Runs `work`; what this thread logs meanwhile.
pub fn logged<T>(work: impl FnOnce() -> T) -> (Vec<(Level, String)>, T) {
    static CAPTURING: Once = Once::new();
    CAPTURING.call_once(|| tracing::subscriber::set_global_default(Capture).unwrap());
    LINES.set(Some(Vec::new()));
    let value = work();
    (LINES.take().unwrap(), value)
}
