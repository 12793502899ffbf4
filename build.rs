//! Rebuilds when a migration is added (`sqlx::migrate!` watches only the files that it saw).
fn main() {
    println!("cargo:rerun-if-changed=migrations");
}
