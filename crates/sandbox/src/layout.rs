//! What a sandbox consists of, derived from its name and a few choices. Pure: everything that will exist is named
//! here before any of it is made.

use crate::name::{Home, SandboxName};
use crate::setting::ServerSetting;
use firedrill_model::cluster::Endpoint;
use firedrill_model::workload::Login;
use firedrill_model::{ClusterName, ClusterSpec, Durability, HostName, NodeSpec, Policy, RegionName, Role};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// How the cluster is set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// Lossless: what a client had an OK for survives the loss of the primary.
    #[default]
    Safe,
    /// Set up to lose writes with certainty, to prove that the loss is seen: asynchronous, replication held back,
    /// no flush at commit, promotion without proof.
    Unsafe,
}

/// The port every database server and the gateway listen on, each at its own address.
pub(crate) const DATABASE_PORT: u16 = 3306;
/// The port of the server's agent link, at the sandbox's own `.1`.
const LINK_PORT: u16 = 7443;
/// Sandbox networks are `10.BLOCK.n.0/24`. Picked from the less used part of 10/8; what is taken is skipped anyway.
const BLOCK: u8 = 213;
/// Every sandbox has one cluster, and this is its name.
const CLUSTER: &str = "main";
/// The control group (below its root) that holds all sandboxes.
pub(crate) const CGROUP_ROOT: &str = "firedrill";

/// A sandbox's network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Subnet(pub(crate) u8);

impl Subnet {
    /// Bits of the network's prefix.
    pub(crate) const PREFIX: u8 = 24;

    /// All there are, beginning at one that depends on the name, so that a sandbox tends to keep its addresses.
    pub(crate) fn candidates(name: &SandboxName) -> impl Iterator<Item = Self> {
        let first = (fnv1a(name.as_str()) % 256) as u8;
        (0..=u8::MAX).map(move |step| Self(first.wrapping_add(step)))
    }

    pub(crate) fn address(self, host: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, BLOCK, self.0, host)
    }

    /// Whether `address` lies in it.
    pub(crate) fn contains(self, address: Ipv4Addr) -> bool {
        address.octets()[..3] == self.address(0).octets()[..3]
    }
}

/// Fowler-Noll-Vo 1a, 32 bits: short names that must not change between releases are made with it.
fn fnv1a(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// The choices that make a sandbox; with the name, everything else follows. This is what is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Choices {
    pub(crate) name: SandboxName,
    pub(crate) profile: Profile,
    pub(crate) home: PathBuf,
    pub(crate) program: PathBuf,
    pub(crate) subnet: Subnet,
    pub(crate) http_port: u16,
    /// Whether a storage layer is mounted under each database node, so that its storage can be attacked.
    #[serde(default)]
    pub(crate) storage_layer: bool,
    /// Lines for the option file of every database server.
    #[serde(default)]
    pub(crate) settings: Vec<ServerSetting>,
    /// For applications and workloads.
    pub(crate) login: Login,
    pub(crate) secrets: Secrets,
}

/// Passwords of a home's database accounts. Shared by its sandboxes, because they are part of the template data
/// directory that all are copied from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Secrets {
    /// Of the applications' account.
    pub(crate) application: String,
    /// Of the account that replicas log in with.
    pub(crate) replication: String,
    /// Of the account by which agents see whether a primary takes writes.
    pub(crate) heartbeat: String,
}

/// What a host is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Database(Role),
    Application,
    Gateway,
    Backup,
}

/// (host, region, last part of its address, what it is for). A database node bears the name of its host, and the last
/// part of the address is its server id.
const HOSTS: [(&str, &str, u8, Part); 9] = [
    ("east-1", "east", 11, Part::Database(Role::Primary)),
    ("east-2", "east", 12, Part::Database(Role::Replica)),
    ("east-3", "east", 13, Part::Database(Role::Replica)),
    ("west-1", "west", 21, Part::Database(Role::PseudoPrimary)),
    ("west-2", "west", 22, Part::Database(Role::PseudoReplica)),
    ("west-3", "west", 23, Part::Database(Role::PseudoReplica)),
    ("app", "east", 31, Part::Application),
    ("gateway", "east", 32, Part::Gateway),
    ("backup", "west", 33, Part::Backup),
];

/// One host of a sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostLayout {
    pub(crate) name: HostName,
    pub(crate) region: RegionName,
    pub(crate) address: Ipv4Addr,
    pub(crate) part: Part,
    /// Its network namespace.
    pub(crate) netns: String,
    /// Its control group, below the root.
    pub(crate) cgroup: String,
    /// What only this host would have on its disk.
    pub(crate) directory: PathBuf,
    /// Where its database node keeps its data: a storage layer is mounted over it when the sandbox has them.
    pub(crate) volume: PathBuf,
    /// What its agent is run with. The supervisor starts the agent when this file is there.
    pub(crate) agent_config: PathBuf,
}

