//! Compiles the `.proto` files with protox, so that no `protoc` is needed.

#[expect(
    clippy::disallowed_methods,
    reason = "cargo says in the environment where to write"
)]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = [
        "mcp_remote/v1/options.proto",
        "mcp_remote/v1/relay.proto",
        "mcp_remote/v1/management.proto",
    ];
    for file in files {
        println!("cargo::rerun-if-changed={file}");
    }
    let mut compiler = protox::Compiler::new(["."])?;
    compiler.include_imports(true).open_files(files)?;
    let folder = std::env::var("OUT_DIR")?;
    let described = std::path::Path::new(&folder).join("descriptors.bin");
    std::fs::write(described, compiler.encode_file_descriptor_set())?;
    tonic_prost_build::configure()
        .bytes(".")
        .boxed(".mcp_remote.v1.RelayRequest.frame.open")
        .build_transport(false)
        .codec_path("crate::codec::Codec")
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
