//! Writes the seeds of all corpora: `cargo run -p lattice-fuzz --bin seeds`. Other files of the corpora stay.

use std::path::Path;

fn main() -> std::io::Result<()> {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let seeds = lattice_fuzz::seeds::all();
    for seed in &seeds {
        let path = seed.path(&corpora);
        std::fs::create_dir_all(path.parent().unwrap_or(&corpora))?;
        std::fs::write(path, &seed.data)?;
    }
    println!("{} seeds for {} targets", seeds.len(), lattice_fuzz::TARGETS.len());
    Ok(())
}
