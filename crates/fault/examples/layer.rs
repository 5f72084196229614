//! A storage layer by hand, and the processes of those that the integration tests mount.
//!
//! ```text
//! layer mount DIR POINT              mounts one over POINT and returns
//! layer ask POINT COMMAND-JSON       gives it a command
//! layer unmount POINT                takes it off
//! layer guardian|server …            its processes, started by itself
//! ```

use firedrill_fault::storage::{Layer, run};
use firedrill_host::process::Spawn;
use std::ffi::OsString;
use std::io::Write;
use std::path::Path;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let program = std::env::current_exe()?;
    let again = move || Spawn::new(&program);
    let texts: Vec<&str> = arguments.iter().filter_map(|argument| argument.to_str()).collect();
    match texts.as_slice() {
        ["mount", dir, point] => {
            block_on(Layer::mount(&again, Path::new(dir), Path::new(point)))?;
        }
        ["unmount", point] => block_on(over(point)?.unmount())?,
        ["ask", point, command] => {
            let answer = block_on(over(point)?.ask_raw(command))?;
            writeln!(std::io::stdout(), "{answer}")?;
        }
        _ => run(arguments, &again)?,
    }
    Ok(())
}

fn over(point: &str) -> Outcome<Layer> {
    Layer::over(Path::new(point))?.ok_or_else(|| "no layer is mounted there".into())
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime needs only memory").block_on(work)
}
