//! Reads a database that anybody may have written.
//!
//! Nothing in the file is believed before it is checked: lengths against the file's, positions
//! against their page, page numbers against the number of pages in use. Memory is bounded by the
//! largest page run in the file, which is bounded by the file; work is bounded because names must
//! ascend through a whole tree and every page must hold at least one, so that no page can be
//! visited twice, and because trees have a greatest depth.

use std::sync::Arc;

use super::page::{
    BRANCH, BUCKET_BYTES, ELEMENT_BYTES, HEADER_BYTES, Header, LEAF, META, Meta, NoMeta,
    branch_child, leaf_element, u64_at,
};
use super::{Error, NAME_BYTES_MAX, VALUE_BYTES_MAX};
use crate::host::File;

/// Page sizes that bbolt is known to be used with.
const PAGE_BYTES_MIN: u32 = 512;
const PAGE_BYTES_MAX: u32 = 64 << 10;
/// No sound tree is deeper: with two children a branch this is more pages than any disk holds.
const DEPTH_MAX: usize = 48;
/// Pages at most: at 4 KiB a page, 1 TiB, a hundred times what etcd recommends.
const PAGES_MAX: u64 = 1 << 28;
/// Buckets at most; etcd has ten.
const BUCKETS_MAX: usize = 1000;

/// What is handed each entry's name and value; it may refuse one, saying why.
pub type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> Result<(), String> + 'a;

/// An open database file.
#[derive(Debug)]
pub struct Reader {
    file: Arc<dyn File>,
    pub(super) meta: Meta,
}

/// A bucket of the database: its name and where its entries are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    name: Vec<u8>,
    root: u64,
    /// The leaf page of an inline bucket, and the page it was found in.
    inline: Option<(u64, Vec<u8>)>,
}

impl Bucket {
    /// Its name.
    pub fn name(&self) -> &[u8] {
        &self.name
    }
}

impl Reader {
    /// Opens a database and checks its meta pages. Whatever follows the pages in use is ignored.
    ///
    /// # Errors
    /// The disk's, or when it is not a database, or shorter than it says.
    pub fn open(file: Arc<dyn File>) -> Result<Reader, Error> {
        let length = file.len()?;
        let meta = newest_meta(file.as_ref())?;
        let page = u64::from(meta.page_bytes);
        let needed = meta
            .pages
            .checked_mul(page)
            .filter(|_| meta.pages <= PAGES_MAX);
        let reader = Reader { file, meta };
        let Some(needed) = needed else {
            let what = format!("it claims to have {} pages", meta.pages);
            return Err(Error::Foreign(what));
        };
        if length < needed {
            let what = format!("the file ends at {length}, but {needed} bytes are in use");
            return Err(reader.damaged(length / page, what));
        }
        Ok(reader)
    }

    /// The bytes in use: what etcd calls the database's size.
    pub fn bytes(&self) -> u64 {
        self.meta.pages * u64::from(self.meta.page_bytes)
    }

    pub(super) fn damaged(&self, page: u64, what: impl Into<String>) -> Error {
        Error::Damaged {
            page,
            offset: page.saturating_mul(u64::from(self.meta.page_bytes)),
            what: what.into(),
        }
    }

    /// Reads page `id` with what overflows from it.
    pub(super) fn page(&self, id: u64) -> Result<(Header, Vec<u8>), Error> {
        let size = self.meta.page_bytes as usize;
        let offset = id * u64::from(self.meta.page_bytes);
        let mut first = vec![0; size];
        self.fill(id, offset, &mut first)?;
        let header = Header::decode(&first).unwrap_or_default();
        if header.id != id {
            let what = format!("the page says that it is page {}", header.id);
            return Err(self.damaged(id, what));
        }
        let overflow = u64::from(header.overflow);
        if overflow >= self.meta.pages.saturating_sub(id) {
            return Err(self.damaged(id, "the page overflows beyond the end of the file"));
        }
        let total = (overflow + 1) * u64::from(self.meta.page_bytes);
        if total > (VALUE_BYTES_MAX + NAME_BYTES_MAX + 2 * size) as u64 {
            return Err(self.damaged(id, format!("a page of {total} bytes")));
        }
        if overflow > 0 {
            first.resize(total as usize, 0);
            let rest = &mut first[size..];
            self.fill(id, offset + u64::from(self.meta.page_bytes), rest)?;
        }
        Ok((header, first))
    }

