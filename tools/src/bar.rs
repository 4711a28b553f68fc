//! The progress bar of commands that copy.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar of bytes on standard error, if one is wanted.
pub struct Bar(Option<ProgressBar>);

impl Bar {
    /// Begins one.
    pub fn new(wanted: bool) -> Self {
        Self(wanted.then(|| {
            let bar = ProgressBar::no_length();
            let style =
                ProgressStyle::with_template("{msg:24} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}");
            if let Ok(style) = style {
                bar.set_style(style);
            }
            bar
        }))
    }

    /// Whether there is one.
    pub const fn is_shown(&self) -> bool {
        self.0.is_some()
    }

    /// Shows what is being done. Bytes count only where it is known how many there will be, about.
    pub fn show(&self, text: &'static str, bytes: u64, total_bytes: Option<u64>) {
        let Some(bar) = &self.0 else { return };
        bar.set_message(text);
        if let Some(total) = total_bytes {
            bar.set_length(total.max(bytes));
            bar.set_position(bytes);
        }
    }

    /// Takes it away.
    pub fn finish(&self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
