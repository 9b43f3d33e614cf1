//! The store's file: damaged anywhere, and whole with entries that vetcd did not write.
//!
//! An input is a list of changes to a file that vetcd wrote, or, behind a first byte of 1, a list of
//! entries of which a file is made: their checksums fit.

use std::path::Path;
use std::sync::Arc;

use prost::Message as _;
use redb::{Database, StorageBackend, TableDefinition};
use vetcd::api::proto::etcdserverpb::PutRequest;
use vetcd::backend::Backend;
use vetcd::host::{Disk, File};

use crate::harness::{Target, fuzz};
use crate::mutate::{self, Draw};
use crate::snapshot::{meta, state, use_state};
use crate::wal::{pack, unpack};
use crate::world::{MemoryDisk, MemoryFile};

const PATH: &str = "/data/store";
/// The length of the longest page of redb's format, bytes.
const LONGEST_PAGE: u64 = 4 << 30;
const TABLES: [&str; 3] = ["key", "lease", "meta"];

#[derive(Debug)]
struct Memory(MemoryFile);

impl StorageBackend for Memory {
    fn len(&self) -> std::io::Result<u64> {
        self.0.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        match self.0.read_at(offset, out)? == out.len() {
            true => Ok(()),
            false => Err(std::io::ErrorKind::UnexpectedEof.into()),
        }
    }
    fn set_len(&self, length: u64) -> std::io::Result<()> {
        self.0.set_len(length)
    }
    fn sync_data(&self) -> std::io::Result<()> {
        Ok(())
    }
    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        self.0.write_at(offset, data)
    }
}

type Table = TableDefinition<'static, &'static [u8], &'static [u8]>;

