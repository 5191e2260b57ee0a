//! `include/latticed.h` is what cbindgen makes of the sources, and says something of everything in it.
//!
//! After a change of the interface: `LATTICED_BLESS=1 cargo test -p lattice-c --test header`, and read the difference.

use std::collections::BTreeSet;
use std::ffi::CStr;
use std::path::Path;

use cbindgen::{Builder, Config};

fn directory() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn committed() -> String {
    std::fs::read_to_string(directory().join("include/latticed.h")).expect("the header")
}

fn generated() -> String {
    let config = Config::from_file(directory().join("cbindgen.toml")).expect("its configuration");
    let bindings = Builder::new().with_config(config).with_src(directory().join("src/lib.rs")).generate();
    let mut header = Vec::new();
    bindings.expect("a header").write(&mut header);
    String::from_utf8(header).expect("UTF-8")
}

#[test]
fn the_header_is_what_the_sources_say() {
    let generated = generated();
    if std::env::var_os("LATTICED_BLESS").is_some() {
        std::fs::write(directory().join("include/latticed.h"), &generated).expect("written");
    }
    assert!(
        committed() == generated,
        "include/latticed.h is stale: LATTICED_BLESS=1 cargo test -p lattice-c --test header writes it anew"
    );
}

/// Names of the functions that the sources define.
fn functions() -> BTreeSet<String> {
    let sources = std::fs::read_dir(directory().join("src")).expect("the sources");
    let texts =
        sources.map(|source| std::fs::read_to_string(source.expect("a source").path()).expect("its text"));
    let mut names = BTreeSet::new();
    for text in texts {
        for rest in text.split("extern \"C\" fn ").skip(1).filter(|rest| rest.starts_with("latticed_")) {
            names.extend(rest.split('(').next().map(str::to_owned));
        }
    }
    names
}

#[test]
fn every_function_is_in_the_header_with_its_description_and_its_errors() {
    let header = committed();
    let functions = functions();
    assert!(functions.len() > 50, "{functions:?}");
    for name in functions {
        // Its declaration, not its mention in somebody's description.
        let declared = header.match_indices(&format!("{name}(")).map(|(at, _)| at).find(|at| {
            let line = header[..*at].rsplit('\n').next().unwrap_or_default();
            !line.contains('*') || line.ends_with('*') && !line.trim_start().starts_with('*')
        });
        let before = &header[..declared.unwrap_or_else(|| panic!("{name} is not in the header"))];
        let (above, line) = before.rsplit_once('\n').expect("a line before it");
        assert!(above.ends_with("*/"), "{name} has no description");
        let description = above.rsplit("/**").next().unwrap_or_default();
        let fails = line.starts_with("enum latticed_code") || line.starts_with("latticed_code");
        assert!(!fails || description.contains("Errors"), "{name} does not name its errors: {description}");
    }
}

#[test]
fn every_code_has_its_name() {
    let header = committed();
    let mut codes = 0;
    for line in header.lines().map(str::trim) {
        let Some((name, number)) = line.trim_end_matches(',').split_once(" = ") else { continue };
        if !name.starts_with("LATTICED_E") && name != "LATTICED_OK" {
            continue;
        }
        let number = number.parse().expect("a number");
        // SAFETY: the text ends with a zero byte and lives for ever.
        let found = unsafe { CStr::from_ptr(latticed::latticed_code_name(number)) };
        assert_eq!(found.to_str(), Ok(name));
        codes += 1;
    }
    assert_eq!(codes, 27);
}
