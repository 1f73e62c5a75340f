//! Free ports of the loopback interface, held until just before they are needed.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, TcpListener};

/// Ports that nobody else can take while this is kept.
#[derive(Debug)]
pub(super) struct HeldPorts {
    main: TcpListener,
    named: BTreeMap<String, TcpListener>,
}

impl HeldPorts {
    /// One port for `{{ port }}` and one for each name, all different because all are held at once.
    pub(super) fn take<'a>(names: impl IntoIterator<Item = &'a str>) -> io::Result<Self> {
        let free = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
        let named = names.into_iter().map(|name| Ok((name.to_owned(), free()?))).collect::<io::Result<_>>()?;
        Ok(Self { main: free()?, named })
    }

    pub(super) fn main(&self) -> io::Result<u16> {
        Ok(self.main.local_addr()?.port())
    }

    pub(super) fn named(&self) -> io::Result<BTreeMap<String, u16>> {
        self.named.iter().map(|(name, held)| Ok((name.clone(), held.local_addr()?.port()))).collect()
    }
}
