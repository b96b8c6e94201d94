//! The script for bash: one function, which finds the command on the line and how
//! many words follow it, and offers its flags and words.

use crate::cli::table::{COMMANDS, Command, Values};

use super::{SERVER_NAMES, every_flag, flags, named, pattern, push, valued};

const BEGIN: &str = r#"# bash completion for mcp-remote; made by: mcp-remote completions bash
_mcp_remote() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}
    local command= place=0 flags= words= i
    COMPREPLY=()
    # bash takes --flag=value for three words, and a URL too.
    if [[ $cur == = ]]; then
        cur=
    elif [[ $prev == = && COMP_CWORD -ge 2 ]]; then
        prev=${COMP_WORDS[COMP_CWORD-2]}
    fi
    for ((i = 1; i < COMP_CWORD; i++)); do
        case $command:${COMP_WORDS[i]} in
"#;

const MIDDLE: &str = r#"                i=$((i + 1))
                [[ ${COMP_WORDS[i]} != = ]] || i=$((i + 1)) ;;
            *::) i=$((i + 1)) ;;
            *:-*) ;;
            :*) command=${COMP_WORDS[i]} ;;
            *) place=$((place + 1)) ;;
        esac
    done
    # What stands behind a tool's name is the tool's.
    [[ $command != call || $place -lt 2 ]] || return
"#;

const END: &str = r#"    if [[ $cur == -* ]]; then
        COMPREPLY=($(compgen -W "$flags" -- "$cur"))
        return
    fi
    case $words in
        *SERVER*) words="${words/SERVER/} $(@NAMES@)" ;;
    esac
    COMPREPLY=($(compgen -W "$words" -- "$cur"))
}
complete -F _mcp_remote mcp-remote
"#;

/// Writes the script.
pub(super) fn script() -> String {
    let mut script = BEGIN.to_owned();
    let valued = valued().join("|");
    push(&mut script, format_args!("            {valued})"));
    script.push_str(MIDDLE);
    push(&mut script, format_args!("    case $command:$prev in"));
    for (patterns, offer) in values() {
        push(
            &mut script,
            format_args!("        {patterns}) {offer}return ;;"),
        );
    }
    push(&mut script, format_args!("    esac\n    case $command in"));
    for command in named() {
        push_flags(&mut script, command.name, command);
    }
    push_flags(&mut script, "*", &COMMANDS[0]);
    push(
        &mut script,
        format_args!("    esac\n    case $command:$place in"),
    );
    for command in named() {
        for (place, argument) in command.arguments.iter().enumerate() {
            let words = match argument.values {
                Values::Any | Values::File => continue,
                Values::Server => "SERVER".to_owned(),
                Values::OneOf(words) => words.join(" "),
            };
            push_words(&mut script, &format!("{}:{place}", command.name), &words);
        }
    }
    let names: Vec<&str> = named().map(|command| command.name).collect();
    push_words(&mut script, ":0", &format!("{} SERVER", names.join(" ")));
    push(&mut script, format_args!("    esac"));
    script + &END.replace("@NAMES@", SERVER_NAMES)
}

fn push_flags(script: &mut String, pattern: &str, command: &Command) {
    let names: Vec<&str> = flags(command)
        .flat_map(|flag| flag.names.iter().copied())
        .collect();
    let names = names.join(" ");
    push(
        script,
        format_args!("        {pattern}) flags='{names}' ;;"),
    );
}

fn push_words(script: &mut String, pattern: &str, words: &str) {
    push(
        script,
        format_args!("        {pattern}) words='{words}' ;;"),
    );
}

/// Returns what to offer after flags, by the flags.
fn values() -> Vec<(String, String)> {
    let mut by_offer: Vec<(String, Vec<String>)> = Vec::new();
    for (command, flag) in every_flag() {
        let Some((_, values)) = flag.value else {
            continue;
        };
        let offer = match values {
            Values::Any | Values::Server => String::new(),
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
        let patterns = &mut by_offer[at].1;
        for name in flag.names {
            let pattern = pattern(command, name);
            if !patterns.contains(&pattern) {
                patterns.push(pattern);
            }
        }
    }
    let by_offer = by_offer.into_iter();
    by_offer
        .map(|(offer, patterns)| (patterns.join("|"), offer))
        .collect()
}
