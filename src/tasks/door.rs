//! Where the operator is reached: a listener for IPv6 and IPv4 alike, as probes and API servers come by what their cluster has.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
};

use anyhow::anyhow;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt};

/// Connections that wait to be taken.
const BACKLOG: i32 = 1024;

/// Listens, without blocking. `[::]` is every address of both families, and every one of IPv4 where the machine has no IPv6.
pub(super) fn listener(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let opened = listener_by(address, open);
    opened.map_err(|error| anyhow!("can't listen on {address}: {error}; is the port taken?"))
}

fn listener_by(
    address: SocketAddr,
    open: impl Fn(SocketAddr) -> io::Result<TcpListener>,
) -> io::Result<TcpListener> {
    match open(address) {
        Err(error) if address.ip() == Ipv6Addr::UNSPECIFIED && is_without_ipv6(&error) => {
            open((Ipv4Addr::UNSPECIFIED, address.port()).into())
        }
        opened => opened,
    }
}

fn open(address: SocketAddr) -> io::Result<TcpListener> {
    let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    if address.is_ipv6() {
        // Whatever the machine's default is.
        sockopt::set_ipv6_v6only(&socket, false)?;
    }
    sockopt::set_socket_reuseaddr(&socket, true)?;
    bind(&socket, &address)?;
    listen(&socket, BACKLOG)?;
    Ok(socket.into())
}

/// The kernel has no IPv6, or it is switched off.
fn is_without_ipv6(error: &io::Error) -> bool {
    let known = [rustix::io::Errno::AFNOSUPPORT, rustix::io::Errno::ADDRNOTAVAIL];
    known.iter().any(|it| error.raw_os_error() == Some(it.raw_os_error()))
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, TcpStream};

    use super::*;

    const ANY: &str = "[::]:0";

    #[test]
    fn every_interface_is_reached_by_both_families() {
        let listener = listener(ANY.parse().unwrap()).unwrap();
        let port = listener.local_addr().unwrap().port();
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() {
            TcpStream::connect((Ipv6Addr::LOCALHOST, port)).unwrap();
        }
    }

    #[test]
    fn without_ipv6_it_is_reached_by_ipv4() {
        let lacks = |address: SocketAddr| match address.ip() {
            IpAddr::V6(_) => Err(rustix::io::Errno::AFNOSUPPORT.into()),
            IpAddr::V4(_) => open(address),
        };
        let listener = listener_by(ANY.parse().unwrap(), lacks).unwrap();
        TcpStream::connect((Ipv4Addr::LOCALHOST, listener.local_addr().unwrap().port())).unwrap();
        let own = listener_by("[::1]:0".parse().unwrap(), lacks);
        assert!(own.is_err(), "an address that was asked for by name is that, or none");
    }

    #[test]
    fn a_port_that_is_taken_is_not_tried_otherwise() {
        let listener = listener(ANY.parse().unwrap()).unwrap();
        let again = listener_by(listener.local_addr().unwrap(), open);
        assert_eq!(again.unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }
}
