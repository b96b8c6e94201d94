//! Every command with its arguments and flags, said once. The usage, the shells'
//! completions and the man page are made from this table, commands without flags
//! of a bridge are parsed by it, and tests compare README and parser with it.
//!
//! A new command is one entry in [`COMMANDS`]. Knows nothing of what commands do.

mod flags;

pub(crate) use flags::COMMON;
use flags::{BRIDGE, follow, json, level};

/// A command, or the bridge.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Command {
    /// Its name; empty: the bridge, which has none.
    pub(crate) name: &'static str,
    /// What follows the name, in this order.
    pub(crate) arguments: &'static [Argument],
    /// Its own flags, besides [`COMMON`] and those of `sets`.
    pub(crate) flags: &'static [Flag],
    /// Flags that it shares with others.
    pub(crate) sets: &'static [&'static [Flag]],
    /// What it does, in one line that completes "This command ...".
    pub(crate) summary: &'static str,
    /// What else there is to know, in sentences; may be empty.
    pub(crate) more: &'static str,
}

/// A word that is no flag.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Argument {
    /// As the usage shows it, in capitals.
    pub(crate) name: &'static str,
    /// Whether it has to be there.
    pub(crate) needed: bool,
    /// What it may be.
    pub(crate) values: Values,
}

/// A flag.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Flag {
    /// Its names, the one to show first.
    pub(crate) names: &'static [&'static str],
    /// What follows it: the name of the value, and what it may be.
    pub(crate) value: Option<(&'static str, Values)>,
    /// What it means, shortly.
    pub(crate) summary: &'static str,
}

/// What a value may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Values {
    /// Anything.
    Any,
    /// The path of a file.
    File,
    /// The URL or name of a server.
    Server,
    /// One of these words.
    OneOf(&'static [&'static str]),
}

const NONE: &[Flag] = &[];

const fn argument(name: &'static str, needed: bool, values: Values) -> Argument {
    Argument {
        name,
        needed,
        values,
    }
}

/// How bad a line of the log is.
pub(crate) const LEVELS: &[&str] = &["error", "warn", "info", "debug", "trace"];

/// What can be done with the service.
const VERBS: &[&str] = &[
    "install",
    "uninstall",
    "start",
    "stop",
    "restart",
    "status",
    "logs",
];

/// The shells that completions are written for.
pub(crate) const SHELLS: &[&str] = &["bash", "zsh", "fish"];

