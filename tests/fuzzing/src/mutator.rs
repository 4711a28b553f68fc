//! Inputs from inputs.

use fastrand::Rng;

/// The longest input that is made.
const BYTES_MAX: usize = 64 << 10;
/// Most inputs that are kept to make others of.
const KEPT_MAX: usize = 4096;
/// Most changes to one input.
const CHANGES_MAX: usize = 8;
/// How often a piece is repeated, at the most: shows what recurses on its input.
const REPEATS_MAX: usize = 3000;

/// Makes inputs from known ones, as its seed decides.
pub struct Mutator {
    rng: Rng,
    kept: Vec<Vec<u8>>,
    words: &'static [&'static str],
    input: Vec<u8>,
}

impl Mutator {
    /// From these inputs and the words that mean something in them.
    pub fn new(seed: u64, kept: Vec<Vec<u8>>, words: &'static [&'static str]) -> Self {
        let kept = if kept.is_empty() { vec![Vec::new()] } else { kept };
        Self { rng: Rng::with_seed(seed), kept, words, input: Vec::new() }
    }

    /// Makes the next input.
    pub fn make(&mut self) -> &[u8] {
        let from = self.rng.usize(..self.kept.len());
        self.input.clear();
        self.input.extend_from_slice(&self.kept[from]);
        for _ in 0..self.rng.usize(1..=CHANGES_MAX) {
            self.change();
        }
        self.input.truncate(BYTES_MAX);
        // Some of what was made is a beginning for more: changes add up over generations.
        if self.rng.u8(..) == 0 {
            let input = self.input.clone();
            if self.kept.len() < KEPT_MAX {
                self.kept.push(input);
            } else {
                let at = self.rng.usize(..self.kept.len());
                self.kept[at] = input;
            }
        }
        &self.input
    }

    fn change(&mut self) {
        match self.rng.u8(..12) {
            0 => self.flip(),
            1 => self.set(),
            2 => self.remove(),
            3 => self.double(),
            4 => self.splice(),
            5..=7 => self.word(),
            8 => self.number(),
            9 => self.text_number(),
            10 => self.swap(),
            _ if self.rng.u8(..) < 16 => self.repeat(),
            _ => self.insert_bytes(),
        }
    }

    /// A range of the input, mostly a short one.
    fn range(&mut self) -> std::ops::Range<usize> {
        let length = self.input.len();
        let start = self.rng.usize(..=length);
        let most = if self.rng.bool() { 16.min(length - start) } else { length - start };
        start..start + self.rng.usize(..=most)
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        if self.input.len() + bytes.len() <= BYTES_MAX {
            self.input.splice(at..at, bytes.iter().copied());
        }
    }

    fn flip(&mut self) {
        if let Some(at) = self.place() {
            self.input[at] ^= 1 << self.rng.u8(..8);
        }
    }

    fn set(&mut self) {
        if let Some(at) = self.place() {
            self.input[at] = if self.rng.bool() { self.rng.u8(..) } else { self.rng.u8(b' '..=b'~') };
        }
    }

    fn place(&mut self) -> Option<usize> {
        (!self.input.is_empty()).then(|| self.rng.usize(..self.input.len()))
    }

    fn remove(&mut self) {
        let range = self.range();
        self.input.drain(range);
    }

    fn double(&mut self) {
        let range = self.range();
        let piece = self.input[range.clone()].to_vec();
        self.put(range.end, &piece);
    }

    fn repeat(&mut self) {
        let range = self.range();
        let piece = self.input[range.clone()].to_vec();
        let times = self.rng.usize(..REPEATS_MAX).min(BYTES_MAX / piece.len().max(1));
        self.put(range.end, &piece.repeat(times));
    }

    /// The beginning of this input and the end of another.
    fn splice(&mut self) {
        let other = self.rng.usize(..self.kept.len());
        let from = self.rng.usize(..=self.kept[other].len());
        let to = self.rng.usize(..=self.input.len());
        self.input.truncate(to);
        let rest = self.kept[other][from..].to_vec();
        self.put(to, &rest);
    }

    fn word(&mut self) {
        if self.words.is_empty() {
            return self.insert_bytes();
        }
        let word = self.words[self.rng.usize(..self.words.len())];
        // In place of another piece, or beside it.
        let range = self.range();
        let at = range.start;
        if self.rng.bool() {
            self.input.drain(range);
        }
        let padded = if self.rng.bool() { format!(" {word} ") } else { word.to_owned() };
        self.put(at, padded.as_bytes());
    }

    /// A number at an edge, in the byte order of the protocol.
    fn number(&mut self) {
        let edges =
            [0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF];
        let edge: u32 = edges[self.rng.usize(..edges.len())];
        let width = [1, 2, 4][self.rng.usize(..3)];
        if let Some(at) = self.place() {
            for (byte, edge) in self.input[at..].iter_mut().zip(&edge.to_be_bytes()[4 - width..]) {
                *byte = *edge;
            }
        }
    }

    /// A number at an edge, as text.
    fn text_number(&mut self) {
        let edges = [
            "0",
            "-1",
            "1e308",
            "-0",
            "32768",
            "2147483648",
            "-2147483649",
            "9223372036854775808",
            "NaN",
            "1e-400",
            "99999999999999999999999999999999999999",
            "0.0000000000000000000000000000000001",
            "infinity",
        ];
        let (at, edge) = (self.rng.usize(..=self.input.len()), self.rng.usize(..edges.len()));
        self.put(at, edges[edge].as_bytes());
    }

    fn swap(&mut self) {
        let (a, b) = (self.range(), self.range());
        if a.end <= b.start {
            let moved =
                [&self.input[b.clone()], &self.input[a.end..b.start], &self.input[a.clone()]].concat();
            self.input.splice(a.start..b.end, moved);
        }
    }

    fn insert_bytes(&mut self) {
        let at = self.rng.usize(..=self.input.len());
        let bytes: Vec<u8> = (0..self.rng.usize(1..8)).map(|_| self.rng.u8(..)).collect();
        self.put(at, &bytes);
    }
}
