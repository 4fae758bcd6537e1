//! The network link between the host and the namespaces: a veth pair, and routes. Made with iproute2.

use std::{
    io::Write as _,
    net::Ipv4Addr,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use crate::{net::Block, process::die_with_parent, tools::on_path};

/// The name of the inner end, and of the bridge that pods are on.
const UPLINK: &str = "uplink";
pub const BRIDGE: &str = "pods";

/// Makes the pair, with one end in the network namespace of a process, and sets the host's end up.
pub fn create(name: &str, block: Block, pid: u32) -> Result<()> {
    batch(&[
        format!("link add {name} type veth peer name {UPLINK} netns {pid}"),
        format!("address add {}/30 dev {name}", block.host()),
        format!("link set {name} up"),
        format!("route add {} via {}", block.pods(), block.inner()),
    ])
}

/// Sets the inner end up, and the bridge for pods where there will be any.
pub fn set_up_inside(block: Block, bridge: bool) -> Result<()> {
    let mut lines = vec![
        "link set lo up".to_owned(),
        format!("address add {}/30 dev {UPLINK}", block.inner()),
        format!("link set {UPLINK} up"),
        format!("route add default via {}", block.host()),
    ];
    if bridge {
        lines.push(format!("link add {BRIDGE} type bridge"));
        lines.push(format!("address add {}/24 dev {BRIDGE}", block.node()));
        lines.push(format!("link set {BRIDGE} up"));
    }
    batch(&lines)
}

/// Whether iproute2 is there.
pub fn is_possible() -> bool {
    on_path("ip").is_some()
}

fn batch(lines: &[String]) -> Result<()> {
    let ip =
        on_path("ip").context("there is no `ip` program: install the Debian package iproute2")?;
    let mut command = Command::new(ip);
    command
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    die_with_parent(&mut command);
    let mut child = command.spawn().context("failed to start ip")?;
    if let Some(mut input) = child.stdin.take() {
        input
            .write_all((lines.join("\n") + "\n").as_bytes())
            .context("failed to tell ip what to do")?;
    }
    let output = child.wait_with_output().context("failed to wait for ip")?;
    if !output.status.success() {
        bail!("failed to set the network up: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// The host's address on a link to this block, or loopback without one.
pub fn host_address(block: Option<Block>) -> Ipv4Addr {
    block.map_or(Ipv4Addr::LOCALHOST, Block::host)
}