/// Every command, in the order of the usage.
pub(crate) const COMMANDS: &[Command] = &[
    Command {
        name: "",
        arguments: &[
            argument("URL", true, Values::Server),
            argument("callback-port", false, Values::Any),
        ],
        flags: NONE,
        sets: &[BRIDGE],
        summary: "relays standard input and output; at a terminal: signs in if needed, says who answers, ends",
        more: "With nothing at all on standard input it only checks the server: 0 if it can be used, \
               11 if somebody has to sign in, 1 if it cannot be reached.",
    },
    Command {
        name: "login",
        arguments: &[argument("URL", true, Values::Server)],
        flags: NONE,
        sets: &[BRIDGE],
        summary: "signs in, terminal or not, and says who answers",
        more: "A line on standard input is the URL that a browser on another machine ended on.",
    },
    Command {
        name: "logout",
        arguments: &[argument("URL", false, Values::Server)],
        flags: &[Flag {
            names: &["--all"],
            value: None,
            summary: "every grant of that server, or without URL every grant",
        }],
        sets: &[BRIDGE],
        summary: "forgets who is signed in: revokes the tokens, deletes their files",
        more: "",
    },
    Command {
        name: "status",
        arguments: &[argument("SERVER", false, Values::Server)],
        flags: &[
            json("print one JSON object instead of a table"),
            Flag {
                names: &["--watch"],
                value: None,
                summary: "a live screen; with --json an object a line after every change",
            },
        ],
        sets: &[],
        summary: "says what the daemon holds, what is wrong and which command mends it",
        more: "Never starts a daemon. Exits with 0 if all is well, 3 if no daemon runs, 10 if \
               something is being tried again, 11 if somebody has to sign in or act, 1 for a \
               server that is not known.",
    },
    Command {
        name: "call",
        arguments: &[
            argument("SERVER", true, Values::Server),
            argument("TOOL", true, Values::Any),
        ],
        flags: &[
            Flag {
                names: &["--json"],
                value: Some(("JSON", Values::Any)),
                summary: "the arguments as one JSON object; @file reads a file, - standard input",
            },
            Flag {
                names: &["--output"],
                value: Some(("FORMAT", Values::OneOf(&["text", "json"]))),
                summary: "json: the whole result as the server sent it",
            },
            Flag {
                names: &["--save-to"],
                value: Some(("FOLDER", Values::File)),
                summary: "where images, audio and files go (the current folder)",
            },
        ],
        sets: &[BRIDGE],
        summary: "calls a tool once; what follows TOOL are its arguments, as --name value",
        more: "Arguments become what the tool's input schema says. Prints the text of the result; \
               an error of the tool is printed on standard error, exit code 1. Flags of our own \
               stand before TOOL.",
    },
    Command {
        name: "tools",
        arguments: &[
            argument("SERVER", true, Values::Server),
            argument("TOOL", false, Values::Any),
        ],
        flags: &[json("print what the server sent")],
        sets: &[BRIDGE],
        summary: "lists a server's tools, or the arguments of one",
        more: "",
    },
    Command {
        name: "add",
        arguments: &[
            argument("NAME", true, Values::Any),
            argument("URL", true, Values::Any),
            argument("callback-port", false, Values::Any),
        ],
        flags: &[
            Flag {
                names: &["--warm"],
                value: None,
                summary: "keep it connected from the daemon's start on",
            },
            Flag {
                names: &["--replace"],
                value: None,
                summary: "instead of the server that has this name",
            },
            Flag {
                names: &["--session-idle"],
                value: Some(("SECONDS", Values::Any)),
                summary: "keep a session that nobody uses for so long",
            },
            Flag {
                names: &["--proxy"],
                value: Some(("URL", Values::Any)),
                summary: "reach it through this proxy; none, or environment for that of whoever runs",
            },
            Flag {
                names: &["--no-proxy"],
                value: Some(("HOSTS", Values::Any)),
                summary: "hosts that are reached without it",
            },
            Flag {
                names: &["--scope"],
                value: Some(("SCOPES", Values::Any)),
                summary: "ask for these scopes when signing in",
            },
        ],
        sets: &[BRIDGE],
        summary: "writes a server into config.toml, with the flags of a bridge",
        more: "From then on NAME stands wherever its URL does.",
    },
    Command {
        name: "remove",
        arguments: &[argument("NAME", true, Values::Server)],
        flags: NONE,
        sets: &[],
        summary: "takes a server out of config.toml",
        more: "",
    },
    Command {
        name: "list",
        arguments: &[],
        flags: &[json("print one JSON object instead of a table")],
        sets: &[],
        summary: "says which servers config.toml has",
        more: "",
    },
    Command {
        name: "reload",
        arguments: &[],
        flags: NONE,
        sets: &[],
        summary: "has the daemon read config.toml and certificates again",
        more: "Only servers whose entries have changed are affected.",
    },
    Command {
        name: "service",
        arguments: &[argument("VERB", true, Values::OneOf(VERBS))],
        flags: &[
            Flag {
                names: &["--dry-run"],
                value: None,
                summary: "print what would be written and run, and do nothing",
            },
            follow(),
        ],
        sets: &[],
        summary: "runs the daemon as a service of systemd or launchd",
        more: "",
    },
    Command {
        name: "adopt",
        arguments: &[],
        flags: &[
            Flag {
                names: &["--npx"],
                value: None,
                summary: "an npx of our own",
            },
            Flag {
                names: &["--global"],
                value: None,
                summary: "where npm installs for all folders",
            },
            Flag {
                names: &["--undo"],
                value: None,
                summary: "remove what was made",
            },
        ],
        sets: &[],
        summary: "lets npx mcp-remote find this program",
        more: "",
    },
    Command {
        name: "logs",
        arguments: &[argument("SERVER", false, Values::Server)],
        flags: &[
            follow(),
            level(),
            Flag {
                names: &["--set-level"],
                value: Some(("LEVEL", Values::OneOf(LEVELS))),
                summary: "change how much the daemon logs, until it ends",
            },
            json("print a JSON object a line"),
        ],
        sets: &[],
        summary: "shows what the daemon has logged lately",
        more: "Works however the daemon was started. With --set-level alone it prints no log.",
    },
    Command {
        name: "doctor",
        arguments: &[argument("SERVER", false, Values::Any)],
        flags: &[json("print one JSON object instead of lines")],
        sets: &[BRIDGE],
        summary: "checks this side, or the way to a server: network, TLS, transport, sign-in, tokens",
        more: "Without SERVER it starts no daemon. It changes nothing: nobody is signed in, no \
               client registered, no session left behind. Exits with 1 if something failed, 11 \
               if somebody has to sign in, else 0.",
    },
    Command {
        name: "stop",
        arguments: &[],
        flags: NONE,
        sets: &[],
        summary: "ends the daemon; the next command starts another",
        more: "",
    },
    Command {
        name: "completions",
        arguments: &[argument("SHELL", true, Values::OneOf(SHELLS))],
        flags: NONE,
        sets: &[],
        summary: "prints a script that completes commands and flags in that shell",
        more: "bash: put it into ~/.local/share/bash-completion/completions/mcp-remote; zsh: into \
               a file _mcp-remote in a folder of $fpath; fish: into \
               ~/.config/fish/completions/mcp-remote.fish.",
    },
    Command {
        name: "man",
        arguments: &[],
        flags: NONE,
        sets: &[],
        summary: "prints the manual page",
        more: "To read it: mcp-remote man | man -l -",
    },
];

