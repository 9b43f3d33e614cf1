//! Refuses to build without `--cfg madsim`, and says why.
//!
//! The flag comes from `.cargo/config.toml`. A `RUSTFLAGS` variable in the environment silently
//! replaces that file's flags, and the simulator would then be built against the real clock.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=RUSTFLAGS");
    if !madsim_is_set() {
        println!(
            "cargo::error=vetcd-sim needs the compiler flag `--cfg madsim`, and it is missing. \
             It normally comes from .cargo/config.toml; a RUSTFLAGS variable in the environment \
             replaces that file: unset it, or add `--cfg madsim` to it."
        );
    }
}

/// Whether the flag reaches the compiler: Cargo reports custom flags as `CARGO_CFG_*`, and the
/// encoded flags are looked at as well for versions that do not.
fn madsim_is_set() -> bool {
    if env::var_os("CARGO_CFG_MADSIM").is_some() {
        return true;
    }
    let encoded = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    let flags: Vec<&str> = encoded.split('\u{1f}').collect();
    flags.contains(&"--cfg=madsim") || flags.windows(2).any(|pair| pair == ["--cfg", "madsim"])
}
