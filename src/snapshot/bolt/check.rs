//! Whether a database is whole: each page in use has one place in one tree, or is free.

use super::page::{FREE_LIST, HEADER_BYTES, Header, NO_FREE_LIST, u64_at};
use super::{Error, Reader};

impl Reader {
    /// Checks the file as a whole: every page in use is in exactly one tree or free, and every
    /// entry can be read.
    ///
    /// # Errors
    /// The disk's, or the first damage found.
    pub fn check(&self) -> Result<(), Error> {
        let mut used = Pages::new(self.meta.pages);
        for id in 0..2 {
            used.mark(id, 0);
        }
        let free = self.free_list(&mut used)?;
        let mut seen = |id: u64, header: &Header| match used.mark(id, header.overflow) {
            true => Ok(()),
            false => Err(self.damaged(id, "the page is used twice")),
        };
        self.walk(self.meta.root, &mut seen, &mut |_, _| Ok(()))?;
        for bucket in self.buckets()? {
            self.entries(&bucket, &mut seen, &mut |_, _| Ok(()))?;
        }
        for id in free {
            if !used.mark(id, 0) {
                return Err(self.damaged(id, "the page is used, and free, or free twice"));
            }
        }
        // Without a free list, which etcd does not write, unused pages cannot be told from lost.
        if self.meta.free_list != NO_FREE_LIST
            && let Some(lost) = used.first_unmarked()
        {
            return Err(self.damaged(lost, "the page is neither used nor free"));
        }
        Ok(())
    }

    /// The free pages, as far as the file lists them.
    fn free_list(&self, used: &mut Pages) -> Result<Vec<u64>, Error> {
        let id = self.meta.free_list;
        if id == NO_FREE_LIST {
            return Ok(Vec::new());
        }
        self.check_id(id, 0)?;
        let (header, page) = self.page(id)?;
        if header.kind != FREE_LIST {
            return Err(self.damaged(id, "the free list's page is of another kind"));
        }
        used.mark(id, header.overflow);
        let (start, count) = match header.count {
            u16::MAX => (8, u64_at(&page, HEADER_BYTES).unwrap_or(u64::MAX)),
            count => (0, u64::from(count)),
        };
        let room = (page.len() - HEADER_BYTES - start) as u64 / 8;
        if count > room {
            let what = format!("a free list of {count} pages in room for {room}");
            return Err(self.damaged(id, what));
        }
        let mut free = Vec::with_capacity(count as usize);
        for index in 0..count as usize {
            let page = u64_at(&page, HEADER_BYTES + start + 8 * index).unwrap_or(0);
            self.check_id(page, id)?;
            free.push(page);
        }
        Ok(free)
    }
}

/// A set of page numbers.
struct Pages {
    bits: Vec<u64>,
    count: u64,
}

impl Pages {
    /// `count` is at most `PAGES_MAX` and no more than the file has room for.
    fn new(count: u64) -> Pages {
        Pages {
            bits: vec![0; (count / 64 + 1) as usize],
            count,
        }
    }

    /// Adds a page and those it overflows to; whether none was there.
    fn mark(&mut self, id: u64, overflow: u32) -> bool {
        let mut fresh = true;
        for id in id..=id.saturating_add(u64::from(overflow)).min(self.count) {
            let Some(word) = self.bits.get_mut((id / 64) as usize) else {
                return false;
            };
            let bit = 1 << (id % 64);
            fresh &= *word & bit == 0;
            *word |= bit;
        }
        fresh
    }

    fn first_unmarked(&self) -> Option<u64> {
        (0..self.count).find(|id| {
            let word = self.bits.get((id / 64) as usize).copied().unwrap_or(0);
            word & (1 << (id % 64)) == 0
        })
    }
}
