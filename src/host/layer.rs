//! A host in front of another: it does a few things its own way and passes everything else on.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::{BoxFuture, Disk, Event, Host, Listener, Moment, ProcessUsage, Stream, TaskHandle};
use crate::defects::Defects;

/// What a host does its own way. What is not overridden is left to the host behind it.
pub trait Layer: Send + Sync + 'static {
    /// In place of [`Host::connect`].
    fn connect(
        &self,
        inner: &Arc<dyn Host>,
        address: &str,
    ) -> BoxFuture<io::Result<Box<dyn Stream>>> {
        inner.connect(address)
    }

    /// In place of [`Host::blocking`].
    fn blocking(&self, inner: &Arc<dyn Host>, work: Box<dyn FnOnce() + Send>) -> BoxFuture<()> {
        inner.blocking(work)
    }

    /// In place of [`Host::observe`].
    fn observe(&self, inner: &Arc<dyn Host>, event: Event) {
        inner.observe(event);
    }
}

/// A [`Layer`] and the host behind it. Every method of [`Host`] is passed on here, those with a
/// default too: a new one has to be added here alone.
pub struct Layered<L> {
    inner: Arc<dyn Host>,
    layer: L,
}

impl<L: Layer> Layered<L> {
    /// Puts `layer` in front of `inner`.
    pub fn new(inner: Arc<dyn Host>, layer: L) -> Layered<L> {
        Layered { inner, layer }
    }
}

impl<L: Layer> Host for Layered<L> {
    fn now(&self) -> Moment {
        self.inner.now()
    }
    fn wall_clock(&self) -> Duration {
        self.inner.wall_clock()
    }
    fn sleep(&self, duration: Duration) -> BoxFuture<()> {
        self.inner.sleep(duration)
    }
    fn spawn(&self, name: &'static str, task: BoxFuture<()>) -> TaskHandle {
        self.inner.spawn(name, task)
    }
    fn blocking(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<()> {
        self.layer.blocking(&self.inner, work)
    }
    fn disk(&self) -> Arc<dyn Disk> {
        self.inner.disk()
    }
    fn listen(&self, address: &str) -> BoxFuture<io::Result<Box<dyn Listener>>> {
        self.inner.listen(address)
    }
    fn connect(&self, address: &str) -> BoxFuture<io::Result<Box<dyn Stream>>> {
        self.layer.connect(&self.inner, address)
    }
    fn fill_random(&self, buffer: &mut [u8]) {
        self.inner.fill_random(buffer);
    }
    fn boot_id(&self) -> String {
        self.inner.boot_id()
    }
    fn observe(&self, event: Event) {
        self.layer.observe(&self.inner, event);
    }
    fn process_usage(&self) -> Option<ProcessUsage> {
        self.inner.process_usage()
    }
    fn defects(&self) -> Defects {
        self.inner.defects()
    }
}
