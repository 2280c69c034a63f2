//! The address to listen on.

use std::fmt::Write;
use std::io::ErrorKind;
use std::net::SocketAddr;

use anyhow::{Context, anyhow};
use tokio::net::{TcpListener, lookup_host};

use crate::cli::next_port;
use crate::port;

/// Listens on `ADDRESS:PORT`, `:PORT` or `PORT`, as `flag` says, or says what stands in the way.
pub async fn bind(flag: &str, listen: &str) -> anyhow::Result<TcpListener> {
    let listen = complete(listen);
    let addresses: Vec<SocketAddr> = lookup_host(&listen)
        .await
        .with_context(|| format!("cannot listen on `{listen}`: an address looks like 127.0.0.1:8080"))?
        .collect();
    let mut refused = anyhow!("cannot listen on `{listen}`: it has no address");
    for address in addresses {
        match TcpListener::bind(address).await {
            Ok(listener) => return Ok(listener),
            Err(error) => refused = explain(flag, address, &error),
        }
    }
    Err(refused)
}

/// Fills in what was left out: `8080` and `:8080` mean this machine only.
pub fn complete(listen: &str) -> String {
    match listen.strip_prefix(':') {
        Some(port) => format!("127.0.0.1:{port}"),
        None if listen.parse::<u16>().is_ok() => format!("127.0.0.1:{listen}"),
        None => listen.into(),
    }
}

fn explain(flag: &str, address: SocketAddr, error: &std::io::Error) -> anyhow::Error {
    let mut text = format!("cannot listen on {address}: ");
    match error.kind() {
        ErrorKind::AddrInUse => {
            text.push_str("the port is taken");
            if let Some((id, command)) = port::holder(address.port()) {
                let _ = write!(text, " by process {id} ({command})");
            }
            let (next, free) = (next_port(address), SocketAddr::new(address.ip(), 0));
            let _ = write!(text, "\n  choose another with {flag} {next}, or any free one with {flag} {free}");
        }
        ErrorKind::PermissionDenied if address.port() < 1024 => {
            text.push_str("ports below 1024 need a privilege (CAP_NET_BIND_SERVICE)");
            let _ = write!(text, "\n  choose another with {flag} {}", SocketAddr::new(address.ip(), 8080));
        }
        ErrorKind::AddrNotAvailable => text.push_str("this machine does not have that address"),
        _ => {
            let _ = write!(text, "{error}");
        }
    }
    anyhow!(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_alone_means_this_machine() {
        assert_eq!(complete("8080"), "127.0.0.1:8080");
        assert_eq!(complete(":80"), "127.0.0.1:80");
        assert_eq!(complete("0.0.0.0:80"), "0.0.0.0:80");
        assert_eq!(complete("[::1]:80"), "[::1]:80");
    }
}
