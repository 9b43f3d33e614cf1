//! Writes a database front to back, with a page or two in memory.
//!
//! The meta pages come first and name the root page and the number of pages, which are known only
//! at the end. So the same entries are gone through twice: a measuring [`Writer`] counts pages and
//! keeps none of them, and gives the [`Layout`] for the one that writes. Buckets and their entries
//! are given in ascending order; a page is finished, numbered and handed out as soon as the entry
//! after it is known, a branch page as soon as it is full: what is open at any time is one leaf and
//! one branch for each level of the tree.
//!
//! Pages are filled to the brim: the file is as compact as `defrag` makes it. No branch ever gets a
//! single child, which bbolt does not expect when it later deletes.

use super::page::{
    BUCKET_BYTES, ELEMENT_BYTES, FREE_LIST, HEADER_BYTES, Header, IS_BUCKET, LEAF, Meta,
};
use super::{NAME_BYTES_MAX, PAGE_BYTES, VALUE_BYTES_MAX, page};

/// The page of the free list, which is empty.
const FREE_LIST_PAGE: u64 = 2;
const FIRST_PAGE: u64 = 3;
/// A bucket up to this size is kept inside the root's page, as bbolt does.
const INLINE_BYTES_MAX: usize = PAGE_BYTES / 4;
/// bbolt takes for granted that a branch has two children.
const CHILDREN_MIN: usize = 2;

/// Entries that cannot be put into a database.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// A name is not above the one before it.
    #[error("entries and buckets must come in ascending order")]
    Order,
    /// A name is empty or longer than [`NAME_BYTES_MAX`], or a value than [`VALUE_BYTES_MAX`].
    #[error("an entry's name or value has an impossible length")]
    Size,
    /// The entries are not those that were measured.
    #[error("the second pass differs from the first")]
    Changed,
}

/// Where things go in a file that is yet to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    root: u64,
    pages: u64,
}

impl Layout {
    /// The file's length, bytes.
    pub fn bytes(&self) -> u64 {
        self.pages * PAGE_BYTES as u64
    }
}

/// Takes buckets and entries in order and gives the bytes of the file.
///
/// ```
/// use vetcd::snapshot::bolt::{WriteError, Writer};
///
/// fn fill(writer: &mut Writer) -> Result<(), WriteError> {
///     writer.bucket(b"key")?;
///     writer.put(b"name", b"value")
/// }
/// let mut measure = Writer::measuring();
/// fill(&mut measure)?;
/// let layout = measure.measured()?;
///
/// let mut writer = Writer::new(layout);
/// fill(&mut writer)?;
/// writer.finish()?;
/// let file = writer.take(); // may be called at any time, for what is there so far
/// assert_eq!(file.len() as u64, layout.bytes());
/// # Ok::<(), WriteError>(())
/// ```
#[derive(Debug)]
pub struct Writer {
    /// `None` while measuring.
    layout: Option<Layout>,
    out: Vec<u8>,
    next_page: u64,
    /// The open bucket's name and tree.
    open: Option<(Vec<u8>, Tree)>,
    root: Tree,
    finished: Option<Layout>,
}

impl Writer {
    /// A writer that only finds out how long the file gets and where its root is.
    pub fn measuring() -> Writer {
        Writer {
            layout: None,
            out: Vec::new(),
            next_page: FIRST_PAGE,
            open: None,
            root: Tree::default(),
            finished: None,
        }
    }

    /// A writer for what was measured.
    pub fn new(layout: Layout) -> Writer {
        let mut writer = Writer {
            layout: Some(layout),
            ..Writer::measuring()
        };
        for transaction in 0..FREE_LIST_PAGE {
            let meta = Meta {
                page_bytes: PAGE_BYTES as u32,
                root: layout.root,
                free_list: FREE_LIST_PAGE,
                pages: layout.pages,
                transaction,
            };
            meta.encode(&mut writer.out);
            writer.pad();
        }
        let free_list = Header {
            id: FREE_LIST_PAGE,
            kind: FREE_LIST,
            ..Header::default()
        };
        writer.out.extend(free_list.encode());
        writer.pad();
        writer
    }

    fn pad(&mut self) {
        let length = self.out.len().next_multiple_of(PAGE_BYTES);
        self.out.resize(length, 0);
    }

    /// Begins the next bucket.
    ///
    /// # Errors
    /// When its name is not above the last bucket's, or has an impossible length.
    pub fn bucket(&mut self, name: &[u8]) -> Result<(), WriteError> {
        check_sizes(name, &[])?;
        self.close_bucket()?;
        self.open = Some((name.to_vec(), Tree::default()));
        Ok(())
    }

