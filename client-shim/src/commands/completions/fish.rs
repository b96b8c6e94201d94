//! The script for fish: a line for each command and each flag.

use crate::cli::table::{COMMANDS, Command, Flag, Values};

use super::{flags, named, push, quoted, words};

const BEGIN: &str = "\
# fish completion for mcp-remote; made by: mcp-remote completions fish
complete -c mcp-remote -f
";

/// Writes the script.
pub(super) fn script() -> String {
    let mut script = BEGIN.to_owned();
    let all: Vec<&str> = named().map(|command| command.name).collect();
    let all = all.join(" ");
    let none = format!("not __fish_seen_subcommand_from {all}");
    for command in named() {
        push(
            &mut script,
            format_args!(
                "complete -c mcp-remote -n {} -a {} -d {}",
                quoted(&none),
                command.name,
                quoted(command.summary)
            ),
        );
    }
    push_flags(&mut script, &none, &COMMANDS[0]);
    for command in named() {
        let seen = format!("__fish_seen_subcommand_from {}", command.name);
        push_flags(&mut script, &seen, command);
        for words in command.arguments.iter().filter_map(|one| words(one.values)) {
            push(
                &mut script,
                format_args!(
                    "complete -c mcp-remote -n {} -a {}",
                    quoted(&seen),
                    quoted(&words)
                ),
            );
        }
    }
    script
}

fn push_flags(script: &mut String, condition: &str, command: &Command) {
    for flag in flags(command) {
        let Flag { names, summary, .. } = flag;
        let names: Vec<String> = names
            .iter()
            .map(|name| match name.strip_prefix("--") {
                Some(long) => format!("-l {long}"),
                None => format!("-s {}", name.trim_start_matches('-')),
            })
            .collect();
        let value = match flag.value {
            None => String::new(),
            Some((_, Values::Any)) => " -x".to_owned(),
            Some((_, Values::File)) => " -r -F".to_owned(),
            Some((_, Values::OneOf(words))) => format!(" -x -a {}", quoted(&words.join(" "))),
        };
        push(
            script,
            format_args!(
                "complete -c mcp-remote -n {} {}{value} -d {}",
                quoted(condition),
                names.join(" "),
                quoted(summary)
            ),
        );
    }
}
