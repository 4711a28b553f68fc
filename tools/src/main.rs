//! The one binary: `plimsoll`.

fn main() {
    eprintln!("plimsoll: no commands are built yet");
    std::process::exit(2);
}
