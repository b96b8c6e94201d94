//! `mcp-remote completions`: scripts by which shells complete command lines, made
//! from the table of commands.

use std::fmt::Write as _;

use crate::cli::Shell;
use crate::cli::table::{COMMANDS, COMMON, Command, Flag, Values};

mod bash;
mod fish;
mod zsh;

/// Writes the script of a shell.
pub(crate) fn script(shell: Shell) -> String {
    match shell {
        Shell::Bash => bash::script(),
        Shell::Zsh => zsh::script(),
        Shell::Fish => fish::script(),
    }
}

/// Returns the commands that have a name.
fn named() -> impl Iterator<Item = &'static Command> {
    COMMANDS.iter().filter(|command| !command.name.is_empty())
}

/// Returns every flag of a command.
fn flags(command: &Command) -> impl Iterator<Item = &'static Flag> + use<> {
    command.flags().chain(COMMON)
}

/// Adds a line.
fn push(script: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(script, "{line}").expect("writing to a string cannot fail");
}

/// Quotes text for any of the shells: between single quotes.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// Returns the words that a value may be.
fn words(values: Values) -> Option<String> {
    match values {
        Values::OneOf(words) => Some(words.join(" ")),
        Values::Any | Values::File => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_script_knows_every_command_and_flag() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = script(shell);
            for command in COMMANDS {
                assert!(script.contains(command.name), "{shell:?}: {}", command.name);
                for name in flags(command).flat_map(|flag| flag.names) {
                    let bare = name.trim_start_matches('-');
                    assert!(script.contains(bare), "{shell:?}: {name}");
                }
            }
        }
    }
}
