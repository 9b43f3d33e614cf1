//! Tests of the database format.
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::page::{Header, LEAF, Meta};
use super::*;
use crate::host::File;

/// A file in memory that remembers the largest read it was asked for.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    pub(crate) content: Vec<u8>,
    pub(crate) largest_read: AtomicUsize,
}

pub(crate) fn memory(content: impl Into<Vec<u8>>) -> Arc<Memory> {
    Arc::new(Memory {
        content: content.into(),
        largest_read: AtomicUsize::new(0),
    })
}

impl File for Memory {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.largest_read.fetch_max(buffer.len(), Ordering::Relaxed);
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let rest = self.content.get(start..).unwrap_or_default();
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        Ok(length)
    }
    fn write_at(&self, _: u64, _: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }
    fn set_len(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
    fn len(&self) -> io::Result<u64> {
        Ok(self.content.len() as u64)
    }
}

type Content = BTreeMap<Vec<u8>, BTreeMap<Vec<u8>, Vec<u8>>>;

fn fill(writer: &mut Writer, content: &Content) -> Result<(), WriteError> {
    for (name, entries) in content {
        writer.bucket(name)?;
        for (name, value) in entries {
            writer.put(name, value)?;
        }
    }
    Ok(())
}

pub(crate) fn written(content: &Content) -> Vec<u8> {
    let mut measure = Writer::measuring();
    fill(&mut measure, content).unwrap();
    assert_eq!(measure.available(), 0);
    let layout = measure.measured().unwrap();
    let mut writer = Writer::new(layout);
    fill(&mut writer, content).unwrap();
    writer.finish().unwrap();
    let file = writer.take();
    assert_eq!(file.len() as u64, layout.bytes());
    file
}

pub(crate) fn read(file: Vec<u8>) -> Result<Content, Error> {
    let reader = Reader::open(memory(file))?;
    reader.check()?;
    read_unchecked(&reader)
}

fn read_unchecked(reader: &Reader) -> Result<Content, Error> {
    let mut content = Content::new();
    for bucket in reader.buckets()? {
        let entries = content.entry(bucket.name().to_vec()).or_default();
        reader.for_each(&bucket, &mut |name, value| {
            entries.insert(name.to_vec(), value.to_vec());
            Ok(())
        })?;
    }
    Ok(content)
}

fn numbered(count: usize, name: usize, value: usize) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let entry = |number: usize| {
        let mut key = vec![b'n'; name];
        key.extend((number as u64).to_be_bytes());
        (key, vec![number as u8; value])
    };
    (0..count).map(entry).collect()
}

#[test]
fn what_is_written_is_read() {
    // Depths 0 to 3, inline and not, overflowing values and names.
    let shapes = [
        (0, 0, 0),
        (1, 0, 0),
        (30, 0, 0),
        (31, 0, 3),
        (200, 9, 40),
        (1, 0, 900),
        (1, 0, 4000),
        (1, 0, 5000),
        (7, 0, 100_000),
        (100_000, 9, 1),
        (300, 3000, 10),
        (40, 32_000, 10),
    ];
    for (count, name, value) in shapes {
        let one = Content::from([(b"key".to_vec(), numbered(count, name, value))]);
        assert!(
            read(written(&one)).unwrap() == one,
            "{count} {name} {value}"
        );
    }
    let all: Content = shapes
        .iter()
        .map(|(count, name, value)| {
            let bucket = format!("{count}-{name}-{value}").into_bytes();
            (bucket, numbered(*count, *name, *value))
        })
        .collect();
    assert!(read(written(&all)).unwrap() == all);
    assert_eq!(read(written(&Content::new())).unwrap(), Content::new());
}

#[test]
fn what_the_writer_holds_is_bounded() {
    let content = Content::from([(b"key".to_vec(), numbered(50_000, 9, 100))]);
    let mut measure = Writer::measuring();
    fill(&mut measure, &content).unwrap();
    let mut writer = Writer::new(measure.measured().unwrap());
    writer.bucket(b"key").unwrap();
    let mut taken = Vec::new();
    let mut most = 0;
    for (name, value) in &content[&b"key"[..]] {
        writer.put(name, value).unwrap();
        most = most.max(writer.available());
        taken.extend(writer.take());
    }
    assert!(most <= 4 * PAGE_BYTES, "{most}");
}

