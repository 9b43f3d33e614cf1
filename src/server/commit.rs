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
    /// Whether anybody still waits for it: a member that has ended must not write to its store.
    pub is_wanted: Box<dyn Fn() -> bool + Send + Sync>,
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
            is_wanted,
        } = self;
        let work = Arc::new((changes, meta));
        let mut again = false;
        loop {
            let (store, what) = (backend.clone(), work.clone());
            let committing = host.run_blocking(move || {
                match again {
                    true => store.commit_again(&what.0, &what.1)?,
                    false => store.commit(&what.0, &what.1)?,
                }
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
                    backend = reopen(&host, backend, &*is_wanted).await?;
                    again = true;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

async fn reopen(
    host: &Arc<dyn Host>,
    backend: Arc<Backend>,
    is_wanted: &(dyn Fn() -> bool + Send + Sync),
) -> Result<Arc<Backend>, Error> {
    loop {
        host.sleep(TRY_EVERY).await;
        if !is_wanted() {
            return Err(Error::Interrupted);
        }
        let (store, disk) = (backend.clone(), host.disk());
        let reopening = host.run_blocking(move || store.reopen(&*disk));
        match reopening.await.ok_or(Error::Interrupted)? {
            Ok(reopened) => return Ok(Arc::new(reopened)),
            Err(error) if error.fault() == Fault::Full => {}
            Err(error) => return Err(error.into()),
        }
    }
}
