//! The `proxyherd` program.

fn main() -> std::process::ExitCode {
    proxyherd::cli::main()
}
