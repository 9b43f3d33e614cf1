//! Every judge shown to fail: histories broken by hand, next to the same ones unbroken.

#![allow(clippy::unwrap_used)]

mod build;
mod losses;
mod orders;
mod stories;
mod strict;
