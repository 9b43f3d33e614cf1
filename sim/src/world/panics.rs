//! Panics: caught, described, and kept away from other runs.
//!
//! A panic hook notes message and place for threads that run a simulation; panics of other threads
//! go to the hook that was there before.

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::RefCell;
use std::fmt;
use std::panic::PanicHookInfo;
use std::sync::Once;

/// What is known of a panic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PanicReport {
    /// The panic's message.
    pub message: String,
    /// `file:line:column`, if known.
    pub place: String,
    /// The name of the task that panicked.
    pub task: String,
    /// The stack, when `RUST_BACKTRACE` asks for it.
    pub backtrace: Option<String>,
}

impl fmt::Display for PanicReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "task {} panicked at {}: {}",
            self.task, self.place, self.message
        )
    }
}

thread_local! {
    /// `None`: not a simulation's thread. Else the last panic's place and stack.
    static NOTED: RefCell<Option<(String, Option<String>)>> = const { RefCell::new(None) };
}

/// Makes the calling thread a simulation's.
pub(super) fn watch_this_thread() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !note(info) {
                before(info);
            }
        }));
    });
    NOTED.with(|noted| *noted.borrow_mut() = Some((String::new(), None)));
}

fn note(info: &PanicHookInfo<'_>) -> bool {
    let noted = NOTED.try_with(|noted| {
        let Ok(mut noted) = noted.try_borrow_mut() else {
            return false;
        };
        let Some(noted) = noted.as_mut() else {
            return false;
        };
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let stack = Backtrace::capture();
        let stack = (stack.status() == BacktraceStatus::Captured).then(|| stack.to_string());
        *noted = (place, stack);
        true
    });
    noted.unwrap_or(false)
}

/// Describes a panic that was just caught on this thread.
pub(super) fn describe(payload: &(dyn Any + Send), task: &str) -> PanicReport {
    let message = match (
        payload.downcast_ref::<&str>(),
        payload.downcast_ref::<String>(),
    ) {
        (Some(text), _) => (*text).to_owned(),
        (_, Some(text)) => text.clone(),
        _ => "(the panic carries no message)".to_owned(),
    };
    let (place, backtrace) = NOTED
        .with(|noted| noted.borrow().clone())
        .unwrap_or_default();
    PanicReport {
        message,
        place,
        task: task.to_owned(),
        backtrace,
    }
}
