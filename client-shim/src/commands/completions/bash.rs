//! The script for bash: one function, which finds the command on the line and
//! offers its flags and words.

use crate::cli::table::{COMMANDS, Command, Values};

use super::{flags, named, push, words};

const BEGIN: &str = r#"# bash completion for mcp-remote; made by: mcp-remote completions bash
_mcp_remote() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}
    local command= flags= words= i
    COMPREPLY=()
    # bash takes --flag=value for three words.
    if [[ $cur == = ]]; then
        cur=
    elif [[ $prev == = && COMP_CWORD -ge 2 ]]; then
        prev=${COMP_WORDS[COMP_CWORD-2]}
    fi
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
            -*) ;;
            *) command=${COMP_WORDS[i]}; break ;;
        esac
    done
"#;

const END: &str = r#"    if [[ $cur == -* ]]; then
        COMPREPLY=($(compgen -W "$flags" -- "$cur"))
    else
        COMPREPLY=($(compgen -W "$words" -- "$cur"))
    fi
}
complete -F _mcp_remote mcp-remote
"#;

/// Writes the script.
pub(super) fn script() -> String {
    let mut script = BEGIN.to_owned();
    push(&mut script, format_args!("    case $prev in"));
    for (names, offer) in values() {
        push(
            &mut script,
            format_args!("        {names}) {offer}return ;;"),
        );
    }
    push(&mut script, format_args!("    esac\n    case $command in"));
    for command in named() {
        let words = arguments(command);
        push_case(&mut script, command.name, command, &words);
    }
    let bridge = &COMMANDS[0];
    let names: Vec<&str> = named().map(|command| command.name).collect();
    push_case(&mut script, "''", bridge, &names.join(" "));
    push_case(&mut script, "*", bridge, "");
    push(&mut script, format_args!("    esac"));
    script + END
}

fn push_case(script: &mut String, pattern: &str, command: &Command, words: &str) {
    let names: Vec<&str> = flags(command)
        .flat_map(|flag| flag.names.iter().copied())
        .collect();
    let names = names.join(" ");
    push(
        script,
        format_args!("        {pattern}) flags='{names}' words='{words}' ;;"),
    );
}

fn arguments(command: &Command) -> String {
    let offered = command.arguments.iter();
    offered
        .filter_map(|argument| words(argument.values))
        .collect::<Vec<_>>()
        .join(" ")
}

/// Returns what to offer after flags, by the flags.
fn values() -> Vec<(String, String)> {
    let mut by_offer: Vec<(String, Vec<&str>)> = Vec::new();
    for flag in COMMANDS.iter().flat_map(flags) {
        let Some((_, values)) = flag.value else {
            continue;
        };
        let offer = match values {
            Values::Any => String::new(),
            Values::File => r#"COMPREPLY=($(compgen -f -- "$cur")); "#.to_owned(),
            Values::OneOf(words) => {
                let words = words.join(" ");
                format!(r#"COMPREPLY=($(compgen -W '{words}' -- "$cur")); "#)
            }
        };
        let at = by_offer.iter().position(|(other, _)| *other == offer);
        let at = at.unwrap_or_else(|| {
            by_offer.push((offer, Vec::new()));
            by_offer.len() - 1
        });
        let names = &mut by_offer[at].1;
        for name in flag.names {
            if !names.contains(name) {
                names.push(name);
            }
        }
    }
    let by_offer = by_offer.into_iter();
    by_offer
        .map(|(offer, names)| (names.join("|"), offer))
        .collect()
}
