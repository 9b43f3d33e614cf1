//! etcd's database file, as users hand it to `vetcdutl snapshot restore` and `status`.
//!
//! Pages have no checksums but for the two that name the root; those are made right again.

use std::sync::Arc;

use vetcd::server::Published;
use vetcd::server::etcd_snapshot::{adopt, records};
use vetcd::snapshot::bolt::Reader;
use vetcd::snapshot::etcd_schema::{Encoder, read, status};

use crate::harness::{Target, fuzz};
use crate::mutate::{self, Draw};
use crate::snapshot::{meta, state, use_state};
use crate::world::MemoryFile;

const PAGE: usize = 4096;
/// A page's header, and a meta page's content up to its checksum.
const HEADER: usize = 16;
const META_BYTES: usize = 56;

fn published(records: usize) -> Published {
    Published::restored(state(records, records > 30), meta())
}

fn seed(count: usize) -> Vec<u8> {
    let published = published(count);
    let encoder = Encoder::new(published.state.clone(), &records(&published)).unwrap();
    encoder.flatten().collect()
}

/// FNV-1a.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    })
}

fn repair(file: &mut [u8]) {
    for page in file.chunks_mut(PAGE).take(2) {
        if let Some(content) = page.get_mut(HEADER..HEADER + META_BYTES + 8) {
            let sum = checksum(&content[..META_BYTES]);
            content[META_BYTES..].copy_from_slice(&sum.to_le_bytes());
        }
    }
}

struct Database;

impl Target for Database {
    fn name(&self) -> &'static str {
        "database"
    }

    fn cases(&self) -> usize {
        2_500
    }

    fn seeds(&mut self) -> Vec<Vec<u8>> {
        vec![seed(0), seed(20), seed(300)]
    }

    fn mutate(&mut self, draw: &mut Draw, seed: &[u8], other: &[u8]) -> Vec<u8> {
        let mut file = seed.to_vec();
        for _ in 0..=draw.below(4) {
            let pages = file.len().div_ceil(PAGE);
            let page = draw.below(pages) * PAGE;
            let end = (page + PAGE).min(file.len());
            // Most of what matters is at a page's beginning.
            let reach = *draw.pick(&[HEADER, 3 * HEADER, 200, PAGE]);
            let at = page + draw.below(reach.min(end - page));
            match draw.below(8) {
                0 => {
                    let from = draw.below(pages) * PAGE;
                    let whole = file[from..(from + PAGE).min(file.len())].to_vec();
                    file[page..page + whole.len().min(end - page)]
                        .copy_from_slice(&whole[..whole.len().min(end - page)]);
                }
                1 => file.truncate(if draw.once_in(2) { page } else { at }),
                2 | 3 => {
                    let width = *draw.pick(&[2, 4, 8]);
                    let value = draw.edge(pages as u64).to_le_bytes();
                    for (byte, value) in file[at..end].iter_mut().take(width).zip(value) {
                        *byte = value;
                    }
                }
                4 => {
                    let mut changed = mutate::bytes(draw, &file[page..end], other);
                    changed.resize(end - page, 0);
                    file[page..end].copy_from_slice(&changed);
                }
                _ => {
                    if let Some(byte) = file.get_mut(at) {
                        *byte ^= 1 << draw.below(8);
                    }
                }
            }
            if file.is_empty() {
                break;
            }
        }
        if !draw.once_in(6) {
            repair(&mut file);
        }
        file
    }

    fn run(&mut self, input: &[u8]) -> Result<String, String> {
        let file = Arc::new(MemoryFile::with(input.to_vec()));
        let reader = match Reader::open(file) {
            Ok(reader) => reader,
            Err(error) => return Ok(error.to_string()),
        };
        let checked = reader.check().map_err(|error| error.to_string());
        let summed = status(&reader).map_err(|error| error.to_string());
        if summed.is_ok() && checked.is_err() {
            return Err(format!("summed up and yet damaged: {checked:?}"));
        }
        let contents = match read(&reader) {
            Ok(contents) => contents,
            Err(error) => return Ok(format!("{} {error}", summed.is_ok())),
        };
        let mut published = Published::restored(contents.state.clone(), meta());
        adopt(&contents.records, &mut published);
        let again = Encoder::new(published.state.clone(), &records(&published));
        let again = again.is_ok_and(|pieces| pieces.count() > 0);
        let used = use_state(contents.state, meta())?;
        Ok(format!("read, {used}, {again}, {checked:?}"))
    }

    fn memory(&self, input: &[u8]) -> u64 {
        (1 << 20) + 20 * input.len() as u64
    }
}

#[test]
fn database() {
    fuzz(&mut Database);
}
