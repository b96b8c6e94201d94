//! The second table's figures: one-shots over the far link.

use crate::everything::{Everything, url};
use crate::far::Far;
use crate::home::Home;
use crate::programs::{Npm, Programs};
use crate::stdio::{OneShot, direct_one_shot, one_shot};
use crate::{Failure, Rounds};

/// One-shots over the far link, by way.
#[derive(Debug, Default)]
pub(crate) struct FarTable {
    /// The direct client.
    pub(crate) direct: Vec<OneShot>,
    /// Ours without a daemon.
    pub(crate) cold: Vec<OneShot>,
    /// Ours with a warm session.
    pub(crate) warm: Vec<OneShot>,
    /// The npm package by node.
    pub(crate) node: Vec<OneShot>,
}

/// Measures all of it.
pub(crate) fn measure(
    programs: &Programs,
    server: &Everything,
    runtime: &tokio::runtime::Runtime,
    rounds: Rounds,
) -> Result<FarTable, Failure> {
    let far = Far::start(runtime, server.address)?;
    let url = url("https", far.address);
    let shim = |home: &Home| {
        let mut command = programs.shim(home, &url);
        command.arg("--ca-file").arg(&far.ca_file);
        one_shot(&mut command)
    };
    let mut table = FarTable::default();
    let home = Home::new()?;
    shim(&home)?;
    for round in 0..rounds.far {
        let mut direct = programs.direct(&home, "once", &url);
        direct.arg(&far.ca_file);
        table.direct.push(direct_one_shot(&mut direct)?);
        table.warm.push(shim(&home)?);
        let fresh = Home::new()?;
        table.cold.push(shim(&fresh)?);
        fresh.stop(programs)?;
        if round < rounds.far_npm {
            let mut node = programs.npm(Npm::Node, &home, &url);
            node.env("NODE_EXTRA_CA_CERTS", &far.ca_file);
            table.node.push(one_shot(&mut node)?);
        }
    }
    home.stop(programs)?;
    Ok(table)
}
