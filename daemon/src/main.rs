//! The daemon's executable.

fn main() -> std::process::ExitCode {
    mcp_remoted::main()
}
