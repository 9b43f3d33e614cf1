//! One commit of the store, and what becomes of it on a full disk.
//!
//! A commit that finds no space has changed nothing: the store is opened again as it was, and the
//! same commit is made once there is space. Meanwhile the log still holds every entry of it, entries
//! go on being applied, and whoever writes is refused. Any other failure is final.

use std::sync::Arc;
use std::time::Duration;

use crate::api::proto::vetcdpb::BackendMeta;
use crate::backend::{self, Backend, Size};
use crate::host::{Host, HostExt};
use crate::mvcc::Changes;
use crate::storage::{Fault, Space};

use super::apply::Error;

/// How often a commit that found the disk full is tried again.
const TRY_EVERY: Duration = Duration::from_secs(1);

/// Everything that one commit needs.
pub(super) struct Commit {
    pub host: Arc<dyn Host>,
    pub space: Arc<Space>,
    pub backend: Arc<Backend>,
    pub changes: Changes,
    pub meta: BackendMeta,
}

impl Commit {
    /// Commits; returns the store to use from now on, which is another one than before when the disk
    /// was full meanwhile, and its size.
    ///
    /// # Errors
    /// Any failure but a lack of space.
    pub(super) async fn run(self) -> Result<(Arc<Backend>, Option<Size>), Error> {
        let Commit {
            host,
            space,
            mut backend,
            changes,
            meta,
        } = self;
        let work = Arc::new((changes, meta));
        loop {
            let (store, what) = (backend.clone(), work.clone());
            let committing = host.run_blocking(move || {
                commit(&store, &what.0, &what.1)?;
                Ok::<_, backend::Error>(store.size().ok())
            });
            match committing.await.ok_or(Error::Interrupted)? {
                Ok(size) => {
                    space.set_store(false);
                    return Ok((backend, size));
                }
                Err(error) if error.fault() == Fault::Full => {
                    tracing::error!(%error, "no space left for the store: it waits for some");
                    space.set_store(true);
                    backend = reopen(&host, backend).await?;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Commits, unless the store holds all of it: a commit that failed may have come through.
fn commit(store: &Backend, changes: &Changes, meta: &BackendMeta) -> Result<(), backend::Error> {
    match store.is_reopened() && store.consistent_index()? >= meta.consistent_index {
        true => Ok(()),
        false => store.commit(changes, meta),
    }
}

async fn reopen(host: &Arc<dyn Host>, backend: Arc<Backend>) -> Result<Arc<Backend>, Error> {
    loop {
        host.sleep(TRY_EVERY).await;
        let (store, disk) = (backend.clone(), host.disk());
        let reopening = host.run_blocking(move || store.reopen(&*disk));
        match reopening.await.ok_or(Error::Interrupted)? {
            Ok(reopened) => return Ok(Arc::new(reopened)),
            Err(error) if error.fault() == Fault::Full => {}
            Err(error) => return Err(error.into()),
        }
    }
}

