//! The production host: tokio, `std::fs` and real sockets.
//!
//! This module is the one place in the crate that reads the operating system's clocks, starts
//! tokio tasks and opens sockets and files. It adds no policy: no retry, no time-out, no buffer of
//! its own.
#![allow(
    clippy::disallowed_methods,
    reason = "this is the one place that touches the operating system"
)]

use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::runtime::Handle;

use crate::host::{BoxFuture, Disk, Host, Listener, Moment, Stream, TaskHandle};

mod disk;
mod net;
mod process;

pub use disk::OsDisk;

/// One process on the operating system. Its monotonic clock starts when it is made.
pub struct OsHost {
    runtime: Handle,
    origin: Instant,
    disk: Arc<OsDisk>,
    boot_id: String,
}

impl OsHost {
    /// A host whose tasks run on `runtime`, which must have its timer and its I/O driver enabled.
    pub fn new(runtime: Handle) -> OsHost {
        OsHost {
            runtime,
            origin: Instant::now(),
            disk: Arc::new(OsDisk),
            boot_id: read_boot_id(),
        }
    }
}

/// Linux's name for the running boot. Where there is none every process counts as a new boot,
/// which is never wrong about what survived, only too careful.
fn read_boot_id() -> String {
    match std::fs::read_to_string("/proc/sys/kernel/random/boot_id") {
        Ok(id) if !id.trim().is_empty() => id.trim().to_owned(),
        _ => {
            let mut bytes = [0; 16];
            random(&mut bytes);
            bytes.iter().map(|byte| format!("{byte:02x}")).collect()
        }
    }
}

fn random(buffer: &mut [u8]) {
    getrandom::fill(buffer).expect("the kernel's random source works once it has been initialised");
}

impl Host for OsHost {
    fn now(&self) -> Moment {
        Moment(self.origin.elapsed())
    }

    fn wall_clock(&self) -> Duration {
        // A clock set before 1970 reads as 1970: this time is for display only.
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<()> {
        // The time counts from this call, not from the first poll; the timer itself is made on the
        // first poll, because that needs the runtime's context and this call does not have to.
        let called = tokio::time::Instant::now();
        Box::pin(async move {
            match called.checked_add(duration) {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        })
    }

    fn spawn(&self, _name: &'static str, task: BoxFuture<()>) -> TaskHandle {
        let abort = self.runtime.spawn(task).abort_handle();
        TaskHandle::new(move || abort.abort())
    }

    fn blocking(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<()> {
        // Started here and not on the first poll: an abandoned future must not lose the work.
        let running = self.runtime.spawn_blocking(move || {
            if let Err(panic) = std::panic::catch_unwind(AssertUnwindSafe(work)) {
                tracing::error!(reason = panic_text(&*panic), "disk work panicked");
            }
        });
        Box::pin(async move {
            // An error here means that the runtime is shutting down and dropped the work.
            let _ = running.await;
        })
    }

    fn disk(&self) -> Arc<dyn Disk> {
        self.disk.clone()
    }

    fn listen(&self, address: &str) -> BoxFuture<io::Result<Box<dyn Listener>>> {
        let address = address.to_owned();
        Box::pin(async move { net::listen(&address).await })
    }

    fn connect(&self, address: &str) -> BoxFuture<io::Result<Box<dyn Stream>>> {
        let address = address.to_owned();
        Box::pin(async move { net::connect(&address).await })
    }

    fn fill_random(&self, buffer: &mut [u8]) {
        random(buffer);
    }

    fn boot_id(&self) -> String {
        self.boot_id.clone()
    }

    fn process_usage(&self) -> Option<crate::host::ProcessUsage> {
        process::usage()
    }
}

/// The text a panic was raised with, when it was raised with one.
fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    if let Some(text) = panic.downcast_ref::<&str>() {
        text
    } else if let Some(text) = panic.downcast_ref::<String>() {
        text
    } else {
        "not a text"
    }
}

#[cfg(test)]
mod tests;
