//! The hosts' network: a namespace with a bridge, a namespace per host with one cable into it, and one cable to the
//! machine itself, over which agents reach the server and outside clients the gateway.

use crate::error::SandboxError;
use crate::layout::{HostLayout, Layout, Subnet};
use crate::side_by_side;
use firedrill_host::link::Batch;
use firedrill_host::netns;
use std::net::IpAddr;
use tokio::task::JoinSet;

/// The bridge, in the fabric's namespace.
const BRIDGE: &str = "br0";
/// The fabric's end of the machine's cable.
const UPLINK_PORT: &str = "uplink";
/// Each host's interface, in the host's namespace.
pub(crate) const HOST_INTERFACE: &str = "eth0";

/// Makes the fabric and the machine's cable into it: from then on the network is seen to be in use.
///
/// # Errors
/// [`SandboxError::Step`].
pub(crate) async fn make_fabric(layout: &Layout) -> Result<(), SandboxError> {
    let fabric = layout.fabric();
    let uplink = layout.uplink();
    let failed = || SandboxError::step(format!("make the network of sandbox {:?}", layout.name().as_str()));
    netns::create(&fabric).map_err(failed())?;
    Batch::new()
        .veth(&uplink, UPLINK_PORT, &fabric)
        .address(&uplink, IpAddr::V4(layout.server_address()), Subnet::PREFIX)
        .up(&uplink)
        .apply(None)
        .await
        .map_err(failed())?;
    Batch::new()
        .bridge(BRIDGE)
        .master(UPLINK_PORT, BRIDGE)
        .up(UPLINK_PORT)
        .apply(Some(&netns::path(&fabric)))
        .await
        .map_err(failed())
}

/// Makes all hosts' namespaces and plugs them in.
///
/// # Errors
/// [`SandboxError::Step`], for the first host that failed.
pub(crate) async fn make_hosts(layout: &Layout) -> Result<(), SandboxError> {
    let failed = || SandboxError::step(format!("make the hosts of sandbox {:?}", layout.name().as_str()));
    let mut making = JoinSet::new();
    for host in &layout.hosts {
        let netns = host.netns.clone();
        making.spawn_blocking(move || netns::create(&netns));
    }
    side_by_side::all(making).await.map_err(failed())?;
    let fabric = netns::path(&layout.fabric());
    layout.hosts.iter().fold(Batch::new(), plug_in).apply(Some(&fabric)).await.map_err(failed())?;
    let mut addressing = JoinSet::new();
    for host in &layout.hosts {
        let (netns, address) = (host.netns.clone(), IpAddr::V4(host.address));
        addressing.spawn(async move {
            let batch = Batch::new().address(HOST_INTERFACE, address, Subnet::PREFIX).up(HOST_INTERFACE);
            batch.apply(Some(&netns::path(&netns))).await
        });
    }
    side_by_side::all(addressing).await.map_err(failed()).map(drop)
}

fn plug_in(batch: Batch, host: &HostLayout) -> Batch {
    let port = host.name.as_str();
    batch.veth(port, HOST_INTERFACE, &host.netns).master(port, BRIDGE).up(port)
}
