//! The script for zsh: `_arguments` for each command.

use crate::cli::table::{Argument, COMMANDS, Command, Flag, Values};

use super::{flags, named, push, quoted};

const BEGIN: &str = r#"#compdef mcp-remote
# zsh completion for mcp-remote; made by: mcp-remote completions zsh
_mcp_remote() {
  local word command= place=1
  local -a commands
  for word in ${words[2,CURRENT-1]}; do
    (( place++ ))
    if [[ $word != -* ]]; then
      command=$word
      break
    fi
  done"#;

const END: &str = r#"if [[ $funcstack[1] == _mcp-remote ]]; then
  _mcp_remote "$@"
else
  compdef _mcp_remote mcp-remote
fi
"#;

/// Writes the script.
pub(super) fn script() -> String {
    let mut script = format!("{BEGIN}\n  commands=(\n");
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
        push_arguments(&mut script, command, command.arguments);
        push(&mut script, format_args!("      ;;"));
    }
    push(&mut script, format_args!("    '')"));
    push(
        &mut script,
        format_args!("      [[ $PREFIX == -* ]] || _describe command commands"),
    );
    push_arguments(&mut script, &COMMANDS[0], &[]);
    push(&mut script, format_args!("      ;;\n    *)"));
    push_arguments(&mut script, &COMMANDS[0], COMMANDS[0].arguments);
    push(&mut script, format_args!("      ;;\n  esac\n}}"));
    script + END
}

fn push_arguments(script: &mut String, command: &Command, arguments: &[Argument]) {
    let mut line = String::from("      _arguments -S");
    for flag in flags(command) {
        for name in flag.names {
            line.push_str(" \\\n        ");
            line.push_str(&quoted(&specified(flag, name)));
        }
    }
    for (place, argument) in (1..).zip(arguments) {
        line.push_str(" \\\n        ");
        let optional = if argument.needed { "" } else { ":" };
        let values = candidates(argument.values);
        line.push_str(&quoted(&format!(
            "{place}:{optional}{}:{values}",
            argument.name
        )));
    }
    push(script, format_args!("{line}"));
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
        Values::OneOf(words) => format!("({})", words.join(" ")),
    }
}

/// Brackets and colons end parts of a specification.
fn escaped(character: char) -> impl Iterator<Item = char> {
    let special = matches!(character, '[' | ']' | ':' | '\\');
    special.then_some('\\').into_iter().chain([character])
}
