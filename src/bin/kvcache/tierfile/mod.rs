//! Tier files looked at from outside: `kvcache check` and `kvcache inspect`. Nothing here ever writes.

mod inspect;
mod look;
mod superblock;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use look::Look;

pub use inspect::{InspectArgs, inspect};
pub use look::check_file;
pub use superblock::{SUPERBLOCK_AREA_BYTES, Superblock};

/// The file holds what it must.
const CLEAN: u8 = 0;
/// Something in the file does not verify.
const DAMAGED: u8 = 1;
/// The file can't be looked at: not there, no tier file, in use.
const REFUSED: u8 = 2;

/// What to check.
#[derive(Args, Debug)]
pub struct CheckArgs {
    /// The file of an NVMe or disk tier
    file: PathBuf,
    /// One JSON object instead of text
    #[arg(long)]
    json: bool,
    /// Also a file that an engine has open: what is being written just then looks damaged
    #[arg(long)]
    force: bool,
}

/// Verifies a file: every superblock, header, table, record and byte. Exits with 0 where all is well, 1 where something
/// is damaged, 2 where it is no tier file or can't be read.
pub fn check(args: &CheckArgs) -> ExitCode {
    let look = match Look::at(&args.file, args.force, &mut |_| {}) {
        Ok(look) => look,
        Err(reason) => return refused(&reason),
    };
    if args.json {
        crate::print_json(&look);
    } else {
        println!("{}", look.text());
    }
    ExitCode::from(if look.is_clean() { CLEAN } else { DAMAGED })
}

fn refused(reason: &str) -> ExitCode {
    eprintln!("kvcache: {reason}");
    ExitCode::from(REFUSED)
}