    fn fill(&self, id: u64, offset: u64, buffer: &mut [u8]) -> Result<(), Error> {
        let read = self.file.read_at(offset, buffer)?;
        if read < buffer.len() {
            return Err(self.damaged(id, "the file ends inside the page"));
        }
        Ok(())
    }

    /// Whether `id` can be a page of a tree.
    pub(super) fn check_id(&self, id: u64, from: u64) -> Result<(), Error> {
        if (2..self.meta.pages).contains(&id) {
            return Ok(());
        }
        let what = format!("it points at page {id} of {}", self.meta.pages);
        Err(self.damaged(from, what))
    }

    /// The buckets, by name.
    ///
    /// # Errors
    /// The disk's, or damage.
    pub fn buckets(&self) -> Result<Vec<Bucket>, Error> {
        let mut buckets = Vec::new();
        self.check_id(self.meta.root, 0)?;
        self.walk(self.meta.root, &mut |_, _| Ok(()), &mut |page, element| {
            if !element.is_bucket {
                return Err(self.damaged(page, "an entry outside of any bucket"));
            }
            if buckets.len() == BUCKETS_MAX {
                return Err(self.damaged(page, format!("more than {BUCKETS_MAX} buckets")));
            }
            buckets.push(self.bucket(page, element.key, element.value)?);
            Ok(())
        })?;
        Ok(buckets)
    }

    fn bucket(&self, page: u64, name: &[u8], value: &[u8]) -> Result<Bucket, Error> {
        let Some(root) = u64_at(value, 0).filter(|_| value.len() >= BUCKET_BYTES) else {
            return Err(self.damaged(page, "a bucket is shorter than its header"));
        };
        let name = name.to_vec();
        if root != 0 {
            self.check_id(root, page)?;
            let inline = None;
            return Ok(Bucket { name, root, inline });
        }
        let leaf = value[BUCKET_BYTES..].to_vec();
        match Header::decode(&leaf) {
            Some(header) if header.kind == LEAF => Ok(Bucket {
                name,
                root,
                inline: Some((page, leaf)),
            }),
            _ => Err(self.damaged(page, "an inline bucket is no leaf")),
        }
    }

    /// Hands the entries of `bucket` to `visit`, by name.
    ///
    /// # Errors
    /// The disk's, damage, or [`Error::Refused`] with what `visit` says.
    pub fn for_each(&self, bucket: &Bucket, visit: &mut Visit<'_>) -> Result<(), Error> {
        self.entries(bucket, &mut |_, _| Ok(()), visit)
    }

