//! Compiles the protocol definitions with a compiler written in Rust: no `protoc` is needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    const PROTOS: [&str; 5] = [
        "authpb.proto",
        "kv.proto",
        "rpc.proto",
        "auth.proto",
        "vetcd.proto",
    ];
    const DIR: &str = "src/api/proto";
    println!("cargo::rerun-if-changed={DIR}");
    let descriptors = protox::compile(PROTOS, [DIR])?;
    tonic_prost_build::configure()
        .build_transport(false)
        .bytes(".")
        .compile_fds(descriptors)?;
    Ok(())
}
