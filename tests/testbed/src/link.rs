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
        lines.extend(bridge_lines(block));
    }
    batch(&lines)
}

/// The bridge has a hardware address of its own. Otherwise it takes the lowest of its ports', which changes as pods come
/// and go, and the others send to the old one until they ask anew: for up to a minute nobody reaches the node, nor the
/// git server on it. The network plugin sees to that only where it has made the bridge's address itself.
fn bridge_lines(block: Block) -> [String; 3] {
    let [a, b, c, d] = block.node().octets();
    [
        format!("link add {BRIDGE} address 02:00:{a:02x}:{b:02x}:{c:02x}:{d:02x} type bridge"),
        format!("address add {}/24 dev {BRIDGE}", block.node()),
        format!("link set {BRIDGE} up"),
    ]
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{enclosure, net::free_block, preconditions};

    #[test]
    fn the_bridge_keeps_its_hardware_address_while_pods_come_and_go() {
        if !(enclosure::is_possible() && is_possible()) {
            let test = "the_bridge_keeps_its_hardware_address_while_pods_come_and_go";
            return preconditions::skip(test, "namespaces", "no namespaces here").unwrap();
        }
        let show = format!("link show {BRIDGE}");
        let mut lines = bridge_lines(free_block().unwrap()).to_vec();
        lines.push(show.clone());
        // Both have lower addresses than the bridge; one of them leaves again.
        for number in 1..=2 {
            lines.push(format!(
                "link add p{number} address 00:00:00:00:00:0{number} type veth peer name q{number}"
            ));
            lines.push(format!("link set p{number} master {BRIDGE} up"));
            lines.push(show.clone());
        }
        lines.extend(["link delete p1".to_owned(), show]);
        let script = format!("ip {}", lines.join("\nip "));
        let output = Command::new("unshare").args(["--net", "--", "sh", "-ec", &script]).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        let seen: Vec<_> = text.lines().filter(|it| it.contains("link/ether")).collect();
        assert_eq!(seen.len(), 4, "{text}");
        assert!(seen.iter().all(|it| *it == seen[0] && it.contains(" 02:00:")), "{text}");
    }
}
