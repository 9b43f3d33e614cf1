//! Compares text with a committed file; `UPDATE_GOLDEN=1 cargo test` writes the file instead, and
//! the difference is then for a person to judge.

/// Fails when `text` is not what `golden/NAME` holds.
pub fn check(name: &str, text: &str) {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/front/golden");
    let path = directory.join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).unwrap();
        return;
    }
    let wanted = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert!(wanted == text, "{name} differs; it is now:\n{text}");
}
