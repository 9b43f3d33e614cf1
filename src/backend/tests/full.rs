//! A full disk: a commit that finds no space is made again later, and loses and doubles nothing.

use super::*;

/// A store, and one change after another that makes it longer.
struct Growing {
    disk: CrashDisk,
    state: State,
    index: u64,
}

impl Growing {
    fn new() -> (Growing, Backend) {
        let disk = CrashDisk::new();
        let backend = Backend::open(disk.shared(), path()).unwrap();
        let growing = Growing {
            disk,
            state: State::new(),
            index: 0,
        };
        (growing, backend)
    }

    fn next(&mut self) -> (Changes, BackendMeta) {
        self.index += 1;
        let put = PutRequest {
            key: Bytes::from(format!("key/{}", self.index)),
            value: vec![b'v'; 200_000].into(),
            ..Default::default()
        };
        self.state.put(&put).unwrap();
        (self.state.take_changes(), meta_at(self.index))
    }

    /// Commits until there is no space; the commit that found none.
    fn fill(&mut self, backend: &Backend) -> (Changes, BackendMeta) {
        self.disk.pack(true);
        for _ in 0..100 {
            let (changes, meta) = self.next();
            if let Err(error) = backend.commit(&changes, &meta) {
                assert_eq!(error.fault(), Fault::Full, "{error}");
                return (changes, meta);
            }
        }
        panic!("there is always space");
    }
}

#[test]
fn a_commit_without_space_is_made_again_on_the_store_as_it_was() {
    let (mut growing, backend) = Growing::new();
    let (changes, meta) = growing.fill(&backend);
    // This handle takes nothing more, whatever it is asked.
    assert_eq!(
        backend.commit(&changes, &meta).unwrap_err().fault(),
        Fault::Failed
    );
    let error = backend.reopen(&growing.disk).unwrap_err();
    assert_eq!(error.fault(), Fault::Full, "{error}");
    let probe = Path::new("data/store.space");
    assert_eq!(
        growing.disk.content(probe),
        None,
        "it takes no space itself"
    );
    growing.disk.pack(false);
    let again = backend.reopen(&growing.disk).unwrap();
    assert_eq!(
        again.load().unwrap().meta.consistent_index,
        growing.index - 1
    );
    // Twice is as good as once.
    again.commit_again(&changes, &meta).unwrap();
    again.commit_again(&changes, &meta).unwrap();
    let (changes, meta) = growing.next();
    again.commit(&changes, &meta).unwrap();
    again.close();
    drop(backend);
    let loaded = Backend::open(growing.disk.shared(), path())
        .unwrap()
        .load()
        .unwrap();
    assert_eq!(loaded.meta.consistent_index, growing.index);
    assert_eq!(loaded.state.revision(), growing.state.revision());
}

#[test]
fn a_member_that_dies_on_a_full_disk_finds_the_store_as_it_was() {
    let (mut growing, backend) = Growing::new();
    growing.fill(&backend);
    drop(backend);
    growing.disk.pack(false);
    for seed in 0..10 {
        let left = growing.disk.crashed(growing.disk.operations(), seed);
        let loaded = Backend::open(left.shared(), path())
            .unwrap()
            .load()
            .unwrap();
        assert_eq!(loaded.meta.consistent_index, growing.index - 1);
    }
}

#[test]
fn a_store_that_cannot_be_built_anew_leaves_the_old_one_and_no_rest() {
    let (mut growing, backend) = Growing::new();
    let (changes, meta) = growing.next();
    backend.commit(&changes, &meta).unwrap();
    growing.disk.pack(true);
    let built = Backend::replace(growing.disk.shared(), path(), &growing.state, &meta);
    assert_eq!(built.unwrap_err().fault(), Fault::Full);
    assert_eq!(growing.disk.content(Path::new("data/store.tmp")), None);
    assert_eq!(backend.load().unwrap().meta.consistent_index, growing.index);
    growing.disk.pack(false);
    let (changes, meta) = growing.next();
    backend.commit(&changes, &meta).unwrap();
}
