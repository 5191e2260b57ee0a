//! Gives the shared library its name for the loader: programs that were linked with it ask for that one, so a version that
//! breaks them can be installed beside it. The number is the ABI's, not the project's version.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,liblatticed.so.0");
}
