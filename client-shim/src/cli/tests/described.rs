//! Parser, table, usage and README name the same commands and flags.

use std::collections::BTreeSet;

use mcp_remote_proto::names;

use super::super::described as by_table;
use super::*;

/// Returns the flags at the beginnings of the table's rows.
fn flags_of(table: &str) -> BTreeSet<&str> {
    let cells = table.lines().filter_map(|row| row.split('|').nth(1));
    let words = cells.flat_map(|cell| cell.split(['`', ' ', ',']));
    let is_flag = |word: &&str| word.starts_with("--") && !word.ends_with('-');
    words.filter(is_flag).collect()
}

#[test]
fn usage_readme_and_grammar_name_the_same_flags() {
    let readme = include_str!("../../../../README.md");
    let table = readme
        .split_once("| flag | what it does here | difference from the npm package |")
        .and_then(|(_, rest)| rest.split_once("\n\n"))
        .expect("README has a table of flags")
        .0;
    let in_readme = flags_of(table);
    let known: BTreeSet<&str> = [SWITCHES, VALUED, auth::VALUED, connection::VALUED]
        .concat()
        .into_iter()
        .chain(connection::SWITCHES.iter().copied())
        // Those of subcommands stand with them.
        .filter(|flag| flag.starts_with("--") && !["--all", "--json"].contains(flag))
        .collect();
    assert_eq!(in_readme, known);
    let usage = help();
    let words: BTreeSet<&str> = usage.split([' ', ',', '\n', '[', ']']).collect();
    // What is accepted and does nothing is not advertised.
    let advertised = |flag: &&&str| **flag != "--enable-proxy";
    for flag in known.iter().filter(advertised) {
        assert!(words.contains(flag), "{flag} is not in the usage");
    }
    let rows = OF_THE_NPM_PACKAGE.iter().map(|(flag, _)| flag[0]);
    let of_npm: BTreeSet<&str> = rows.collect();
    assert!(of_npm.is_subset(&known));
}

/// The words that the parser compares with: `(_, "word")`.
fn parsed_words() -> Vec<&'static str> {
    let source = include_str!("../../cli.rs");
    let after = source.split("(_, \"").skip(1);
    after.filter_map(|text| text.split('"').next()).collect()
}

#[test]
fn every_command_that_is_parsed_is_in_the_table_and_the_other_way_round() {
    let described = by_table::names();
    let parsed = parsed_words().into_iter().chain(described).chain(["add"]);
    let parsed: Vec<&str> = parsed.collect();
    assert!(parsed.contains(&"stop") && parsed.contains(&"logs"));
    for name in &parsed {
        assert!(table::find(name).is_some(), "{name} is not in the table");
    }
    for command in table::COMMANDS.iter().skip(1) {
        assert!(
            parsed.contains(&command.name),
            "{} is not parsed",
            command.name
        );
        // So no server can be called that.
        let known = names::COMMANDS.contains(&command.name);
        assert!(known, "{} may be a server's name", command.name);
    }
}

#[test]
fn every_flag_that_is_parsed_is_in_the_table_and_the_other_way_round() {
    let all: Vec<&table::Flag> = table::COMMANDS
        .iter()
        .flat_map(table::Command::flags)
        .chain(table::COMMON)
        .collect();
    let names = [SWITCHES, VALUED, auth::VALUED];
    let names = [
        names.concat(),
        connection::SWITCHES.to_vec(),
        connection::VALUED.to_vec(),
    ]
    .concat();
    for name in &names {
        let flag = all.iter().find(|flag| flag.names.contains(name));
        // What is accepted and does nothing is not advertised.
        let silent = *name == "--enable-proxy";
        assert!(flag.is_some() || silent, "{name} is not in the table");
        let valued = flag.is_some_and(|flag| flag.value.is_some());
        assert_eq!(valued, takes_value(name), "{name}");
    }
    for flag in table::COMMANDS[0].flags().chain(table::COMMON) {
        for name in flag.names {
            assert!(names.contains(name), "{name} is not parsed");
        }
    }
}

#[test]
fn what_add_takes_is_in_the_table_and_the_other_way_round() {
    let add = table::find("add").expect("it is there");
    let is_common = |name: &str| {
        let mut common = table::COMMON.iter();
        common.any(|flag| flag.names.contains(&name))
    };
    let advertised: Vec<&str> = add.flags().flat_map(|flag| flag.names).copied().collect();
    for name in &advertised {
        assert!(is_common(name) || add::knows(name), "{name} is not parsed");
    }
    for name in add::own() {
        assert!(advertised.contains(&name), "{name} is not in the table");
    }
}

#[test]
fn the_readme_lists_every_command_and_every_flag() {
    let readme = include_str!("../../../../README.md");
    for command in table::COMMANDS {
        let row = match command.name {
            "" => "| `mcp-remote URL".to_owned(),
            name => format!("| `mcp-remote {name}"),
        };
        assert!(readme.contains(&row), "no {row} in the README");
        for flag in command.flags().chain(table::COMMON) {
            let name = flag.names[0];
            assert!(readme.contains(name), "no {name} in the README");
        }
    }
}