/// A file with these entries: a table, a name and a content each.
fn build(entries: &[(usize, Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let file = MemoryFile::default();
    let database = Database::builder()
        .create_with_backend(Memory(file.clone()))
        .unwrap();
    let transaction = database.begin_write().unwrap();
    for (number, name) in TABLES.iter().enumerate() {
        let mut table = transaction.open_table(Table::new(name)).unwrap();
        for (_, name, content) in entries.iter().filter(|(table, ..)| *table == number) {
            let sum = crc32c::crc32c_append(crc32c::crc32c(name), content);
            let value = [content.as_slice(), &sum.to_le_bytes()].concat();
            table.insert(name.as_slice(), value.as_slice()).unwrap();
        }
    }
    transaction.commit().unwrap();
    drop(database);
    let mut content = vec![0; file.len().unwrap() as usize];
    file.read_at(0, &mut content).unwrap();
    content
}

/// The entries of a store as vetcd writes them.
fn entries(records: usize) -> Vec<(usize, Vec<u8>, Vec<u8>)> {
    let state = state(records, records > 30);
    let mut entries = Vec::new();
    let mut bytes = 0;
    for record in state.records_from(0) {
        let (name, value) = (record.revision_key().encode(), record.encode_value());
        bytes += name.len() + value.len() + 4;
        entries.push((0, name.to_vec(), value));
    }
    let count = entries.len();
    for lease in state.leases().iter() {
        entries.push((
            1,
            lease.id.to_be_bytes().to_vec(),
            lease.to_wire().encode_to_vec(),
        ));
    }
    let mut meta = vetcd::api::proto::vetcdpb::BackendMeta {
        revision: state.revision(),
        compact_revision: state.compact_revision(),
        compact_finished: state.compact_finished(),
        leases: state.leases().len() as u64,
        ..meta()
    };
    let auth = meta.auth.take().unwrap();
    entries.push((2, b"meta".to_vec(), meta.encode_to_vec()));
    entries.push((2, b"auth".to_vec(), auth.encode_to_vec()));
    entries.push((2, b"totals".to_vec(), totals(count, bytes)));
    entries
}

fn totals(records: usize, bytes: usize) -> Vec<u8> {
    [(records as u64).to_le_bytes(), (bytes as u64).to_le_bytes()].concat()
}

fn pack_entries(entries: &[(usize, Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let mut packed = vec![1];
    for (table, name, content) in entries {
        packed.extend([*table as u8, name.len() as u8]);
        packed.extend(name);
        packed.extend((content.len() as u32).to_le_bytes());
        packed.extend(content);
    }
    packed
}

fn unpack_entries(mut packed: &[u8]) -> Vec<(usize, Vec<u8>, Vec<u8>)> {
    let mut entries = Vec::new();
    while let Some(([table, length], rest)) = packed.split_first_chunk::<2>() {
        let (name, rest) = rest.split_at((*length as usize).min(rest.len()));
        let Some((length, rest)) = rest.split_first_chunk::<4>() else {
            break;
        };
        let length = (u32::from_le_bytes(*length) as usize).min(rest.len());
        let (content, rest) = rest.split_at(length);
        entries.push((*table as usize % 3, name.to_vec(), content.to_vec()));
        packed = rest;
    }
    entries
}

struct Store {
    /// A file that vetcd wrote and closed.
    file: Vec<u8>,
    /// Where in it there is anything.
    used: Vec<u32>,
}

impl Store {
    fn new() -> Store {
        let disk = MemoryDisk::default();
        let state = state(60, true);
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        Backend::replace(shared, Path::new(PATH), &state, &meta())
            .unwrap()
            .close();
        let files = disk.files(Path::new("/data"));
        let (_, file) = files.into_iter().find(|(name, _)| name == "store").unwrap();
        let used = (0..file.len())
            .filter(|at| file[*at] != 0)
            .map(|at| at as u32);
        Store {
            used: used.collect(),
            file,
        }
    }

    fn file(&self, input: &[u8]) -> Vec<u8> {
        if let Some((1, packed)) = input.split_first() {
            return build(&unpack_entries(packed));
        }
        let mut file = self.file.clone();
        for (place, bytes) in unpack(input.get(1..).unwrap_or_default()) {
            let Ok(place) = usize::from_str_radix(&place, 16) else {
                file.truncate(bytes.len() * 4096);
                continue;
            };
            for (to, from) in file.iter_mut().skip(place).zip(bytes) {
                *to = from;
            }
        }
        file
    }
}

impl Target for Store {
    fn name(&self) -> &'static str {
        "store"
    }

    fn cases(&self) -> usize {
        250
    }

    fn seeds(&mut self) -> Vec<Vec<u8>> {
        vec![
            vec![0],
            pack_entries(&entries(0)),
            pack_entries(&entries(40)),
        ]
    }

    fn mutate(&mut self, draw: &mut Draw, seed: &[u8], other: &[u8]) -> Vec<u8> {
        if let Some((1, packed)) = seed.split_first() {
            let mut entries = unpack_entries(packed);
            for _ in 0..=draw.below(3) {
                if entries.is_empty() {
                    break;
                }
                let at = match draw.below(3) {
                    0 => entries.len() - 1 - draw.below(3.min(entries.len())),
                    _ => draw.below(entries.len()),
                };
                match draw.below(8) {
                    0 => drop(entries.remove(at)),
                    1 => entries[at].1 = mutate::bytes(draw, &entries[at].1.clone(), b"_t"),
                    _ => {
                        let content = entries[at].2.clone();
                        entries[at].2 = mutate::message(draw, &content, other);
                        if entries[at].0 == 1
                            && let Some(([8, id], _)) = entries[at].2.split_first_chunk::<2>()
                        {
                            entries[at].1 = u64::from(*id).to_be_bytes().to_vec();
                        }
                    }
                }
                entries
                    .iter_mut()
                    .for_each(|(_, name, _)| name.truncate(200));
            }
            if !draw.once_in(4) {
                let records = entries.iter().filter(|(table, ..)| *table == 0);
                let lengths: Vec<usize> = records
                    .map(|(_, name, content)| name.len() + content.len() + 4)
                    .collect();
                let totals = totals(lengths.len(), lengths.iter().sum());
                for entry in &mut entries {
                    if entry.0 == 2 && entry.1 == b"totals" {
                        entry.2 = totals.clone();
                    }
                }
            }
            return pack_entries(&entries);
        }
        let mut changes = unpack(seed.get(1..).unwrap_or_default());
        changes.truncate(6);
        for _ in 0..=draw.below(3) {
            let at = match draw.once_in(3) {
                true => draw.below(320) as u32,
                false => *draw.pick(&self.used),
            };
            let bytes = match draw.below(3) {
                0 => draw.edge(4096).to_le_bytes()[..*draw.pick(&[1, 2, 4, 8])].to_vec(),
                1 => draw.noise(32),
                _ => vec![self.file[at as usize] ^ 1 << draw.below(8)],
            };
            changes.push((format!("{at:x}"), bytes));
        }
        if draw.once_in(8) {
            changes.push((
                "cut".to_owned(),
                vec![0; draw.below(self.file.len() / 4096 + 2)],
            ));
        }
        [vec![0], pack(&changes)].concat()
    }

    fn run(&mut self, input: &[u8]) -> Result<String, String> {
        let disk = MemoryDisk::with([(PATH, self.file(input))]);
        let shared: Arc<dyn Disk> = Arc::new(disk);
        let opened = Backend::open(shared, Path::new(PATH));
        let loaded = opened.and_then(|backend| Ok((backend.load()?, backend)));
        match loaded {
            Ok((loaded, backend)) => {
                _ = backend.size();
                let mut state = loaded.state.clone();
                _ = state.put(&PutRequest {
                    key: b"new".to_vec().into(),
                    ..Default::default()
                });
                let used = use_state(loaded.state, loaded.meta.clone())?;
                let committed = backend.commit(&state.take_changes(), &loaded.meta);
                backend.close();
                Ok(format!("loaded, {used}, {}", committed.is_ok()))
            }
            Err(error) => Ok(error.to_string()),
        }
    }

    fn memory(&self, input: &[u8]) -> u64 {
        if input.first() != Some(&1) {
            // A damaged page number may claim redb's longest page. redb asks for it before it finds
            // that the file is shorter; nothing beyond the file's own length is ever touched.
            return LONGEST_PAGE + (12 << 20);
        }
        // The file is some megabytes and is held twice; redb's cache is 8 MiB.
        (12 << 20) + 60 * input.len() as u64
    }

    fn foresees(&self, file: &str) -> bool {
        // redb's own, on damage it did not foresee: `backend` catches it.
        file.contains("/redb-")
    }
}

#[test]
fn store() {
    fuzz(&mut Store::new());
}
