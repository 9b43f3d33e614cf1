//! The log's space: reserved before it is written to, so that a full disk shows while there is still
//! something to write to.

use std::sync::Arc;

use super::error::Error;
use super::format::Tail;
use super::log::Log;
use super::segment::NEXT;
use crate::host::OpenMode;
use crate::storage::{Fault, Space};

impl Log {
    /// Tells `space` from now on when the disk has no more space to reserve, and when it has again.
    pub fn report_space(&mut self, space: Arc<Space>) {
        space.set_log(self.short);
        self.space = space;
    }

    /// Whether the disk is full and what is written goes into [`super::Options::reserve_bytes`]. Once
    /// they are used up, the next write fails, and that is final.
    pub fn is_short(&self) -> bool {
        self.short
    }

    /// Tries again to reserve space, if there was none. Nothing depends on its success: what could
    /// not be reserved was never written to.
    ///
    /// # Errors
    /// [`Error::Io`]; final.
    pub fn look_for_space(&mut self) -> Result<(), Error> {
        self.guarded(|log| {
            if log.short {
                log.allocate()?;
            }
            if log.short && log.active.end() >= log.options.segment_bytes {
                log.prepare_segment()?;
            }
            Ok(())
        })
    }

    fn set_short(&mut self, short: bool) {
        if std::mem::replace(&mut self.short, short) != short {
            match short {
                true => tracing::error!("no space left for the log: it goes on in its reserve"),
                false => tracing::warn!("there is space for the log again"),
            }
        }
        self.space.set_log(short);
    }

    /// Reserves space for what is about to be written and some more, so that most syncs find the
    /// file's length and place on the disk unchanged. A full disk is no failure here: there is the
    /// reserve, and where that is used up, the write will say so itself.
    pub(super) fn allocate(&mut self) -> Result<(), Error> {
        let (step, end) = (self.options.allocate_bytes, self.active.end());
        if step == 0 || self.active.tail == Tail::Nothing {
            return Ok(());
        }
        let needed = end + self.options.reserve_bytes;
        if needed > self.active.allocated {
            let wanted = needed.next_multiple_of(step);
            let most = self.options.segment_bytes + self.options.reserve_bytes;
            let wanted = wanted.min(most).max(needed);
            match self.active.file.allocate(wanted) {
                Ok(()) => self.active.allocated = wanted,
                Err(error) if Fault::of_io(&error) == Fault::Full => {
                    self.set_short(true);
                    return Ok(());
                }
                Err(error) => {
                    return Err(Error::io("reserve space for", &self.active.path)(error));
                }
            }
        }
        // A full segment whose successor found no space is no sign of space.
        if end < self.options.segment_bytes {
            self.set_short(false);
        }
        Ok(())
    }

    /// Makes the file of the next segment, unless a released one is at hand, with a reserve of its
    /// own. `false` when there is no space for it: the log then goes on in the segment that it has.
    pub(super) fn prepare_segment(&mut self) -> Result<bool, Error> {
        let reserve = self.options.reserve_bytes;
        if reserve == 0 || self.options.allocate_bytes == 0 || !self.spares.is_empty() {
            return Ok(true);
        }
        let path = self.dir.join(NEXT);
        let prepared = self
            .disk
            .open(&path, OpenMode::OpenOrCreate)
            .and_then(|file| file.allocate(reserve));
        match prepared {
            Ok(()) => {
                self.spares.push_back(path);
                self.set_short(false);
                Ok(true)
            }
            Err(error) if Fault::of_io(&error) == Fault::Full => {
                self.set_short(true);
                Ok(false)
            }
            Err(error) => Err(Error::io("reserve space for", &path)(error)),
        }
    }
}