    /// Adds an entry to the bucket begun last.
    ///
    /// # Errors
    /// When its name is not above the last entry's, its size is impossible, or there is no bucket.
    pub fn put(&mut self, name: &[u8], value: &[u8]) -> Result<(), WriteError> {
        check_sizes(name, value)?;
        let Some((bucket, mut tree)) = self.open.take() else {
            return Err(WriteError::Order);
        };
        let added = tree.put(self, 0, name, value);
        self.open = Some((bucket, tree));
        added
    }

    fn close_bucket(&mut self) -> Result<(), WriteError> {
        let Some((name, mut tree)) = self.open.take() else {
            return Ok(());
        };
        let value = match tree.inline() {
            Some(leaf) => bucket_value(0, &leaf),
            None => bucket_value(tree.finish(self), &[]),
        };
        let mut root = std::mem::take(&mut self.root);
        let added = root.put(self, IS_BUCKET, &name, &value);
        self.root = root;
        added
    }

    fn end(&mut self) -> Result<Layout, WriteError> {
        if let Some(layout) = self.finished {
            return Ok(layout);
        }
        self.close_bucket()?;
        let mut root = std::mem::take(&mut self.root);
        let layout = Layout {
            root: root.finish(self),
            pages: self.next_page,
        };
        self.finished = Some(layout);
        Ok(layout)
    }

    /// Ends measuring: the layout of what was given.
    ///
    /// # Errors
    /// As [`Writer::bucket`], for the last bucket.
    pub fn measured(mut self) -> Result<Layout, WriteError> {
        self.end()
    }

    /// Ends the file; what is left of it is there to [take](Writer::take).
    ///
    /// # Errors
    /// When the entries were not the ones measured: the file is then useless.
    pub fn finish(&mut self) -> Result<(), WriteError> {
        let layout = self.end()?;
        match self.layout {
            Some(measured) if measured == layout => Ok(()),
            _ => Err(WriteError::Changed),
        }
    }

    /// How many bytes are there to take.
    pub fn available(&self) -> usize {
        self.out.len()
    }

    /// Hands over what is written since the last call.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }

    /// Numbers a page and writes it, unless only measuring. Returns its number.
    fn emit(&mut self, kind: u16, bytes: usize, fill: impl FnOnce(&mut Vec<u8>) -> u16) -> u64 {
        let id = self.next_page;
        let pages = bytes.div_ceil(PAGE_BYTES).max(1) as u64;
        self.next_page += pages;
        if self.layout.is_none() {
            return id;
        }
        let start = self.out.len();
        self.out.resize(start + HEADER_BYTES, 0);
        let count = fill(&mut self.out);
        assert_eq!(
            self.out.len() - start,
            bytes,
            "a page has the size foreseen"
        );
        let header = Header {
            id,
            kind,
            count,
            overflow: (pages - 1) as u32,
        };
        self.out[start..start + HEADER_BYTES].copy_from_slice(&header.encode());
        self.pad();
        id
    }
}

fn check_sizes(name: &[u8], value: &[u8]) -> Result<(), WriteError> {
    let possible = (1..=NAME_BYTES_MAX).contains(&name.len()) && value.len() <= VALUE_BYTES_MAX;
    possible.then_some(()).ok_or(WriteError::Size)
}

fn bucket_value(root: u64, inline: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(BUCKET_BYTES + inline.len());
    value.extend(root.to_le_bytes());
    value.extend(0_u64.to_le_bytes());
    value.extend(inline);
    value
}

/// The open pages of one tree.
#[derive(Debug, Default)]
struct Tree {
    leaf: Leaf,
    /// The open branch of each level, lowest first.
    branches: Vec<Branch>,
    last_name: Vec<u8>,
}

#[derive(Debug, Default)]
struct Leaf {
    elements: Vec<(u32, Vec<u8>, Vec<u8>)>,
    /// Of the elements, without the page's header.
    bytes: usize,
}

#[derive(Debug, Default)]
struct Branch {
    /// Each child's first name and its page.
    children: Vec<(Vec<u8>, u64)>,
    bytes: usize,
}

impl Tree {
    fn put(
        &mut self,
        writer: &mut Writer,
        flags: u32,
        name: &[u8],
        value: &[u8],
    ) -> Result<(), WriteError> {
        if self.last_name.as_slice() >= name {
            return Err(WriteError::Order);
        }
        self.last_name.clear();
        self.last_name.extend(name);
        let bytes = ELEMENT_BYTES + name.len() + value.len();
        let full = HEADER_BYTES + self.leaf.bytes + bytes > PAGE_BYTES;
        if full && !self.leaf.elements.is_empty() {
            self.flush_leaf(writer);
        }
        self.leaf.bytes += bytes;
        self.leaf
            .elements
            .push((flags, name.to_vec(), value.to_vec()));
        Ok(())
    }