impl HostLayout {
    /// The database node on it.
    pub(crate) fn node(&self) -> Option<NodeSpec> {
        let Part::Database(initial_role) = self.part else { return None };
        Some(NodeSpec {
            name: known_name(self.name.as_str()),
            host: self.name.clone(),
            region: self.region.clone(),
            endpoint: self.endpoint(),
            initial_role,
            server_id: u32::from(self.address.octets()[3]),
        })
    }

    /// Where its database server or gateway listens.
    pub(crate) fn endpoint(&self) -> Endpoint {
        Endpoint { address: IpAddr::V4(self.address), port: DATABASE_PORT }
    }

    /// The data directory of its database node.
    pub(crate) fn data_dir(&self) -> PathBuf {
        self.volume.join("data")
    }

    /// Side directories of its database node, on the same volume.
    pub(crate) fn work_dir(&self) -> PathBuf {
        self.volume.join("work")
    }

    /// What its storage layer keeps for itself.
    pub(crate) fn layer_dir(&self) -> PathBuf {
        self.directory.join("layer")
    }

    /// For selectors.
    pub(crate) fn tags(&self) -> BTreeMap<String, String> {
        let part = match self.part {
            Part::Database(_) => "database",
            Part::Application => "application",
            Part::Gateway => "gateway",
            Part::Backup => "backup",
        };
        // Nothing in a sandbox must be kept, so attacks that destroy data are allowed on its hosts.
        [("part", part), ("region", self.region.as_str()), ("expendable", "true")]
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect()
    }
}

/// Everything that a sandbox consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) choices: Choices,
    pub(crate) directory: PathBuf,
    pub(crate) hosts: Vec<HostLayout>,
}

impl Layout {
    pub(crate) fn new(choices: Choices) -> Self {
        let directory = Home::at(&choices.home).sandbox(&choices.name);
        let hosts = HOSTS
            .iter()
            .map(|(host, region, last, part)| HostLayout {
                name: known_name(host),
                region: known_name(region),
                address: choices.subnet.address(*last),
                part: *part,
                netns: namespace(&choices.name, host),
                cgroup: format!("{}/{host}", cgroup(&choices.name)),
                volume: {
                    let host = directory.join("hosts").join(host);
                    if choices.storage_layer { host.join("volume") } else { host }
                },
                directory: directory.join("hosts").join(host),
                agent_config: directory.join("hosts").join(host).join("agent.json"),
            })
            .collect();
        Self { choices, directory, hosts }
    }

    pub(crate) fn name(&self) -> &SandboxName {
        &self.choices.name
    }

    /// The address at which the machine itself takes part in the sandbox's network.
    pub(crate) fn server_address(&self) -> Ipv4Addr {
        self.choices.subnet.address(1)
    }

    /// Where agents connect.
    pub(crate) fn link(&self) -> SocketAddr {
        (self.server_address(), LINK_PORT).into()
    }

    /// Where people and scripts connect.
    pub(crate) fn http(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.choices.http_port).into()
    }

    /// The base of the server's HTTP API and pages.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.http())
    }

    pub(crate) fn log(&self, of: &str) -> PathBuf {
        self.directory.join("log").join(format!("{of}.log"))
    }

    pub(crate) fn server_directory(&self) -> PathBuf {
        self.directory.join("server")
    }

    /// The namespace whose bridge joins all hosts.
    pub(crate) fn fabric(&self) -> String {
        namespace(self.name(), FABRIC)
    }

    /// The control group of the server.
    pub(crate) fn server_cgroup(&self) -> String {
        format!("{}/{SERVER}", cgroup(self.name()))
    }

    /// The control group of the supervisor.
    pub(crate) fn supervisor_cgroup(&self) -> String {
        format!("{}/{SUPERVISOR}", cgroup(self.name()))
    }

    /// The control group of programs that run only while the sandbox is being made.
    pub(crate) fn setup_cgroup(&self) -> String {
        format!("{}/{SETUP}", cgroup(self.name()))
    }

    /// The machine's own end of the cable into the fabric.
    pub(crate) fn uplink(&self) -> String {
        uplink(self.name())
    }

    /// The host of the gateway.
    pub(crate) fn gateway(&self) -> &HostLayout {
        self.host(Part::Gateway)
    }

    fn host(&self, part: Part) -> &HostLayout {
        self.hosts.iter().find(|host| host.part == part).expect("HOSTS has one of each part")
    }

    pub(crate) fn databases(&self) -> impl Iterator<Item = &HostLayout> {
        self.hosts.iter().filter(|host| matches!(host.part, Part::Database(_)))
    }

    pub(crate) fn cluster_name() -> ClusterName {
        known_name(CLUSTER)
    }

    /// The cluster as it is registered with the server.
    pub(crate) fn cluster(&self) -> ClusterSpec {
        ClusterSpec {
            name: Self::cluster_name(),
            nodes: self.hosts.iter().filter_map(HostLayout::node).collect(),
            gateway_host: Some(self.gateway().name.clone()),
            gateway: Some(self.gateway().endpoint()),
            application_host: Some(self.host(Part::Application).name.clone()),
            policy: policy(self.choices.profile),
        }
    }
}