#[test]
fn wrong_use_is_refused() {
    let mut writer = Writer::measuring();
    assert_eq!(writer.put(b"a", b""), Err(WriteError::Order));
    writer.bucket(b"b").unwrap();
    assert_eq!(writer.put(b"", b""), Err(WriteError::Size));
    assert_eq!(
        writer.put(&vec![1; NAME_BYTES_MAX + 1], b""),
        Err(WriteError::Size)
    );
    writer.put(b"b", b"").unwrap();
    assert_eq!(writer.put(b"b", b""), Err(WriteError::Order));
    assert_eq!(writer.put(b"a", b""), Err(WriteError::Order));
    writer.bucket(b"a").unwrap();
    assert_eq!(writer.bucket(b"c"), Err(WriteError::Order));

    let layout = Writer::measuring().measured().unwrap();
    let mut writer = Writer::new(layout);
    writer.bucket(b"b").unwrap();
    writer.put(b"k", &[0; 5000]).unwrap();
    assert_eq!(writer.finish(), Err(WriteError::Changed));
}

/// A database with two buckets and a tree of some pages, and the offset of its key bucket's root.
fn sound() -> (Content, Vec<u8>) {
    let content = Content::from([
        (b"key".to_vec(), numbered(500, 9, 40)),
        (b"meta".to_vec(), numbered(3, 0, 8)),
    ]);
    let file = written(&content);
    (content, file)
}

fn fails(file: Vec<u8>, page: u64, words: &str) {
    let error = read(file).unwrap_err();
    let text = error.to_string();
    assert!(text.contains(words), "{text}");
    let Error::Damaged {
        page: found,
        offset,
        ..
    } = error
    else {
        panic!("{text}");
    };
    assert_eq!((found, offset), (page, page * PAGE_BYTES as u64), "{text}");
}

fn with(file: &[u8], offset: usize, bytes: &[u8]) -> Vec<u8> {
    let mut file = file.to_vec();
    file[offset..offset + bytes.len()].copy_from_slice(bytes);
    file
}

#[test]
fn damage_is_named_with_its_page() {
    let (content, file) = sound();
    let pages = file.len() / PAGE_BYTES;
    // The last two pages: the key bucket's branch, then the root leaf.
    let (branch, root) = (pages - 2, pages - 1);
    let at = |page: usize, offset: usize| page * PAGE_BYTES + offset;
    let page = |number: usize| number as u64;

    fails(with(&file, at(3, 0), &[77]), 3, "says that it is page 77");
    fails(with(&file, at(3, 8), &[9, 0]), 3, "kind 0x9");
    fails(with(&file, at(3, 10), &[0, 0]), 3, "empty leaf");
    fails(
        with(&file, at(3, 10), &[255, 255]),
        3,
        "outside of the page",
    );
    fails(with(&file, at(3, 12), &[255]), 3, "overflows beyond");
    fails(with(&file, at(3, 16 + 4), &[255, 255]), 3, "entry 0");
    fails(with(&file, at(3, 16 + 8), &[0]), 3, "name of 0 bytes");
    fails(
        with(&file, at(branch, 16 + 8), &[1]),
        page(branch),
        "points at page 1",
    );
    fails(with(&file, at(branch, 16 + 8), &[4]), 4, "used twice");
    fails(
        with(&file, at(3, 2 * 16 + 4), &[0xd0, 7]),
        3,
        "out of order",
    );
    fails(
        with(&file, at(branch, 16 + 8), &(branch as u64).to_le_bytes()),
        page(branch),
        "used twice",
    );
    fails(
        with(&file, at(root, 16), &[0]),
        page(root),
        "outside of any bucket",
    );
    // A page that nothing points at.
    let fewer = with(&file, at(branch, 10), &[3, 0]);
    fails(fewer, 6, "neither used nor free");

    // Behind the checksum: pages claimed that are not there, a root that is none.
    let claims = |change: &dyn Fn(&mut Meta)| {
        let mut meta = Meta::decode(&file).unwrap();
        change(&mut meta);
        let mut file = file.clone();
        for transaction in 0..2 {
            let mut page = Vec::new();
            Meta {
                transaction,
                ..meta
            }
            .encode(&mut page);
            let start = transaction as usize * PAGE_BYTES;
            file[start..start + page.len()].copy_from_slice(&page);
        }
        file
    };
    fails(
        claims(&|meta| meta.pages += 1),
        page(pages),
        "the file ends",
    );
    fails(claims(&|meta| meta.root = 1), 0, "points at page 1");
    fails(claims(&|meta| meta.root = 1 << 40), 0, "points at page");
    fails(claims(&|meta| meta.free_list = 3), 3, "of another kind");
    for change in [
        (&|meta: &mut Meta| meta.pages = u64::MAX) as &dyn Fn(&mut Meta),
        &|meta| meta.page_bytes = 1000,
        &|meta| meta.page_bytes = 1 << 30,
    ] {
        assert!(matches!(read(claims(change)), Err(Error::Foreign(_))));
    }
    fails(file[..file.len() - 1].to_vec(), page(root), "the file ends");

    // One meta page is enough.
    for first in [0, PAGE_BYTES] {
        assert_eq!(read(with(&file, first + 20, &[9])).unwrap(), content);
    }
    let neither = with(&with(&file, 60, &[9]), PAGE_BYTES + 60, &[9]);
    fails(neither, 0, "neither meta page");
    // What follows the pages in use does not matter: a checksum stands there in a snapshot.
    assert_eq!(read([&file[..], &[1; 32]].concat()).unwrap(), content);
    for foreign in [&b""[..], b"PK", &[0; 10_000]] {
        assert!(matches!(read(foreign.to_vec()), Err(Error::Foreign(_))));
    }
}

