//! Compiles the contract with protox, so that no protoc is needed, and keeps the descriptor set for reflection.

use prost::Message as _;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=srt/v1/srt.proto");
    let set = protox::compile(["srt/v1/srt.proto"], ["."])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("srt.v1.descriptors.bin"), set.encode_to_vec())?;
    tonic_prost_build::configure()
        .bytes(".srt.v1.AttachRequest.stdin")
        .bytes(".srt.v1.AttachResponse.stdout")
        .bytes(".srt.v1.AttachResponse.stderr")
        .compile_fds(set)?;
    Ok(())
}
