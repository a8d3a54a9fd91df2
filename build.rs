//! Generates the gRPC service of `waypost demo`.

fn main() {
    #[cfg(feature = "cli")]
    demo();
}

#[cfg(feature = "cli")]
#[allow(clippy::expect_used, reason = "a build script has nobody else to tell")]
fn demo() {
    let out = std::path::PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo names a folder"));
    tonic_prost_build::configure()
        .file_descriptor_set_path(out.join("greeter.bin"))
        .compile_protos(&["src/cli/demo/greeter.proto"], &["src/cli/demo"])
        .expect("protoc understands the demo's proto file; install it with `make setup-test`");
}
