//! The program `mcp-remote`.

fn main() -> std::process::ExitCode {
    mcp_remote::main()
}
