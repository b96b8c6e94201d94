//! `mcp-remote completions`: scripts by which shells complete command lines, made
//! from the table of commands.

use std::fmt::Write as _;

use crate::cli::Shell;
use crate::cli::table::{COMMANDS, COMMON, Command, Flag};

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

/// A command line that prints the names of the servers, one a line.
const SERVER_NAMES: &str = "mcp-remote list 2>/dev/null | sed 's/ .*//;1d'";

/// Returns every flag of every command.
fn every_flag() -> impl Iterator<Item = (&'static Command, &'static Flag)> {
    let of = |command: &'static Command| flags(command).map(move |flag| (command, flag));
    COMMANDS.iter().flat_map(of)
}

/// What matches `COMMAND:FLAG` where the flag has a value: with any command, unless it
/// has none in another.
fn pattern(command: &Command, name: &str) -> String {
    let is_switch = |flag: &Flag| flag.value.is_none() && flag.names.contains(&name);
    match every_flag().any(|(_, flag)| is_switch(flag)) {
        true => format!("{}:{name}", command.name),
        false => format!("*:{name}"),
    }
}

/// Returns such a pattern for each flag with a value.
fn valued() -> Vec<String> {
    let mut patterns = Vec::new();
    for (command, flag) in every_flag().filter(|(_, flag)| flag.value.is_some()) {
        patterns.extend(flag.names.iter().map(|name| pattern(command, name)));
    }
    patterns.sort();
    patterns.dedup();
    patterns
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
