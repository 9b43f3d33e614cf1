//! Files that become a configuration, and become another when they change.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use super::{Contents, Error};
use crate::host::{Disk, Host, HostExt, Moment, OpenMode};

/// How often files are looked at, at most.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The largest file taken: certificates and revocation lists are far smaller.
const FILE_BYTES_MAX: u64 = 16 << 20;

type Build<C> = dyn Fn(&Contents) -> Result<C, Error> + Send + Sync;

/// A configuration made of files.
pub struct Reloading<C> {
    host: Arc<dyn Host>,
    paths: Vec<PathBuf>,
    build: Box<Build<C>>,
    state: Mutex<State<C>>,
}

struct State<C> {
    contents: Contents,
    config: Arc<C>,
    looked: Moment,
}

impl<C: Send + Sync + 'static> Reloading<C> {
    /// Reads the files for the first time.
    pub(super) async fn start(
        host: Arc<dyn Host>,
        paths: Vec<PathBuf>,
        build: impl Fn(&Contents) -> Result<C, Error> + Send + Sync + 'static,
    ) -> Result<Reloading<C>, Error> {
        let contents = read(&host, paths.clone()).await?;
        let config = Arc::new(build(&contents)?);
        let looked = host.now();
        Ok(Reloading {
            host,
            paths,
            build: Box::new(build),
            state: Mutex::new(State {
                contents,
                config,
                looked,
            }),
        })
    }

    /// The configuration of the files as they are now, give or take [`LOOK_EVERY`].
    pub(super) async fn current(&self) -> Arc<C> {
        {
            let mut state = self.lock();
            let now = self.host.now();
            if now.since(state.looked) < LOOK_EVERY {
                return state.config.clone();
            }
            // Whoever comes meanwhile is served with what there is.
            state.looked = now;
        }
        match read(&self.host, self.paths.clone()).await {
            Ok(contents) => self.take(contents),
            Err(error) => {
                tracing::warn!(%error, "TLS files unreadable, the old ones stay in force")
            }
        }
        self.lock().config.clone()
    }

    fn take(&self, contents: Contents) {
        let mut state = self.lock();
        if state.contents == contents {
            return;
        }
        match (self.build)(&contents) {
            Ok(config) => {
                tracing::info!("TLS files have changed and are in force");
                state.config = Arc::new(config);
                state.contents = contents;
            }
            // Half of the files may be new: the next look finds the other half.
            Err(error) => tracing::warn!(%error, "changed TLS files do not go together"),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<C>> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }
}

async fn read(host: &Arc<dyn Host>, paths: Vec<PathBuf>) -> Result<Contents, Error> {
    let disk = host.disk();
    host.run_blocking(move || paths.iter().map(|path| read_file(&*disk, path)).collect())
        .await
        .unwrap_or(Err(Error::Interrupted))
}

/// Reads a whole file of reasonable size; blocks.
pub(super) fn read_file(disk: &dyn Disk, path: &Path) -> Result<Vec<u8>, Error> {
    let wrong = |source| Error::File {
        path: path.to_owned(),
        source,
    };
    let file = disk.open(path, OpenMode::Read).map_err(wrong)?;
    let length = file.len().map_err(wrong)?;
    if length > FILE_BYTES_MAX {
        return Err(super::content(
            path,
            format!("larger than {FILE_BYTES_MAX} bytes"),
        ));
    }
    let mut bytes = vec![0; length as usize];
    let read = file.read_at(0, &mut bytes).map_err(wrong)?;
    bytes.truncate(read);
    Ok(bytes)
}
