//! Words for people: what the operating system says, and what a person is to type into a shell.

use std::io;

/// How Rust ends the system's words for an error.
const NUMBER: &str = " (os error ";

/// The operating system's words for an error, as C programs print them: without Rust's "(os error N)".
pub fn os_message(error: &io::Error) -> String {
    without_error_numbers(&error.to_string())
}

/// A text that holds the words of such errors, without their numbers.
pub fn without_error_numbers(text: &str) -> String {
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some((before, after)) = rest.split_once(NUMBER) {
        out.push_str(before);
        let number = after.split_once(')').filter(|(number, _)| number.parse::<i32>().is_ok());
        match number {
            Some((_, behind)) => rest = behind,
            None => {
                out.push_str(NUMBER);
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

/// A text as one word of a shell's line.
pub fn shell_word(text: &str) -> String {
    let is_plain = |char: char| char.is_ascii_alphanumeric() || "/._-+:@%=,".contains(char);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_the_system_read_as_elsewhere_and_ours_stay() {
        assert_eq!(os_message(&io::Error::from_raw_os_error(2)), "No such file or directory");
        assert_eq!(os_message(&io::Error::other("of our own")), "of our own");
        for (text, plain) in [
            ("a (os error 30): b (os error 2)", "a: b"),
            ("a (os error x) (os error 5)", "a (os error x)"),
            ("a (os error 5", "a (os error 5"),
        ] {
            assert_eq!(without_error_numbers(text), plain);
        }
    }

    #[test]
    fn a_word_is_quoted_where_a_shell_would_take_it_apart() {
        for (text, word) in [
            ("/var/lib/one-2", "/var/lib/one-2"),
            ("host=a port=1", "'host=a port=1'"),
            ("it's", "'it'\\''s'"),
            ("", "''"),
        ] {
            assert_eq!(shell_word(text), word);
        }
    }
}