const FABRIC: &str = "net";
const SERVER: &str = "server";
const SUPERVISOR: &str = "supervisor";
const SETUP: &str = "setup";

/// The network namespace of `host` in a sandbox.
fn namespace(sandbox: &SandboxName, host: &str) -> String {
    format!("fd-{sandbox}-{host}")
}

/// All network namespaces that a sandbox of this name can have; no plan on disk is needed to know them.
pub(crate) fn namespaces(sandbox: &SandboxName) -> Vec<String> {
    // Hosts first: deleting a host's namespace takes its cable along, the fabric goes last.
    HOSTS.iter().map(|(host, ..)| namespace(sandbox, host)).chain([namespace(sandbox, FABRIC)]).collect()
}

/// The control group of a sandbox, below the root.
pub(crate) fn cgroup(sandbox: &SandboxName) -> String {
    format!("{CGROUP_ROOT}/{sandbox}")
}

/// Interface names hold at most 15 characters, so the sandbox's name goes in as a hash.
pub(crate) fn uplink(sandbox: &SandboxName) -> String {
    format!("fd-{:08x}", fnv1a(sandbox.as_str()))
}

fn policy(profile: Profile) -> Policy {
    match profile {
        Profile::Safe => Policy::default(),
        Profile::Unsafe => {
            Policy { durability: Durability::Asynchronous, promote_without_proof: true, ..Policy::default() }
        }
    }
}

/// Turns a name that is written in this file into a checked one.
fn known_name<T: std::str::FromStr<Err: std::fmt::Debug>>(name: &str) -> T {
    name.parse().expect("names in this file are well-formed")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::collections::BTreeSet;

    pub(crate) fn choices(name: &str, profile: Profile) -> Choices {
        Choices {
            name: name.parse().expect("a good name"),
            profile,
            home: "/home".into(),
            program: "/bin/firedrill".into(),
            subnet: Subnet(7),
            http_port: 7070,
            storage_layer: false,
            settings: Vec::new(),
            login: Login { user: "app".into(), password: "secret".into(), database: "app".into() },
            secrets: Secrets { application: "secret".into(), replication: "secret".into(), heartbeat: "secret".into() },
        }
    }

    #[test]
    fn the_cluster_is_one_that_a_server_accepts() {
        for profile in [Profile::Safe, Profile::Unsafe] {
            let cluster = Layout::new(choices("default", profile)).cluster();
            cluster.validate().expect("valid");
            assert_eq!(cluster.nodes.len(), 6);
            assert!(cluster.gateway.is_some() && cluster.application_host.is_some());
        }
    }

    #[test]
    fn only_the_unsafe_profile_may_lose_writes() {
        let policy = |profile| Layout::new(choices("default", profile)).cluster().policy;
        assert_eq!(policy(Profile::Safe), Policy::default());
        assert_eq!(policy(Profile::Unsafe).durability, Durability::Asynchronous);
        assert!(policy(Profile::Unsafe).promote_without_proof);
    }

    #[test]
    fn names_fit_the_kernel_and_are_those_that_teardown_knows() {
        let longest = "x".repeat(crate::name::NAME_BYTES_MAX);
        let layout = Layout::new(choices(&longest, Profile::Safe));
        assert!(layout.uplink().len() <= 15, "{}", layout.uplink());
        let known = namespaces(layout.name());
        for host in &layout.hosts {
            assert!(known.contains(&host.netns));
            assert!(host.name.as_str().len() <= 15, "names its cable's end in the fabric");
            assert!(host.cgroup.starts_with(&format!("{}/", cgroup(layout.name()))));
        }
        assert_eq!(known.last(), Some(&layout.fabric()));
    }

    #[test]
    fn sandboxes_share_nothing_even_when_one_name_begins_with_the_other() {
        let names = ["a", "a-east", "a-east-1", "a-net", "b"];
        let mut seen = BTreeSet::new();
        for name in names {
            let name: SandboxName = name.parse().expect("a good name");
            for thing in namespaces(&name).into_iter().chain([uplink(&name)]) {
                assert!(seen.insert(thing.clone()), "{thing} belongs to two sandboxes");
            }
        }
    }

    #[test]
    fn addresses_are_unique_and_inside_the_network() {
        let layout = Layout::new(choices("default", Profile::Safe));
        let addresses: BTreeSet<_> = layout.hosts.iter().map(|host| host.address).collect();
        assert_eq!(addresses.len(), HOSTS.len());
        assert!(addresses.iter().all(|address| layout.choices.subnet.contains(*address)));
        assert!(!addresses.contains(&layout.server_address()));
        assert!(!Subnet(8).contains(layout.server_address()));
    }

    #[test]
    fn every_network_is_a_candidate_once() {
        let all: BTreeSet<_> = Subnet::candidates(&SandboxName::default()).map(|subnet| subnet.0).collect();
        assert_eq!(all.len(), 256);
    }
}
