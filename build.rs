//! Turns the files under `proto/` into Rust, with no `protoc` installed: protox
//! compiles them to the descriptor set that code is generated from and that
//! reflection serves.

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

use protox::prost_reflect::prost_types::FieldDescriptorProto;
use protox::prost_reflect::prost_types::field_descriptor_proto::{Label, Type};
use tonic_prost_build::{Builder, FileDescriptorSet};

const FILES: [&str; 3] = [
    "proto/proxyherd/v1/propagate.proto",
    "proto/proxyherd/v1/operator.proto",
    "proto/proxyherd/v1/storage.proto",
];

/// The package of the messages.
const PACKAGE: &str = "proxyherd.v1";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    // Compiled in by a macro, which does not see new files.
    println!("cargo:rerun-if-changed=page");
    let mut compiler = protox::Compiler::new(["proto"])?;
    // Comments go along: operators read them through reflection.
    compiler
        .include_source_info(true)
        .include_imports(true)
        .open_files(FILES)?;

    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(
        out.join("proxyherd.bin"),
        compiler.encode_file_descriptor_set(),
    )?;

    let descriptors = compiler.file_descriptor_set();
    let builder = tonic_prost_build::configure()
        // Pushes stay bytes until the module `wire` reads them in place.
        .extern_path(".proxyherd.v1.PushRequest", "crate::proto::PushFrame")
        .codec_path("crate::proto::Codec");
    with_json(builder, &descriptors).compile_fds(descriptors)?;
    Ok(())
}

/// Makes all messages serializable, with the names of their fields as keys.
fn with_json(mut builder: Builder, descriptors: &FileDescriptorSet) -> Builder {
    builder = builder.type_attribute(
        format!(".{PACKAGE}"),
        "#[derive(serde::Serialize)] #[serde(rename_all = \"snake_case\")]",
    );
    let files = descriptors.file.iter();
    for file in files.filter(|file| file.package() == PACKAGE) {
        for message in &file.message_type {
            for field in &message.field {
                if let Some(attribute) = json_attribute(field) {
                    let path = format!(".{PACKAGE}.{}.{}", message.name(), field.name());
                    builder = builder.field_attribute(path, format!("#[serde({attribute})]"));
                }
            }
        }
    }
    builder
}

/// Returns how serde writes a field whose Rust type is not what JSON should hold: see
/// `proto::json`.
fn json_attribute(field: &FieldDescriptorProto) -> Option<String> {
    let with = |function: &str| format!("serialize_with = \"crate::proto::json::{function}\"");
    match (field.r#type(), field.type_name()) {
        (Type::Message, ".google.protobuf.Duration") => {
            // Values in JSON have no unit.
            let key = format!("{}_seconds", field.name());
            Some(format!("rename = \"{key}\", {}", with("seconds")))
        }
        (Type::Message, ".google.protobuf.Timestamp") => Some(with("time")),
        // Only storage has lists of them.
        (Type::Fixed64, _) if field.label() != Label::Repeated => Some(with("hex")),
        (Type::Bytes, _) => Some(with("hex_bytes")),
        _ => None,
    }
}
