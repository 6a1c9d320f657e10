//! The migrations are compiled in; cargo does not notice a new file in their folders by itself.
fn main() {
    println!("cargo:rerun-if-changed=migrations");
}
