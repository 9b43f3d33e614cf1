//! The bytes of pages: headers, elements, meta pages. Pure; never panics on any input.

pub(super) const HEADER_BYTES: usize = 16;
pub(super) const ELEMENT_BYTES: usize = 16;
pub(super) const BUCKET_BYTES: usize = 16;
const META_BYTES: usize = 64;
/// A meta page's bytes under its checksum.
const META_CHECKED_BYTES: usize = 56;
const MAGIC: u32 = 0xED0C_DAED;
const VERSION: u32 = 2;

pub(super) const BRANCH: u16 = 0x01;
pub(super) const LEAF: u16 = 0x02;
pub(super) const META: u16 = 0x04;
pub(super) const FREE_LIST: u16 = 0x10;
/// The flag of a leaf element whose value is a bucket.
pub(super) const IS_BUCKET: u32 = 0x01;
/// In place of the free list's page: it was not written.
pub(super) const NO_FREE_LIST: u64 = u64::MAX;

pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let part = bytes.get(at..)?.first_chunk()?;
    Some(u16::from_le_bytes(*part))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let part = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_le_bytes(*part))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    let part = bytes.get(at..)?.first_chunk()?;
    Some(u64::from_le_bytes(*part))
}

/// A page's first bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Header {
    pub id: u64,
    pub kind: u16,
    pub count: u16,
    pub overflow: u32,
}

impl Header {
    pub fn decode(page: &[u8]) -> Option<Header> {
        Some(Header {
            id: u64_at(page, 0)?,
            kind: u16_at(page, 8)?,
            count: u16_at(page, 10)?,
            overflow: u32_at(page, 12)?,
        })
    }

    pub fn encode(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&self.id.to_le_bytes());
        bytes[8..10].copy_from_slice(&self.kind.to_le_bytes());
        bytes[10..12].copy_from_slice(&self.count.to_le_bytes());
        bytes[12..].copy_from_slice(&self.overflow.to_le_bytes());
        bytes
    }
}

/// One element of a leaf page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LeafElement<'a> {
    pub is_bucket: bool,
    pub key: &'a [u8],
    pub value: &'a [u8],
}

/// Element `index` of a leaf page; `None` when it points outside of the page.
pub(super) fn leaf_element(page: &[u8], index: u16) -> Option<LeafElement<'_>> {
    let start = HEADER_BYTES + ELEMENT_BYTES * usize::from(index);
    let flags = u32_at(page, start)?;
    let key_at = start.checked_add(u32_at(page, start + 4)? as usize)?;
    let value_at = key_at.checked_add(u32_at(page, start + 8)? as usize)?;
    let end = value_at.checked_add(u32_at(page, start + 12)? as usize)?;
    Some(LeafElement {
        is_bucket: flags & IS_BUCKET != 0,
        key: page.get(key_at..value_at)?,
        value: page.get(value_at..end)?,
    })
}

/// The child page of element `index` of a branch page; `None` when the element or its key lies
/// outside of the page.
pub(super) fn branch_child(page: &[u8], index: u16) -> Option<u64> {
    let start = HEADER_BYTES + ELEMENT_BYTES * usize::from(index);
    let key_at = start.checked_add(u32_at(page, start)? as usize)?;
    let end = key_at.checked_add(u32_at(page, start + 4)? as usize)?;
    page.get(key_at..end)?;
    u64_at(page, start + 8)
}

/// A meta page's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Meta {
    pub page_bytes: u32,
    pub root: u64,
    pub free_list: u64,
    /// The number of pages in use: the first page number that is not.
    pub pages: u64,
    pub transaction: u64,
}

/// Why a page is no meta page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoMeta {
    Foreign,
    Version(u32),
    Checksum,
}

impl Meta {
    /// Reads the meta page that starts `page`.
    pub fn decode(page: &[u8]) -> Result<Meta, NoMeta> {
        let read = || {
            let content = page.get(HEADER_BYTES..HEADER_BYTES + META_BYTES)?;
            let meta = Meta {
                page_bytes: u32_at(content, 8)?,
                root: u64_at(content, 16)?,
                free_list: u64_at(content, 32)?,
                pages: u64_at(content, 40)?,
                transaction: u64_at(content, 48)?,
            };
            let (magic, version) = (u32_at(content, 0)?, u32_at(content, 4)?);
            let checksum = u64_at(content, META_CHECKED_BYTES)?;
            let sound = checksum == fnv64a(&content[..META_CHECKED_BYTES]);
            Some((magic, version, sound, meta))
        };
        match read() {
            Some((MAGIC, VERSION, true, meta)) => Ok(meta),
            Some((MAGIC, VERSION, false, _)) => Err(NoMeta::Checksum),
            Some((MAGIC, version, ..)) => Err(NoMeta::Version(version)),
            _ => Err(NoMeta::Foreign),
        }
    }

    /// The meta page for this transaction: which of the two it is follows from the transaction.
    pub fn encode(&self, page: &mut Vec<u8>) {
        let header = Header {
            id: self.transaction % 2,
            kind: META,
            ..Header::default()
        };
        page.extend(header.encode());
        let start = page.len();
        page.extend(MAGIC.to_le_bytes());
        page.extend(VERSION.to_le_bytes());
        page.extend(self.page_bytes.to_le_bytes());
        page.extend(0_u32.to_le_bytes());
        page.extend(self.root.to_le_bytes());
        page.extend(0_u64.to_le_bytes());
        page.extend(self.free_list.to_le_bytes());
        page.extend(self.pages.to_le_bytes());
        page.extend(self.transaction.to_le_bytes());
        let checksum = fnv64a(&page[start..]);
        page.extend(checksum.to_le_bytes());
    }
}

fn fnv64a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The published test values of FNV-1a, 64 bits.
    #[test]
    fn the_checksum_is_fnv_1a() {
        assert_eq!(fnv64a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv64a(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv64a(b"foobar"), 0x8594_4171_f739_67e8);
    }
}
