//! The script for zsh: `_arguments` for each command.

use crate::cli::table::{Argument, COMMANDS, Command, Flag, Values};

use super::{SERVER_NAMES, flags, named, push, quoted, valued};

const BEGIN: &str = r#"#compdef mcp-remote
# zsh completion for mcp-remote; made by: mcp-remote completions zsh
_mcp_remote_servers() {
  local -a servers
  servers=(${(f)"$(@NAMES@)"})
  _describe server servers
}

_mcp_remote_first() {
  _describe command commands
  _mcp_remote_servers
}

_mcp_remote() {
  local command= place=1
  local -a commands
  while (( place < CURRENT - 1 )); do
    (( place++ ))
    case $command:${words[place]} in
      @VALUED@) (( place++ )) ;;
      *:-*) ;;
      *) command=${words[place]}; break ;;
    esac
  done"#;

const END: &str = r#"if [[ $funcstack[1] == _mcp-remote ]]; then
  _mcp_remote "$@"
else
  compdef _mcp_remote mcp-remote
fi
"#;

/// Writes the script.
pub(super) fn script() -> String {
    let begin = BEGIN
        .replace("@NAMES@", SERVER_NAMES)
        .replace("@VALUED@", &valued().join("|"));
    let mut script = format!("{begin}\n  commands=(\n");
    for command in named() {
        let described = format!("{}:{}", command.name, command.summary.replace(':', r"\:"));
        push(&mut script, format_args!("    {}", quoted(&described)));
    }
    push(&mut script, format_args!("  )"));
    push(&mut script, format_args!("  case $command in"));
    for command in named() {
        push(&mut script, format_args!("    {})", command.name));
        // What stands before the command's own words is done.
        push(
            &mut script,
            format_args!(
                "      words=(mcp-remote \"${{(@)words[place+1,-1]}}\") CURRENT=$(( CURRENT - place + 1 ))"
            ),
        );
        push_arguments(&mut script, command, &specified_arguments(command));
        push(&mut script, format_args!("      ;;"));
    }
    push(&mut script, format_args!("    '')"));
    let first = ["1:command:_mcp_remote_first".to_owned()];
    push_arguments(&mut script, &COMMANDS[0], &first);
    push(&mut script, format_args!("      ;;\n    *)"));
    let arguments = specified_arguments(&COMMANDS[0]);
    push_arguments(&mut script, &COMMANDS[0], &arguments);
    push(&mut script, format_args!("      ;;\n  esac\n}}"));
    script + END
}

fn push_arguments(script: &mut String, command: &Command, arguments: &[String]) {
    let mut line = String::from("      _arguments -S");
    for flag in flags(command) {
        for name in flag.names {
            line.push_str(" \\\n        ");
            line.push_str(&quoted(&specified(flag, name)));
        }
    }
    for argument in arguments {
        line.push_str(" \\\n        ");
        line.push_str(&quoted(argument));
    }
    push(script, format_args!("{line}"));
}

fn specified_arguments(command: &Command) -> Vec<String> {
    let specified = |(place, argument): (usize, &Argument)| {
        let optional = if argument.needed { "" } else { ":" };
        let values = candidates(argument.values);
        // What stands behind a tool's name is the tool's.
        let ends_flags = command.name == "call" && place == 2;
        let excluded = if ends_flags { "(-)" } else { "" };
        format!("{excluded}{place}:{optional}{}:{values}", argument.name)
    };
    (1..).zip(command.arguments).map(specified).collect()
}

fn specified(flag: &Flag, name: &str) -> String {
    let summary: String = flag.summary.chars().flat_map(escaped).collect();
    match flag.value {
        None => format!("*{name}[{summary}]"),
        Some((value, values)) => {
            let value: String = value.chars().flat_map(escaped).collect();
            format!("*{name}=[{summary}]:{value}:{}", candidates(values))
        }
    }
}

fn candidates(values: Values) -> String {
    match values {
        Values::Any => " ".to_owned(),
        Values::File => "_files".to_owned(),
        Values::Server => "_mcp_remote_servers".to_owned(),
        Values::OneOf(words) => format!("({})", words.join(" ")),
    }
}

/// Brackets and colons end parts of a specification.
fn escaped(character: char) -> impl Iterator<Item = char> {
    let special = matches!(character, '[' | ']' | ':' | '\\');
    special.then_some('\\').into_iter().chain([character])
}