/// Returns the command of that name; the bridge has none.
pub(crate) fn find(name: &str) -> Option<&'static Command> {
    COMMANDS
        .iter()
        .find(|command| !name.is_empty() && command.name == name)
}

impl Command {
    /// Returns its flags and those that it shares, but for [`COMMON`].
    pub(crate) fn flags(&self) -> impl Iterator<Item = &'static Flag> + use<> {
        let (own, sets) = (self.flags, self.sets);
        own.iter().chain(sets.iter().copied().flatten())
    }

    /// Returns the flag of that name, also one that all commands have.
    pub(crate) fn flag(&self, name: &str) -> Option<&'static Flag> {
        self.flags()
            .chain(COMMON)
            .find(|flag| flag.names.contains(&name))
    }

    /// Returns how it is called: `mcp-remote status [SERVER] [--json] [--watch]`.
    pub(crate) fn synopsis(&self) -> String {
        let mut text = String::from("mcp-remote");
        let mut add = |word: &str| {
            text.push(' ');
            text.push_str(word);
        };
        if !self.name.is_empty() {
            add(self.name);
        }
        for argument in self.arguments {
            match argument.needed {
                true => add(argument.name),
                false => add(&format!("[{}]", argument.name)),
            }
        }
        for flag in self.flags {
            add(&format!("[{}]", flag.shown_once()));
        }
        if !self.sets.is_empty() {
            add("[flags]");
        }
        text
    }
}

impl Flag {
    /// Returns its first name with its value: `--level LEVEL`.
    pub(crate) fn shown_once(&self) -> String {
        self.with_value(self.names[0])
    }

    /// Returns all its names, the value once: `-f, --follow`.
    pub(crate) fn shown(&self) -> String {
        self.with_value(&self.names.join(", "))
    }

    fn with_value(&self, names: &str) -> String {
        match self.value {
            Some((value, _)) => format!("{names} {value}"),
            None => names.to_owned(),
        }
    }
}
