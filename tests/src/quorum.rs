//! Which standbys a commit waits for.

/// A setting of synchronous_standby_names.
#[derive(Debug, Clone, Default)]
pub struct Quorum {
    /// FIRST instead of ANY.
    pub first: bool,
    /// How many standbys a commit waits for.
    pub count: usize,
    /// Numbers of the standbys that are named, in order of priority; `s1` is the name of number 1.
    pub standbys: Vec<usize>,
}

impl Quorum {
    /// The setting's value.
    pub fn setting(&self) -> String {
        if self.standbys.is_empty() {
            return String::new();
        }
        let names: Vec<String> = self.standbys.iter().map(|at| format!("s{at}")).collect();
        let method = if self.first { "FIRST" } else { "ANY" };
        format!("{method} {} ({})", self.count, names.join(", "))
    }

    /// Whether these standbys are enough.
    pub fn is_met(&self, by: impl Fn(usize) -> bool) -> bool {
        self.standbys.is_empty() || self.standbys.iter().filter(|at| by(**at)).count() >= self.count
    }
}
