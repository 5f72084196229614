//! `firedrill store`: copies of what a server remembers.

use crate::exit::Outcome;
use crate::output;
use clap::Subcommand;
use firedrill_server::backup;
use std::path::PathBuf;

#[derive(Subcommand)]
pub(crate) enum StoreCommand {
    /// Copy the file of the server on this machine, while it runs or not
    Backup {
        /// Where to; must not be there yet
        file: PathBuf,
        /// Of this server
        #[arg(long, value_name = "DIR", default_value = "/var/lib/firedrill/server")]
        data_dir: PathBuf,
    },
    /// Put a copy back; the server must not run. What was there is kept
    Restore {
        /// The copy
        file: PathBuf,
        /// Of this server
        #[arg(long, value_name = "DIR", default_value = "/var/lib/firedrill/server")]
        data_dir: PathBuf,
    },
}

pub(crate) async fn run(command: StoreCommand) -> anyhow::Result<Outcome> {
    match command {
        StoreCommand::Backup { file, data_dir } => {
            let copied = backup::backup(&data_dir, &file).await?;
            output::text(&format!(
                "{}: {} bytes, {} lines of the timeline, checked",
                file.display(),
                copied.bytes,
                copied.lines
            ));
            output::text("keep authority/ and secrets.key of the data directory too, in another place than this copy");
        }
        StoreCommand::Restore { file, data_dir } => {
            let moment = firedrill_server::clock::now().0.to_string();
            let (copied, kept) = backup::restore(&data_dir, &file, &moment).await?;
            output::text(&format!("{} is back, with {} lines of the timeline", file.display(), copied.lines));
            if let Some(kept) = kept {
                output::text(&format!("what was there before is in {}", kept.display()));
            }
        }
    }
    Ok(Outcome::done())
}