#[test]
fn a_circle_of_branches_ends_without_the_check() {
    let (_, file) = sound();
    let branch = file.len() / PAGE_BYTES - 2;
    let own = (branch as u64).to_le_bytes();
    let circle = with(&file, branch * PAGE_BYTES + 16 + 8, &own);
    let reader = Reader::open(memory(circle)).unwrap();
    let error = read_unchecked(&reader).unwrap_err().to_string();
    assert!(error.contains("circle"), "{error}");
}

#[test]
fn a_lying_length_allocates_no_more_than_the_file_has() {
    let (_, file) = sound();
    let header = Header {
        id: 3,
        kind: LEAF,
        count: 60_000,
        overflow: u32::MAX,
    };
    let file = memory(with(&file, 3 * PAGE_BYTES, &header.encode()));
    let reader = Reader::open(file.clone()).unwrap();
    assert!(reader.check().is_err());
    assert!(file.largest_read.load(Ordering::Relaxed) <= 2 << 16);
}

#[test]
fn the_visitor_can_refuse() {
    let (_, file) = sound();
    let reader = Reader::open(memory(file)).unwrap();
    let buckets = reader.buckets().unwrap();
    let refused = reader.for_each(&buckets[0], &mut |_, _| Err("no".to_owned()));
    assert!(matches!(refused, Err(Error::Refused(what)) if what == "no"));
}

/// The cases a fuzz target runs: `VETCD_FUZZ_CASES`, or a number that takes about a second;
/// `VETCD_FUZZ_SEED` gives another stream of them.
pub(crate) fn fuzz_config(cases: u32) -> ProptestConfig {
    let number = |name, default: u64| {
        std::env::var(name).map_or(default, |text| text.parse::<u64>().unwrap())
    };
    ProptestConfig {
        cases: u32::try_from(number("VETCD_FUZZ_CASES", cases.into())).unwrap(),
        rng_seed: RngSeed::Fixed(number("VETCD_FUZZ_SEED", 1)),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => proptest::collection::vec(any::<u8>(), 1..20),
        1 => proptest::collection::vec(any::<u8>(), 1..2000),
    ]
}

fn content() -> impl Strategy<Value = Content> {
    let value = prop_oneof![
        8 => proptest::collection::vec(any::<u8>(), 0..60),
        1 => proptest::collection::vec(any::<u8>(), 0..9000),
    ];
    let entries = proptest::collection::btree_map(name(), value, 0..120);
    proptest::collection::btree_map(name(), entries, 0..6)
}

/// Changes to a file: where, and what to put there.
fn mutations() -> impl Strategy<Value = Vec<(prop::sample::Index, Vec<u8>)>> {
    let bytes = proptest::collection::vec(any::<u8>(), 1..9);
    proptest::collection::vec((any::<prop::sample::Index>(), bytes), 1..6)
}

proptest! {
    #![proptest_config(fuzz_config(150))]

    #[test]
    fn any_content_survives(content in content()) {
        prop_assert_eq!(read(written(&content)).unwrap(), content);
    }
}

proptest! {
    #![proptest_config(fuzz_config(1500))]

    #[test]
    fn fuzz_mutated_files(
        mutations in mutations(),
        near_header in any::<bool>(),
        keep in any::<prop::sample::Index>(),
        cut in 0..4_u8,
    ) {
        let (_, mut file) = sound();
        for (at, bytes) in mutations {
            let mut at = at.index(file.len());
            if near_header {
                // Where the numbers are.
                at = at / PAGE_BYTES * PAGE_BYTES + at % 64;
            }
            let end = (at + bytes.len()).min(file.len());
            file[at..end].copy_from_slice(&bytes[..end - at]);
        }
        if cut == 0 {
            file.truncate(keep.index(file.len()));
        }
        let length = file.len();
        let file = memory(file);
        if let Ok(reader) = Reader::open(file.clone()) {
            let checked = reader.check();
            let read = read_unchecked(&reader);
            // Whatever passes the check can be read.
            prop_assert!(checked.is_err() || read.is_ok());
        }
        let most = file.largest_read.load(Ordering::Relaxed);
        prop_assert!(most <= length.max(2 << 16));
    }

    #[test]
    fn fuzz_noise(noise in proptest::collection::vec(any::<u8>(), 0..3000)) {
        prop_assert!(read(noise).is_err());
    }
}
