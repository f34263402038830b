//! Kernels on a machine without a GPU, the encoder's and those of a training step: compiled for the
//! processor, with a header that stands for CUDA (`emulated/device.hpp`), and held against plain
//! loops in double precision.

use std::process::Command;

/// Compiles and runs `emulated/NAME.cpp`, which says itself whether all is right.
fn run(name: &str) {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cuda/emulated");
    let out = tempfile::tempdir().unwrap();
    let program = out.path().join(name);
    let compiler = std::env::var_os("CXX").unwrap_or_else(|| "c++".into());
    let mut command = Command::new(&compiler);
    command.args(["-O2", "-std=c++17", "-Wno-unknown-pragmas", "-I"]).arg(&folder);
    // sums are not fused with products that a kernel rounds by themselves
    command.arg("-ffp-contract=off");
    // what is read 16 bytes at a time lies where a GPU would read it
    command.args(["-fsanitize=alignment", "-fsanitize-undefined-trap-on-error"]);
    command.arg("-o").arg(&program).arg(folder.join(name).with_extension("cpp"));
    match command.status() {
        Ok(status) => assert!(status.success(), "{name}.cpp does not compile"),
        Err(error) => return eprintln!("skipped, no C++ compiler {compiler:?}: {error}"),
    }
    // threads take turns in an order that nobody would choose
    let ran = Command::new(&program).env("EMULATED_ORDER", "1").output().unwrap();
    eprint!("{}", String::from_utf8_lossy(&ran.stdout));
    assert!(ran.status.success(), "{name}: a kernel is wrong, or {}", ran.status);
}

#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "fibers are those of glibc")]
fn emulated_attention_agrees_with_its_definition() {
    run("attention");
}

#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "fibers are those of glibc")]
fn emulated_kernels_for_tokens_and_frames_agree_with_theirs() {
    run("tokens");
}

#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "fibers are those of glibc")]
fn emulated_attention_of_training_agrees_with_its_definition_both_ways() {
    run("fused_attention");
}

#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "fibers are those of glibc")]
fn emulated_affinity_agrees_with_its_definition_and_shares_of_blocks_change_nothing() {
    run("affinity");
}

#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "fibers are those of glibc")]
fn emulated_kernels_of_training_between_products_agree_with_theirs() {
    run("branches");
}

#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "fibers are those of glibc")]
fn emulated_kernels_for_steps_of_the_optimiser_agree_with_theirs() {
    run("step");
}

#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "fibers are those of glibc")]
fn emulated_versions_of_the_affinity_agree_with_its_definition() {
    run("ladder");
}
