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
    let contract = compiler.file_descriptor_set();
    std::fs::write(
        std::path::Path::new(&folder).join("calls.rs"),
        calls(&contract),
    )?;
    tonic_prost_build::configure()
        .bytes(".")
        .boxed(".mcp_remote.v1.RelayRequest.frame.open")
        .build_transport(false)
        .codec_path("crate::codec::Codec")
        .compile_fds(contract)?;
    Ok(())
}

/// Which question goes to which method, for `src/calls.rs`.
fn calls(contract: &tonic_prost_build::FileDescriptorSet) -> String {
    let type_name = |path: &str| path.replace(".mcp_remote.v1.", "crate::v1::");
    let mut text = String::new();
    for file in &contract.file {
        for service in &file.service {
            for method in &service.method {
                let name = method.name();
                let path = format!("/{}.{}/{name}", file.package(), service.name());
                let question = type_name(method.input_type());
                let answer = type_name(method.output_type());
                text += &match method.client_streaming() {
                    true => format!(
                        "/// Path of a method.\npub const {}: &str = {path:?};\n",
                        name.to_uppercase()
                    ),
                    false => format!(
                        "impl Call for {question} {{ const METHOD: &'static str = {path:?}; type Answer = {answer}; }}\n"
                    ),
                };
            }
        }
    }
    text
}
