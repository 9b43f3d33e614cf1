//! What an offline tool does to a store that no member has open.

use super::{Backend, Error, Size, caught};

impl Backend {
    /// Gives the file's unused pages back to the file system. Every step is a transaction, so a
    /// crash leaves the same content. Blocks, in proportion to the file. Returns the size after.
    ///
    /// # Errors
    /// The disk's, or damage.
    pub fn shrink(&mut self) -> Result<Size, Error> {
        self.set_busy(true)?;
        let database = &mut self.database;
        let shrunk = caught(&self.path, || match database {
            Some(database) => {
                // Each round moves pages towards the front; the last one finds nothing to do.
                while database.compact()? {}
                Ok(())
            }
            None => Err(redb::Error::DatabaseClosed),
        });
        if let Err(error) = shrunk.and_then(|()| self.set_busy(false)) {
            self.file.shut();
            return Err(error);
        }
        self.size()
    }
}