    /// The only leaf as an inline bucket's page, when the tree is small enough for one.
    fn inline(&self) -> Option<Vec<u8>> {
        let bytes = HEADER_BYTES + self.leaf.bytes;
        if !self.branches.is_empty() || bytes > INLINE_BYTES_MAX {
            return None;
        }
        let mut page = Vec::with_capacity(bytes);
        let header = Header {
            kind: LEAF,
            count: self.leaf.elements.len() as u16,
            ..Header::default()
        };
        page.extend(header.encode());
        self.leaf.encode(&mut page);
        Some(page)
    }

    fn flush_leaf(&mut self, writer: &mut Writer) {
        let leaf = std::mem::take(&mut self.leaf);
        let id = writer.emit(LEAF, HEADER_BYTES + leaf.bytes, |out| leaf.encode(out));
        let first = leaf.elements.into_iter().next().map(|(_, name, _)| name);
        self.child(writer, 0, first.unwrap_or_default(), id);
    }

    /// Enters a finished page into the branch above it.
    fn child(&mut self, writer: &mut Writer, level: usize, name: Vec<u8>, id: u64) {
        if self.branches.len() == level {
            self.branches.push(Branch::default());
        }
        let branch = &mut self.branches[level];
        let bytes = ELEMENT_BYTES + name.len();
        let full = HEADER_BYTES + branch.bytes + bytes > PAGE_BYTES;
        // Those that stay open must be enough for a branch of their own, come what may.
        if full && branch.children.len() >= 2 * CHILDREN_MIN {
            let kept = branch
                .children
                .split_off(branch.children.len() - CHILDREN_MIN);
            let kept_bytes = kept
                .iter()
                .map(|(name, _)| ELEMENT_BYTES + name.len())
                .sum();
            let done = std::mem::replace(
                branch,
                Branch {
                    children: kept,
                    bytes: kept_bytes,
                },
            );
            let done = Branch {
                bytes: done.bytes - kept_bytes,
                ..done
            };
            self.emit_branch(writer, level, done);
        }
        let branch = &mut self.branches[level];
        branch.bytes += bytes;
        branch.children.push((name, id));
    }

    fn emit_branch(&mut self, writer: &mut Writer, level: usize, branch: Branch) {
        let bytes = HEADER_BYTES + branch.bytes;
        let id = writer.emit(page::BRANCH, bytes, |out| branch.encode(out));
        let first = branch.children.into_iter().next().map(|(name, _)| name);
        self.child(writer, level + 1, first.unwrap_or_default(), id);
    }

    /// Writes what is open; returns the tree's root page.
    fn finish(&mut self, writer: &mut Writer) -> u64 {
        if self.branches.is_empty() {
            let leaf = std::mem::take(&mut self.leaf);
            return writer.emit(LEAF, HEADER_BYTES + leaf.bytes, |out| leaf.encode(out));
        }
        self.flush_leaf(writer);
        let mut level = 0;
        loop {
            let branch = std::mem::take(&mut self.branches[level]);
            if let ([(_, only)], true) = (&branch.children[..], level + 1 == self.branches.len()) {
                return *only;
            }
            self.emit_branch(writer, level, branch);
            level += 1;
        }
    }
}

impl Leaf {
    fn encode(&self, out: &mut Vec<u8>) -> u16 {
        let mut position = ELEMENT_BYTES * self.elements.len();
        for (flags, name, value) in &self.elements {
            for number in [
                *flags,
                position as u32,
                name.len() as u32,
                value.len() as u32,
            ] {
                out.extend(number.to_le_bytes());
            }
            position = position + name.len() + value.len() - ELEMENT_BYTES;
        }
        for (_, name, value) in &self.elements {
            out.extend(name);
            out.extend(value);
        }
        self.elements.len() as u16
    }
}

impl Branch {
    fn encode(&self, out: &mut Vec<u8>) -> u16 {
        let mut position = ELEMENT_BYTES * self.children.len();
        for (name, id) in &self.children {
            out.extend((position as u32).to_le_bytes());
            out.extend((name.len() as u32).to_le_bytes());
            out.extend(id.to_le_bytes());
            position = position + name.len() - ELEMENT_BYTES;
        }
        for (name, _) in &self.children {
            out.extend(name);
        }
        self.children.len() as u16
    }
}
