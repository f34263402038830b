//! Tells the program which commit it was built from, for the provenance of results, and compiles
//! the CUDA kernels.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    #[cfg(feature = "cuda")]
    compile_kernels();
    // Sources unpacked inside somebody else's repository are not that repository's commit.
    let commit = (git(&["rev-parse", "--show-prefix"]).as_deref() == Some(""))
        .then(|| git(&["rev-parse", "--short=10", "HEAD"]))
        .flatten();
    if commit.is_some() {
        // A path that does not exist would make cargo build anew every time.
        for file in ["HEAD", "logs/HEAD"] {
            let path = git(&["rev-parse", "--git-path", file]).unwrap_or_default();
            if std::path::Path::new(&path).exists() {
                println!("cargo:rerun-if-changed={path}");
            }
        }
    }
    println!("cargo:rustc-env=GIT_COMMIT={}", commit.as_deref().unwrap_or("unknown"));
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

/// Every kernel file becomes a constant of PTX named after it, in the file that `src/kernel.rs`
/// includes.
#[cfg(feature = "cuda")]
fn compile_kernels() {
    const FILES: [&str; 17] = [
        "src/autoencoder/ops/gpu/attention.cu",
        "src/autoencoder/ops/gpu/fused_attention.cu",
        "src/autoencoder/ops/gpu/gather.cu",
        "src/autoencoder/ops/gpu/hidden.cu",
        "src/autoencoder/ops/gpu/norm.cu",
        "src/autoencoder/ops/gpu/pixels.cu",
        "src/autoencoder/ops/gpu/residual.cu",
        "src/autoencoder/ops/gpu/sums.cu",
        "src/autoencoder/ops/gpu/values.cu",
        "src/image/frames.cu",
        "src/model/gpu/attention_bf16.cu",
        "src/model/gpu/attention_f32.cu",
        "src/model/gpu/attention_tf32.cu",
        "src/model/gpu/patches.cu",
        "src/model/gpu/tokens.cu",
        "src/pretrain/step.cu",
        "src/propagation/fused/affinity.cu",
    ];
    const HEADERS: [&str; 12] = [
        "src/kernel/columns.cuh",
        "src/kernel/instructions.cuh",
        "src/kernel/pack.cuh",
        "src/kernel/row.cuh",
        "src/kernel/tile.cuh",
        "src/kernel/tile_bf16.cuh",
        "src/model/gpu/attention.cuh",
        "src/model/gpu/tensor_cores.cuh",
        "src/propagation/fused/nearest.cuh",
        "src/propagation/fused/products.cuh",
        "src/propagation/fused/search.cuh",
        "src/propagation/fused/sequence.cuh",
    ];
    for file in FILES.into_iter().chain(HEADERS) {
        println!("cargo:rerun-if-changed={file}");
    }
    let out = std::path::PathBuf::from(std::env::var_os("OUT_DIR").unwrap_or_default());
    let ptx = cudaforge::KernelBuilder::new()
        .source_files(FILES)
        .watch(HEADERS) // else a file that did not change itself stays as it was compiled
        .arg("-std=c++17")
        .arg("-O3")
        .build_ptx()
        .and_then(|ptx| ptx.write(out.join("ptx.rs")));
    if let Err(error) = ptx {
        println!("cargo:error=the CUDA kernels do not compile: {error}");
        std::process::exit(1);
    }
}
