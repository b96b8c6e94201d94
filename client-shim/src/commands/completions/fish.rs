//! The script for fish: a line for each command and each flag.

use crate::cli::table::{COMMANDS, Command, Flag, Values};

use super::{SERVER_NAMES, flags, named, push, quoted, valued};

const BEGIN: &str = "\
# fish completion for mcp-remote; made by: mcp-remote completions fish
function __mcp_remote_servers
    @NAMES@
end

# Whether the command on the line is the first argument, and so many words follow it
# as one of the others says.
function __mcp_remote_at
    set -l command
    set -l place 0
    set -l skip no
    set -l tokens (commandline -opc)
    set -e tokens[1]
    for word in $tokens
        if test $skip = yes
            set skip no
            continue
        end
        switch \"$command:$word\"
            case @VALUED@
                set skip yes
            case '*:-*'
            case ':*'
                set command $word
            case '*'
                set place (math $place + 1)
        end
    end
    test \"$command\" = $argv[1]; or return 1
    test (count $argv) -eq 1; or contains -- $place $argv[2..-1]
end

complete -c mcp-remote -f
";

const SERVERS: &str = "(__mcp_remote_servers)";

/// Writes the script.
pub(super) fn script() -> String {
    let valued: Vec<String> = valued().iter().map(|one| quoted(one)).collect();
    let mut script = BEGIN
        .replace("@NAMES@", SERVER_NAMES)
        .replace("@VALUED@", &valued.join(" "));
    let all: Vec<&str> = named().map(|command| command.name).collect();
    let bridge = format!("not __fish_seen_subcommand_from {}", all.join(" "));
    let first = "__mcp_remote_at \"\"";
    for command in named() {
        push(
            &mut script,
            format_args!(
                "complete -c mcp-remote -n {} -a {} -d {}",
                quoted(first),
                command.name,
                quoted(command.summary)
            ),
        );
    }
    push_words(&mut script, first, SERVERS);
    push_flags(&mut script, &bridge, &COMMANDS[0]);
    for command in named() {
        // What stands behind a tool's name is the tool's.
        let places = if command.name == "call" { " 0 1" } else { "" };
        let at = format!("__mcp_remote_at {}", command.name);
        push_flags(&mut script, &format!("{at}{places}"), command);
        for (place, argument) in command.arguments.iter().enumerate() {
            let at = format!("{at} {place}");
            match argument.values {
                Values::Any | Values::File => {}
                Values::Server => push_words(&mut script, &at, SERVERS),
                Values::OneOf(words) => push_words(&mut script, &at, &words.join(" ")),
            }
        }
    }
    script
}

fn push_words(script: &mut String, condition: &str, words: &str) {
    push(
        script,
        format_args!(
            "complete -c mcp-remote -n {} -a {}",
            quoted(condition),
            quoted(words)
        ),
    );
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
            Some((_, Values::Any | Values::Server)) => " -x".to_owned(),
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
