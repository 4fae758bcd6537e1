//! Addresses and ports that nobody else uses: a free block for a testbed in its own network namespace, free
//! ports on the host. Never a fixed one, and never one outside private ranges.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::fd::OwnedFd,
};

use anyhow::{Context as _, Result, bail};
use rustix::net::{
    AddressFamily, SocketFlags, SocketType, bind, getsockname, socket_with, sockopt,
};
use serde::{Deserialize, Serialize};

/// The addresses of one testbed: a /16 cut into a link to the host, pods, and Services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    base: Ipv4Addr,
}

impl Block {
    fn address(self, third: u8, fourth: u8) -> Ipv4Addr {
        let [first, second, _, _] = self.base.octets();
        Ipv4Addr::new(first, second, third, fourth)
    }

    /// The host's end of the link: where a server on the host is reached from inside.
    pub fn host(self) -> Ipv4Addr {
        self.address(0, 1)
    }

    /// The inner end of the link: where the API server is reached, from inside and from the host.
    pub fn inner(self) -> Ipv4Addr {
        self.address(0, 2)
    }

    /// The node, which is the gateway of its pods.
    pub fn node(self) -> Ipv4Addr {
        self.address(1, 1)
    }

    /// The first address a pod may get.
    pub fn first_pod(self) -> Ipv4Addr {
        self.address(1, 10)
    }

    /// Pods, as CIDR.
    pub fn pods(self) -> String {
        format!("{}/24", self.address(1, 0))
    }

    /// Services, as CIDR.
    pub fn services(self) -> String {
        format!("{}/24", self.address(2, 0))
    }

    /// The API server's own Service.
    pub fn kubernetes_service(self) -> Ipv4Addr {
        self.address(2, 1)
    }
}

/// The first private block that no route of this host touches.
pub fn free_block() -> Result<Block> {
    let table = fs::read_to_string("/proc/net/route").context("failed to read /proc/net/route")?;
    choose(&parse_routes(&table)).context(
        "no free private address block of 65,536 addresses: every one of 10.64-10.255, 172.16-172.31 and \
         100.64-100.127 overlaps a route of this host (ip route)",
    )
}

/// A destination and its mask, host byte order. Default routes are left out: they claim nothing.
type Route = (u32, u32);

fn parse_routes(table: &str) -> Vec<Route> {
    let number = |text: Option<&str>| u32::from_str_radix(text?, 16).ok().map(u32::from_be);
    let parse = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        let destination = number(fields.nth(1))?;
        let mask = number(fields.nth(5))?;
        (mask != 0).then_some((destination, mask))
    };
    // The kernel prints the bytes of network order as one number of this machine's order.
    table.lines().skip(1).filter_map(parse).collect()
}

fn choose(routes: &[Route]) -> Option<Block> {
    let pools = (64..=255)
        .map(|it| (10, it))
        .chain((16..=31).map(|it| (172, it)))
        .chain((64..=127).map(|it| (100, it)));
    pools.map(|(first, second)| Block { base: Ipv4Addr::new(first, second, 0, 0) }).find(|block| {
        let base = u32::from(block.base);
        routes.iter().all(|(destination, mask)| {
            let common = mask & 0xffff_0000;
            destination & common != base & common
        })
    })
}

/// A port that is this process's to give away: bound, not listening. A server that sets `SO_REUSEADDR`
/// (Go's and tokio's do) can listen on it; neither the kernel nor another testbed hands it out meanwhile.
#[derive(Debug)]
pub struct Port {
    pub address: SocketAddr,
    _held: OwnedFd,
}

impl Port {
    pub fn reserve(ip: IpAddr) -> Result<Self> {
        Self::reserve_this(SocketAddr::new(ip, 0))
    }

    /// This one; 0 is any.
    pub fn reserve_this(wanted: SocketAddr) -> Result<Self> {
        let flags = SocketFlags::CLOEXEC;
        let family = if wanted.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let socket = socket_with(family, SocketType::STREAM, flags, None)
            .context("failed to make a socket")?;
        sockopt::set_socket_reuseaddr(&socket, true).context("failed to set SO_REUSEADDR")?;
        bind(&socket, &wanted).with_context(|| format!("failed to find a free port: {wanted}"))?;
        let name = getsockname(&socket).context("failed to read a socket's name")?;
        let Ok(address) = SocketAddr::try_from(name) else {
            bail!("a socket bound to {wanted} has no such address")
        };
        Ok(Self { address, _held: socket })
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_block_touches_no_route() {
        let route = |text: &str| {
            let (address, bits) = text.split_once('/').unwrap();
            let bits: u32 = bits.parse().unwrap();
            (
                u32::from(address.parse::<Ipv4Addr>().unwrap()),
                u32::MAX.checked_shl(32 - bits).unwrap_or(0),
            )
        };
        let table: &[(&[&str], Option<&str>, &str)] = &[
            (&[], Some("10.64.0.0"), "nothing is taken"),
            (&["10.64.7.0/24"], Some("10.65.0.0"), "a small network inside a block takes it"),
            (&["10.64.0.0/15"], Some("10.66.0.0"), "a network of two blocks takes both"),
            (&["10.64.0.1/32", "10.65.0.0/30"], Some("10.66.0.0"), "single hosts count"),
            (&["10.0.0.0/8"], Some("172.16.0.0"), "the whole of 10 is taken"),
            (&["10.0.0.0/8", "172.16.0.0/12"], Some("100.64.0.0"), "two pools are taken"),
            (&["10.0.0.0/8", "172.16.0.0/12", "100.64.0.0/10"], None, "all is taken"),
        ];
        for (routes, want, because) in table {
            let routes: Vec<_> = routes.iter().map(|it| route(it)).collect();
            let got = choose(&routes).map(|it| it.base.to_string());
            assert_eq!(got.as_deref(), *want, "{because}");
        }
    }

    #[test]
    fn the_kernels_table_is_understood() {
        let table = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
             eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
             eth0\t0000400A\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n\
             torn\n";
        let routes = parse_routes(table);
        assert_eq!(routes, [(u32::from(Ipv4Addr::new(10, 64, 0, 0)), 0xffff_0000)]);
        assert_eq!(choose(&routes).unwrap().base, Ipv4Addr::new(10, 65, 0, 0));
    }

    #[test]
    fn a_reserved_port_can_be_listened_on_and_is_given_out_once() {
        let ip = IpAddr::from(Ipv4Addr::LOCALHOST);
        let ports: Vec<_> = (0..64).map(|_| Port::reserve(ip).unwrap()).collect();
        let mut numbers: Vec<_> = ports.iter().map(|it| it.address.port()).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), ports.len());
        for port in &ports {
            TcpListener::bind(port.address).unwrap(); // std sets SO_REUSEADDR, as tokio and Go do
        }
    }
}
