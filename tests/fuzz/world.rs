//! A disk, a network and a clock in memory: what members under test take for the world.
//!
//! Everything runs on the calling thread. Time is tokio's paused clock, which jumps to the next timer
//! when nothing is left to do; disk work is done where it is asked for.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::sync::mpsc;
use vetcd::host::{
    BoxFuture, Disk, File, Host, Identity, Listener, Moment, OpenMode, Stream, TaskHandle,
};

use crate::mutate::Draw;

/// No file of a test is longer than this: what writes beyond is refused, as by a full disk.
const FILE_BYTES_MAX: u64 = 256 << 20;
/// Bytes on the way between two ends of a connection.
const PIPE_BYTES: usize = 256 << 10;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

/// A file system in memory. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct MemoryDisk(Arc<Mutex<BTreeMap<PathBuf, MemoryFile>>>);

/// A file of it. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct MemoryFile(Arc<Mutex<Vec<u8>>>);

impl MemoryDisk {
    /// A disk with these files.
    pub fn with<P: AsRef<Path>>(files: impl IntoIterator<Item = (P, Vec<u8>)>) -> MemoryDisk {
        let disk = MemoryDisk::default();
        for (path, content) in files {
            lock(&disk.0).insert(path.as_ref().to_owned(), MemoryFile::with(content));
        }
        disk
    }

    /// Every file below `directory`, by its name there.
    pub fn files(&self, directory: &Path) -> Vec<(String, Vec<u8>)> {
        let files = lock(&self.0);
        let below = files.iter().filter_map(|(path, file)| {
            let name = path.strip_prefix(directory).ok()?;
            Some((name.to_str()?.to_owned(), lock(&file.0).clone()))
        });
        below.collect()
    }
}

impl MemoryFile {
    pub fn with(content: Vec<u8>) -> MemoryFile {
        MemoryFile(Arc::new(Mutex::new(content)))
    }
}

impl Disk for MemoryDisk {
    fn create_dir_all(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let mut files = lock(&self.0);
        let found = files.get(path).cloned();
        let file = match (found, mode) {
            (Some(_), OpenMode::CreateNew) => return Err(io::ErrorKind::AlreadyExists.into()),
            (Some(file), _) => file,
            (None, OpenMode::Read | OpenMode::ReadWrite) => {
                return Err(io::ErrorKind::NotFound.into());
            }
            (None, _) => files.entry(path.to_owned()).or_default().clone(),
        };
        Ok(Arc::new(file))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut files = lock(&self.0);
        let file = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        files.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let removed = lock(&self.0).remove(path);
        removed.map(drop).ok_or(io::ErrorKind::NotFound.into())
    }

    fn list_dir(&self, path: &Path) -> io::Result<Vec<String>> {
        let files = lock(&self.0);
        let names = files.keys().filter(|known| known.parent() == Some(path));
        let names = names.filter_map(|known| known.file_name()?.to_str());
        Ok(names.map(str::to_owned).collect())
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        Ok(lock(&self.0).keys().any(|known| known.starts_with(path)))
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn lock(&self, _: &Path) -> io::Result<Box<dyn Send + Sync>> {
        Ok(Box::new(()))
    }
}

impl File for MemoryFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let content = lock(&self.0);
        let start = (offset.min(content.len() as u64)) as usize;
        let length = buffer.len().min(content.len() - start);
        buffer[..length].copy_from_slice(&content[start..start + length]);
        Ok(length)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let end = offset.saturating_add(data.len() as u64);
        if end > FILE_BYTES_MAX {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let mut content = lock(&self.0);
        if content.len() < end as usize {
            content.resize(end as usize, 0);
        }
        content[offset as usize..end as usize].copy_from_slice(data);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        if length > FILE_BYTES_MAX {
            return Err(io::ErrorKind::StorageFull.into());
        }
        lock(&self.0).resize(length as usize, 0);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(lock(&self.0).len() as u64)
    }
}

/// Where connections to an address go.
type Accepted = mpsc::UnboundedSender<Box<dyn Stream>>;

