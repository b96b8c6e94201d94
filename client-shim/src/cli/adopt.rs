//! `mcp-remote adopt`: its flags, which no other command has.

/// Flags of `adopt`, none of which has a value.
pub(super) const SWITCHES: &[&str] = &["--global", "--npx", "--undo"];

/// Where `npx mcp-remote` can be made to find this program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seat {
    /// `~/node_modules/.bin/mcp-remote`.
    Home,
    /// `mcp-remote` where npm installs programs for all folders.
    Global,
    /// An `npx` of our own.
    Npx,
}

/// What the command line says of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct AdoptArguments {
    /// `--global`.
    global: bool,
    /// `--npx`.
    npx: bool,
    /// `--undo`: remove what was made; without a seat: everywhere.
    pub(crate) undo: bool,
}

impl AdoptArguments {
    /// Takes a switch; false: it is another's.
    pub(super) fn switch(&mut self, name: &str) -> bool {
        let switch = match name {
            "--global" => &mut self.global,
            "--npx" => &mut self.npx,
            "--undo" => &mut self.undo,
            _ => return false,
        };
        *switch = true;
        true
    }

    /// Returns the flags that were given, for commands that have none of them.
    pub(super) fn given(self) -> impl Iterator<Item = &'static str> {
        let given = [self.global, self.npx, self.undo];
        SWITCHES
            .iter()
            .zip(given)
            .filter_map(|(flag, given)| given.then_some(*flag))
    }

    /// Returns the seat that was named; `None`: none was.
    ///
    /// # Errors
    /// Two were.
    pub(crate) fn seat(self) -> Result<Option<Seat>, &'static str> {
        match (self.global, self.npx) {
            (true, true) => Err("adopt takes one of --global and --npx, not both"),
            (true, false) => Ok(Some(Seat::Global)),
            (false, true) => Ok(Some(Seat::Npx)),
            (false, false) => Ok(None),
        }
    }
}
