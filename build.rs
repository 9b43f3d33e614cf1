//! Compiles the protocol definitions with a compiler written in Rust: no `protoc` is needed.

#[allow(clippy::disallowed_methods, reason = "a build script runs on no host")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    const PROTOS: &[&str] = &[
        "authpb.proto",
        "kv.proto",
        "rpc.proto",
        "auth.proto",
        "lease.proto",
        "lock.proto",
        "election.proto",
        "health.proto",
        "vetcd.proto",
        "watch.proto",
    ];
    const DIR: &str = "src/api/proto";
    println!("cargo::rerun-if-changed={DIR}");
    let descriptors = protox::compile(PROTOS, [DIR])?;
    // For what works on any message: the JSON gateway.
    let path = std::path::Path::new(&std::env::var("OUT_DIR")?).join("descriptors.bin");
    std::fs::write(path, prost::Message::encode_to_vec(&descriptors))?;
    tonic_prost_build::configure()
        .build_transport(false)
        .bytes(".")
        .compile_fds(descriptors)?;
    Ok(())
}
