//! The host that an agent lives on: processes, network namespaces, links, control groups, packet rules and queues.
//!
//! This is the only crate that starts processes, sends signals, enters or mounts namespaces, and talks to the kernel's
//! packet filter. Everything above asks here, so that what touches a machine can be read in one place.
//!
//! **What it never does**: give meaning. It knows no database, no attack, no cluster and no policy; it does what it is
//! told, says exactly what the kernel answered, and keeps no state beyond the kernel objects its values own.
//!
//! **Where to begin**: [`process::Spawn`] (how anything is started), [`process::Pidfd`] (how its end is seen),
//! [`netns`] and [`link`] (hosts made of namespaces), [`nft::OwnerTable`] (rules that die with their holder) and
//! [`queue`] (packets held in user space). [`capabilities::missing`] says why something cannot work here.
//!
//! Calls that only make short system calls are plain functions; running an external tool is `async` and bounded.

pub mod capabilities;
pub mod cgroup;
pub mod clock;
pub mod container;
pub mod controller;
pub mod error;
pub mod freezer;
pub mod fuse;
pub mod link;
pub mod memory;
mod netlink;
pub mod netns;
pub mod nft;
pub mod observe;
pub mod process;
pub mod queue;
pub mod resend;
pub mod usage;

pub use error::HostError;