    pub(super) fn entries(
        &self,
        bucket: &Bucket,
        page_seen: &mut dyn FnMut(u64, &Header) -> Result<(), Error>,
        visit: &mut Visit<'_>,
    ) -> Result<(), Error> {
        let mut entry = |page, element: super::page::LeafElement<'_>| {
            if element.is_bucket {
                return Err(self.damaged(page, "a bucket inside of a bucket"));
            }
            visit(element.key, element.value).map_err(Error::Refused)
        };
        match &bucket.inline {
            Some((page, leaf)) => {
                let header = Header::decode(leaf).unwrap_or_default();
                let mut last = Vec::new();
                self.leaf(*page, &header, leaf, &mut last, &mut entry)
            }
            None => self.walk(bucket.root, page_seen, &mut entry),
        }
    }

    /// Goes through a tree in order. `page_seen` is told of each page before it is looked into.
    pub(super) fn walk(
        &self,
        root: u64,
        page_seen: &mut dyn FnMut(u64, &Header) -> Result<(), Error>,
        entry: &mut dyn FnMut(u64, super::page::LeafElement<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        // For each open branch the children not yet visited, last one first.
        let mut open: Vec<(u64, Vec<u64>)> = vec![(0, vec![root])];
        let mut last = Vec::new();
        while let Some((from, children)) = open.last_mut() {
            let Some(id) = children.pop() else {
                open.pop();
                continue;
            };
            let from = *from;
            self.check_id(id, from)?;
            let (header, page) = self.page(id)?;
            page_seen(id, &header)?;
            match header.kind {
                LEAF => {
                    if header.count == 0 && open.len() > 1 {
                        return Err(self.damaged(id, "an empty leaf under a branch"));
                    }
                    self.leaf(id, &header, &page, &mut last, entry)?;
                }
                BRANCH => {
                    if open.len() >= DEPTH_MAX {
                        return Err(self.damaged(id, "the tree is too deep, or goes in a circle"));
                    }
                    let children = self.children(id, &header, &page)?;
                    open.push((id, children));
                }
                kind => {
                    let what = format!("a page of kind {kind:#x} where a branch or leaf must be");
                    return Err(self.damaged(id, what));
                }
            }
        }
        Ok(())
    }

    fn children(&self, id: u64, header: &Header, page: &[u8]) -> Result<Vec<u64>, Error> {
        let elements = HEADER_BYTES + ELEMENT_BYTES * usize::from(header.count);
        if header.count == 0 || elements > page.len() {
            let what = format!("a branch with {} children", header.count);
            return Err(self.damaged(id, what));
        }
        let child = |index| {
            let child = branch_child(page, index);
            child.ok_or_else(|| self.damaged(id, format!("child {index} lies outside of the page")))
        };
        (0..header.count).rev().map(child).collect()
    }

    fn leaf(
        &self,
        id: u64,
        header: &Header,
        page: &[u8],
        last: &mut Vec<u8>,
        entry: &mut dyn FnMut(u64, super::page::LeafElement<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        for index in 0..header.count {
            let Some(element) = leaf_element(page, index) else {
                let what = format!("entry {index} of {} lies outside of the page", header.count);
                return Err(self.damaged(id, what));
            };
            if !(1..=NAME_BYTES_MAX).contains(&element.key.len()) {
                let what = format!("entry {index} has a name of {} bytes", element.key.len());
                return Err(self.damaged(id, what));
            }
            if last.as_slice() >= element.key {
                return Err(self.damaged(id, format!("entry {index} is out of order")));
            }
            last.clear();
            last.extend_from_slice(element.key);
            entry(id, element)?;
        }
        Ok(())
    }
}

/// The newer of the meta pages that are sound.
fn newest_meta(file: &dyn File) -> Result<Meta, Error> {
    let mut start = vec![0; 2 * PAGE_BYTES_MAX as usize];
    let read = file.read_at(0, &mut start)?;
    start.truncate(read);
    let first = meta_at(&start, 0);
    // Where the second page is depends on the page size, which the first one tells if it is sound.
    let known = first.as_ref().ok().map(|meta| meta.page_bytes);
    let sizes = (9..=16).map(|power| 1_u32 << power);
    let second = sizes
        .filter(|size| known.is_none_or(|known| known == *size))
        .filter_map(|size| {
            let meta = meta_at(&start, size).ok()?;
            (meta.page_bytes == size).then_some(meta)
        })
        .next();
    match (first, second) {
        (Ok(first), Some(second)) if second.transaction > first.transaction => Ok(second),
        (Ok(first), _) => Ok(first),
        (Err(_), Some(second)) => Ok(second),
        (Err(NoMeta::Version(version)), None) => Err(Error::Foreign(format!(
            "its format has version {version}, this program reads version 2"
        ))),
        (Err(NoMeta::Checksum), None) => Err(Error::Damaged {
            page: 0,
            offset: 0,
            what: "neither meta page matches its checksum".to_owned(),
        }),
        (Err(NoMeta::Foreign), None) => {
            Err(Error::Foreign("it does not start like one".to_owned()))
        }
    }
}

fn meta_at(start: &[u8], offset: u32) -> Result<Meta, NoMeta> {
    let page = start.get(offset as usize..).unwrap_or_default();
    let is_meta = Header::decode(page).is_some_and(|header| header.kind == META);
    let meta = Meta::decode(page)?;
    let size = meta.page_bytes;
    let possible = size.is_power_of_two() && (PAGE_BYTES_MIN..=PAGE_BYTES_MAX).contains(&size);
    match is_meta && possible {
        true => Ok(meta),
        false => Err(NoMeta::Foreign),
    }
}
