//! `key-index status`: what a key index is of, and whether all of it can be used.

use std::path::{Path, PathBuf};

use super::{Failure, Files, failed};
use crate::backend::key_index::{KeyIndex, path_beside};
use crate::server::offline;

impl Files {
    /// Opens the index at `path`, or that of the data directory there, and checks all of it.
    pub(super) fn key_index(&self, path: &Path) -> Result<KeyIndex, Failure> {
        let disk = self.disk.as_ref();
        let path = self.index_path(path);
        let index = KeyIndex::open_any(disk, &path).and_then(|index| {
            index.as_ref().map_or(Ok(()), KeyIndex::check)?;
            Ok(index)
        });
        let index = index.map_err(|error| {
            failed(format!(
                "{error}: the member does not use it and loses nothing by that; it can be removed \
                 while the member does not run"
            ))
        })?;
        index.ok_or_else(|| failed(format!("there is no key index {}", path.display())))
    }

    /// `path`/member/snap/db.keys, or `path` itself where it is no data directory.
    fn index_path(&self, path: &Path) -> PathBuf {
        let store = offline::backend_path(path);
        match store.parent().map(|folder| self.disk.exists(folder)) {
            Some(Ok(true)) => path_beside(&store),
            _ => path.to_owned(),
        }
    }
}
