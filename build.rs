//! Turns the files under `proto/` into Rust, with no `protoc` installed: protox
//! compiles them to the descriptor set that code is generated from and that
//! reflection serves.

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

const FILES: [&str; 2] = [
    "proto/proxyherd/v1/propagate.proto",
    "proto/proxyherd/v1/operator.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let mut compiler = protox::Compiler::new(["proto"])?;
    // Comments go along: operators read them in what reflection tells.
    compiler
        .include_source_info(true)
        .include_imports(true)
        .open_files(FILES)?;

    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(
        out.join("proxyherd.bin"),
        compiler.encode_file_descriptor_set(),
    )?;

    tonic_prost_build::configure()
        // Pushes stay bytes until peers::wire reads them in place.
        .extern_path(".proxyherd.v1.PushRequest", "crate::proto::PushFrame")
        .codec_path("crate::proto::Codec")
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