/// Who listens where.
#[derive(Clone, Default)]
pub struct Network(Arc<Mutex<BTreeMap<String, Accepted>>>);

/// What clients write, while somebody wants to know.
pub type Tap = Arc<Mutex<Vec<u8>>>;

/// One member's world, or a client's. Tasks belong to the current runtime and end with it.
pub struct World {
    pub disk: MemoryDisk,
    pub network: Network,
    random: Mutex<Draw>,
    /// Takes a copy of what is written on connections made from here.
    pub tap: Option<Tap>,
    origin: tokio::time::Instant,
}

impl World {
    /// Must be called inside a runtime.
    pub fn new(name: &str, disk: MemoryDisk, network: Network) -> World {
        World {
            disk,
            network,
            random: Mutex::new(Draw::new(1, name)),
            tap: None,
            origin: tokio::time::Instant::now(),
        }
    }
}

impl Network {
    fn listen(&self, address: &str) -> Box<dyn Listener> {
        let (sender, receiver) = mpsc::unbounded_channel();
        lock(&self.0).insert(address.to_owned(), sender);
        Box::new(MemoryListener {
            address: address.to_owned(),
            receiver,
        })
    }

    fn connect(&self, address: &str, tap: Option<Tap>) -> io::Result<Box<dyn Stream>> {
        let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
        let listening = lock(&self.0).get(address).cloned();
        let sender = listening.ok_or(io::ErrorKind::ConnectionRefused)?;
        let theirs = Box::new(MemoryStream {
            stream: theirs,
            tap: None,
        });
        sender
            .send(theirs)
            .map_err(|_| io::ErrorKind::ConnectionRefused)?;
        Ok(Box::new(MemoryStream { stream: ours, tap }))
    }
}

impl Host for World {
    fn now(&self) -> Moment {
        Moment(self.origin.elapsed())
    }

    fn wall_clock(&self) -> Duration {
        Duration::from_secs(1_700_000_000) + self.origin.elapsed()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<()> {
        // tokio's timers reach two years ahead.
        Box::pin(tokio::time::sleep(
            duration.min(Duration::from_secs(30_000_000)),
        ))
    }

    fn spawn(&self, _: &'static str, task: BoxFuture<()>) -> TaskHandle {
        let task = tokio::spawn(task);
        TaskHandle::new(move || task.abort())
    }

    fn blocking(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<()> {
        Box::pin(async { work() })
    }

    fn disk(&self) -> Arc<dyn Disk> {
        Arc::new(self.disk.clone())
    }

    fn listen(&self, address: &str) -> BoxFuture<io::Result<Box<dyn Listener>>> {
        let listener = self.network.listen(address);
        Box::pin(async { Ok(listener) })
    }

    fn connect(&self, address: &str) -> BoxFuture<io::Result<Box<dyn Stream>>> {
        let stream = self.network.connect(address, self.tap.clone());
        Box::pin(async { stream })
    }

    fn fill_random(&self, buffer: &mut [u8]) {
        let mut random = lock(&self.random);
        buffer.fill_with(|| random.number() as u8);
    }

    fn boot_id(&self) -> String {
        "memory".to_owned()
    }
}

struct MemoryListener {
    address: String,
    receiver: mpsc::UnboundedReceiver<Box<dyn Stream>>,
}

impl Listener for MemoryListener {
    fn accept(&mut self) -> Pin<Box<dyn Future<Output = io::Result<Box<dyn Stream>>> + Send + '_>> {
        Box::pin(async {
            let stream = self.receiver.recv().await;
            stream.ok_or(io::ErrorKind::NotConnected.into())
        })
    }

    fn local_address(&self) -> String {
        self.address.clone()
    }
}

struct MemoryStream {
    stream: DuplexStream,
    tap: Option<Tap>,
}

impl Stream for MemoryStream {
    fn peer_address(&self) -> String {
        "memory:1".to_owned()
    }

    fn identity(&self) -> Option<Identity> {
        None
    }
}

impl AsyncRead for MemoryStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for MemoryStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, data);
        if let (Poll::Ready(Ok(length)), Some(tap)) = (&written, &self.tap) {
            lock(tap).extend(&data[..*length]);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
