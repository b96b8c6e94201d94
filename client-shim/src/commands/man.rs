//! `mcp-remote man`: the manual page, made from the table of commands.

use std::fmt::Write as _;

use mcp_remote_proto::VERSION;

use crate::cli::table::{COMMANDS, COMMON, Command, Flag};

const ABOUT: &str = "Lets a program that speaks MCP on standard input and output use a remote MCP \
    server. Takes the command line of the npm package of the same name. The work is done by \
    mcp-remoted, one daemon a user, which is started when needed, keeps sessions warm, signs in \
    and renews tokens.";

/// What the exit code says.
const EXIT_CODES: &[(&str, &str)] = &[
    ("0", "Done; all is well."),
    ("1", "An error."),
    ("2", "The command line makes no sense."),
    ("3", "The daemon does not run, or cannot be started."),
    (
        "4",
        "mcp-remote and mcp-remoted do not understand each other.",
    ),
    ("5", "A folder or socket is open to others."),
    ("10", "Something is being tried again."),
    ("11", "Somebody has to sign in or act."),
    ("143, 130", "Ended by SIGTERM, SIGINT."),
];

/// What is read of the environment.
const ENVIRONMENT: &[(&str, &str)] = &[
    (
        "MCP_REMOTE_STATE_DIR",
        "The folder of lock, log and database, instead of ~/.local/state/mcp-remote.",
    ),
    (
        "MCP_REMOTE_CONFIG_DIR",
        "The folder of the tokens, instead of ~/.mcp-auth.",
    ),
    ("MCP_REMOTE_SOCKET", "The only socket to use."),
    (
        "MCP_REMOTE_LOG",
        "How much a daemon that is started logs: error, warn, info, debug or trace.",
    ),
    (
        "HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY",
        "Proxies, in either case.",
    ),
    (
        "SSL_CERT_FILE",
        "Certificates to trust instead of the system's.",
    ),
    ("NO_COLOR", "Set to anything: no colours."),
];

/// Writes the page.
pub(crate) fn page() -> String {
    let mut page =
        format!(".TH MCP\\-REMOTE 1 \"\" \"mcp\\-remote {VERSION}\" \"User Commands\"\n");
    section(&mut page, "NAME");
    line(
        &mut page,
        "mcp-remote - speaks MCP on stdio for a remote server",
    );
    section(&mut page, "SYNOPSIS");
    for command in COMMANDS {
        line(&mut page, &command.synopsis());
        page.push_str(".br\n");
    }
    section(&mut page, "DESCRIPTION");
    line(&mut page, ABOUT);
    section(&mut page, "COMMANDS");
    COMMANDS.iter().for_each(|one| command(&mut page, one));
    section(&mut page, "FLAGS");
    line(&mut page, "Of the bridge, login and logout:");
    flags(&mut page, COMMANDS[0].flags());
    page.push_str(".PP\n");
    line(&mut page, "Of every command:");
    flags(&mut page, COMMON.iter());
    section(&mut page, "EXIT STATUS");
    explained(&mut page, EXIT_CODES);
    section(&mut page, "ENVIRONMENT");
    explained(&mut page, ENVIRONMENT);
    page
}

fn command(page: &mut String, command: &Command) {
    page.push_str(".TP\n");
    page.push_str(&format!(".B {}\n", escaped(&command.synopsis())));
    line(page, &format!("This command {}.", command.summary));
    if !command.more.is_empty() {
        line(page, command.more);
    }
    if !command.flags.is_empty() {
        page.push_str(".RS\n");
        flags(page, command.flags.iter());
        page.push_str(".RE\n");
    }
}

fn flags(page: &mut String, flags: impl Iterator<Item = &'static Flag>) {
    for flag in flags {
        page.push_str(&format!(".TP\n.B {}\n", escaped(&flag.shown())));
        line(page, &format!("{}.", flag.summary));
    }
}

fn explained(page: &mut String, table: &[(&str, &str)]) {
    for (name, meaning) in table {
        page.push_str(&format!(".TP\n.B {}\n", escaped(name)));
        line(page, meaning);
    }
}

fn section(page: &mut String, name: &str) {
    writeln!(page, ".SH {name}").expect("writing to a string cannot fail");
}

/// Adds text that is nothing but text.
fn line(page: &mut String, text: &str) {
    let text = escaped(text);
    let guard = match text.starts_with(['.', '\'']) {
        true => "\\&",
        false => "",
    };
    writeln!(page, "{guard}{text}").expect("writing to a string cannot fail");
}

/// A hyphen is a minus sign, so that it can be copied into a shell.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_every_command_and_no_stray_request() {
        let page = page();
        for command in COMMANDS {
            assert!(
                page.contains(&escaped(&command.synopsis())),
                "{}",
                command.name
            );
        }
        let requests = [".TH ", ".SH ", ".B ", ".TP", ".br", ".PP", ".RS", ".RE"];
        for line in page.lines().filter(|line| line.starts_with(['.', '\''])) {
            let known = requests.iter().any(|request| line.starts_with(request));
            assert!(known, "{line}");
        }
        let mut text = String::new();
        line(&mut text, ".hidden a\\b");
        assert_eq!(text, "\\&.hidden a\\eb\n");
    }
}
