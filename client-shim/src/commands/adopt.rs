//! `mcp-remote adopt`: makes `npx mcp-remote` this program, and undoes that.
//!
//! Needs no daemon. Makes one link and the folders that it needs, writes down
//! which, and never touches anything that it has not made.

use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use mcp_remote_proto::endpoint::{self, Places};

use super::print;
use crate::cli::{AdoptArguments, Seat};
use crate::environment::Environment;
use crate::exit::{Exit, ShimError};

mod link;
mod record;

use link::Made;
use record::Record;

/// Adopts, or undoes that.
///
/// # Errors
/// Something else is in the place, or the place cannot be used.
pub(crate) fn run(arguments: AdoptArguments, environment: &Environment) -> Result<Exit, ShimError> {
    let places = Places::new(&environment.places())
        .map_err(|error| ShimError::new(Exit::USAGE, error.to_string()))?;
    let seat = arguments.seat;
    endpoint::private_folder(places.state())
        .map_err(|error| ShimError::new(Exit::UNSAFE_FOLDER, error.to_string()))?;
    let _turn = turn(places.state())?;
    let mut record = Record::read(places.state())?;
    if arguments.undo {
        return print(&undo(seat, &mut record)?);
    }
    let seat = seat.unwrap_or(Seat::Home);
    print(&adopt(seat, environment, &mut record)?)
}

/// Waits until no other adopt is at work. Dropping the file ends the turn.
fn turn(state: &Path) -> Result<File, ShimError> {
    // The folder itself is locked: nothing else is left behind.
    let locked = File::open(state).and_then(|folder| folder.lock().map(|()| folder));
    locked.map_err(|error| {
        ShimError::general(format!("{} cannot be locked: {error}", state.display()))
    })
}

fn adopt(seat: Seat, environment: &Environment, record: &mut Record) -> Result<String, ShimError> {
    let program = this_program()?;
    let (below, link) = place(seat, environment)?;
    let made = link::make(seat, &below, &link, &program, record)?;
    let shown = link.display();
    let mut text = match made {
        Made::New => format!("Made {shown}, which leads to {}.\n", program.display()),
        Made::Moved => format!("{shown} leads to {} now.\n", program.display()),
        Made::Before => format!("{shown} leads to {} already.\n", program.display()),
        Made::ByOthers => format!(
            "{shown} leads to {} already; somebody else has made it, so adopt --undo leaves it.\n",
            program.display()
        ),
    };
    text.push_str(&match seat {
        Seat::Home => "npx mcp-remote runs it in every folder below your home folder; with a version, as in\nnpx mcp-remote@latest, it is still the npm package, unless you use adopt --npx.\n".to_owned(),
        Seat::Global => "npx mcp-remote runs it in every folder; with a version, as in npx mcp-remote@latest,\nit is still the npm package, unless you use adopt --npx.\n".to_owned(),
        Seat::Npx => on_path(&link, environment),
    });
    if is_build(&program) {
        text.push_str("It stands in a folder of builds, which may be cleaned: install it elsewhere, and run\nmcp-remote adopt from there.\n");
    }
    if made != Made::ByOthers {
        let flag = match seat {
            Seat::Home => "",
            Seat::Global => "--global ",
            Seat::Npx => "--npx ",
        };
        text.push_str(&format!("To undo it: mcp-remote adopt {flag}--undo\n"));
    }
    Ok(text)
}

fn undo(seat: Option<Seat>, record: &mut Record) -> Result<String, ShimError> {
    let links = record.paths(seat);
    if links.is_empty() {
        return Ok("There is nothing to undo: adopt has made nothing here.\n".to_owned());
    }
    let mut text = String::new();
    for link in links {
        let shown = link.display();
        text.push_str(&match link::remove(&link, record)? {
            true => format!("Removed {shown}.\n"),
            false => format!("Left {shown} as it is: it is not what adopt made any more.\n"),
        });
    }
    Ok(text)
}

/// Where the link stands, and the folder that it may not lead out of.
fn place(seat: Seat, environment: &Environment) -> Result<(PathBuf, PathBuf), ShimError> {
    let home = || {
        let home = environment.path("HOME").filter(|home| home.is_absolute());
        home.ok_or_else(|| {
            let sentence = "HOME is not set to an absolute path: set it, then run this again";
            ShimError::new(Exit::USAGE, sentence)
        })
    };
    Ok(match seat {
        Seat::Home => {
            let home = home()?;
            let link = home.join("node_modules/.bin/mcp-remote");
            (home, link)
        }
        Seat::Npx => {
            let home = home()?;
            let link = home.join(NPX_FOLDER).join("npx");
            (home, link)
        }
        Seat::Global => {
            let prefix = npm_prefix(environment)?;
            let link = prefix.join("bin/mcp-remote");
            (prefix, link)
        }
    })
}

/// Below HOME; holds nothing but our `npx`.
const NPX_FOLDER: &str = ".local/share/mcp-remote/npx";

fn npm_prefix(environment: &Environment) -> Result<PathBuf, ShimError> {
    let asked = Command::new("npm")
        .args(["prefix", "-g"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    let said = match asked {
        Ok(output) if output.status.success() => output.stdout,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(ShimError::general(
                "npm was not found on PATH, so it is not known where it installs programs: install Node.js, or use adopt --npx",
            ));
        }
        _ => Vec::new(),
    };
    let prefix = PathBuf::from(String::from_utf8_lossy(&said).trim());
    if prefix.is_absolute() {
        return Ok(prefix);
    }
    let path = environment.text("PATH").unwrap_or_default();
    Err(ShimError::general(format!(
        "npm prefix -g names no folder: look what it prints (PATH is {path})"
    )))
}

fn on_path(link: &Path, environment: &Environment) -> String {
    let folder = link.parent().unwrap_or(link);
    let path = environment.search_path();
    let first = path.iter().find(|folder| folder.join("npx").exists());
    if first.is_some_and(|first| first == folder) {
        return "Its folder is on PATH, before any other npx: npx mcp-remote, with a version or without,\nruns it, and what else npx is asked for runs the next npx on PATH.\n".to_owned();
    }
    format!(
        "Put its folder on PATH, before any other npx, with this line in your shell's profile:\n  export PATH=\"$HOME/{NPX_FOLDER}:$PATH\"\nThen npx mcp-remote, with a version or without, runs it, and what else npx is asked for\nruns the next npx on PATH.\n"
    )
}

/// The file itself, not a link to it: that may be ours.
fn this_program() -> Result<PathBuf, ShimError> {
    let program = std::env::current_exe().and_then(|path| path.canonicalize());
    program.map_err(|error| {
        ShimError::general(format!(
            "it is not known where this program stands ({error}): run it by its whole path"
        ))
    })
}

fn is_build(program: &Path) -> bool {
    let names: Vec<_> = program.iter().rev().skip(1).take(2).collect();
    matches!(names.as_slice(), [profile, target] if *target == "target" && (*profile == "debug" || *profile == "release"))
}
