//! What `--help` prints, of everything or of one command: made from the table.

use std::fmt::Write as _;

use super::table::{COMMANDS, COMMON, Command, Flag};

/// Columns of a text for people.
const WIDTH: usize = 79;

/// Where explanations begin.
const INDENT: usize = 26;

const ABOUT: &str = "\
Speaks MCP on standard input and output for a remote server, through the
daemon mcp-remoted, which keeps the session warm and is started when needed.
At a terminal it signs in if that is needed, says who answers, and ends.
";

/// What `--help` prints.
pub(crate) fn usage() -> String {
    let mut text = String::from(
        "Usage: mcp-remote <https://server-url> [callback-port] [flags]\n       mcp-remote COMMAND ...\n\n",
    );
    text.push_str(ABOUT);
    text.push_str("\nCommands (mcp-remote COMMAND --help says more):\n");
    for command in COMMANDS.iter().filter(|command| !command.name.is_empty()) {
        let mut shown = command.name.to_owned();
        for argument in command.arguments {
            let brackets = if argument.needed {
                ("", "")
            } else {
                ("[", "]")
            };
            shown += &format!(" {}{}{}", brackets.0, argument.name, brackets.1);
        }
        push_explained(&mut text, &shown, command.summary);
    }
    text.push_str("\nFlags:\n");
    let bridge = COMMANDS.iter().take(1).flat_map(Command::flags);
    push_flags(&mut text, bridge.chain(COMMON));
    text
}

/// What `--help` prints of one command.
pub(crate) fn usage_of(command: &Command) -> String {
    let mut text = format!("Usage: {}\n\n", command.synopsis());
    let summary = format!("This command {}.", command.summary);
    push_wrapped(&mut text, &summary, 0);
    if !command.more.is_empty() {
        text.push('\n');
        push_wrapped(&mut text, command.more, 0);
    }
    text.push_str("\nFlags:\n");
    push_flags(&mut text, command.flags().chain(COMMON));
    text
}

fn push_flags(text: &mut String, flags: impl Iterator<Item = &'static Flag>) {
    for flag in flags {
        push_explained(text, &flag.shown(), flag.summary);
    }
}

/// Adds a word with what it means beside it, or below it if it is long.
fn push_explained(text: &mut String, word: &str, meaning: &str) {
    if word.len() + 4 > INDENT {
        write!(text, "  {word}\n{:INDENT$}", "").expect("writing to a string cannot fail");
    } else {
        write!(text, "  {word:width$}", width = INDENT - 2)
            .expect("writing to a string cannot fail");
    }
    push_wrapped(text, meaning, INDENT);
}

/// Adds text from this column on, in lines that fit.
fn push_wrapped(text: &mut String, words: &str, indent: usize) {
    let mut column = indent;
    for word in words.split_whitespace() {
        let length = word.chars().count();
        if column > indent && column + 1 + length > WIDTH {
            write!(text, "\n{:indent$}", "").expect("writing to a string cannot fail");
            column = indent;
        } else if column > indent {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += length;
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_fits_a_terminal_and_every_command_is_there() {
        let text = usage();
        let every = COMMANDS.iter().map(usage_of).chain([text.clone()]);
        for line in every.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()) {
            // A synopsis is for copying, in one piece.
            let is_synopsis = line.starts_with("Usage: ");
            assert!(line.chars().count() <= WIDTH || is_synopsis, "{line}");
            assert_eq!(line, line.trim_end());
        }
        for command in COMMANDS {
            let listed = text.contains(&format!("\n  {}", command.name));
            assert!(listed, "{}", command.name);
        }
    }

    #[test]
    fn a_command_has_a_text_of_its_own() {
        let logs = super::super::table::find("logs").expect("it is there");
        let text = usage_of(logs);
        let expected = "Usage: mcp-remote logs [SERVER] [--follow] [--level LEVEL] \
                        [--set-level LEVEL] [--json]\n\n\
                        This command shows what the daemon has logged lately.\n";
        assert!(text.starts_with(expected), "{text}");
        assert!(text.contains("\n  --follow, -f            go on"), "{text}");
        assert!(
            text.contains("\n  --debug, --verbose      say more"),
            "{text}"
        );
    }
}
