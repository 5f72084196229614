//! Processes: started, watched, signalled and recognised again after a restart.

mod identity;
mod image;
mod limit;
mod list;
mod pidfd;
mod run;
mod spawn;
mod standstill;
mod thread;

pub use identity::{Identity, State, state, thread_states};
pub use image::{Image, Mapping, mappings};
pub use limit::{OpenFilesLimit, own_file_table};
pub use list::{Listed, in_cgroup, list, listening_on, user_id};
pub use pidfd::{Exit, Pidfd};
pub use run::{CAPTURE_BYTES_MAX, Output, run, run_to_end, run_with_input};
pub use spawn::{Child, Spawn, Stream};
pub use standstill::{Standing, THREADS_MAX, as_tracer, stand_still};
pub use thread::{default_priority, signal_thread};

/// A signal, as the kernel numbers it.
pub use nix::sys::signal::Signal;
