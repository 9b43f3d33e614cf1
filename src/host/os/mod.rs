//! The production host: tokio, `std::fs` and real sockets.

mod disk;

pub use disk::OsDisk;
