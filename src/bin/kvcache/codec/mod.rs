//! Codecs from the command line: what there is, one plane through one of them, tables, and how good they are on
//! samples.

mod coder;
mod eval;
mod list;
pub mod name;
mod roundtrip;
pub mod samples;
pub mod synthetic;
pub mod tablefile;
mod train;

use std::error::Error;

use clap::{Args, Subcommand};

/// What to do with codecs.
#[derive(Args, Debug)]
pub struct CodecArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand, Debug)]
enum Action {
    /// Lists the codecs: bits, error, what they need, when to use which
    List(list::ListArgs),
    /// Encodes keys or values of one layer, decodes them from the code alone, and prints the bytes of the code last
    Roundtrip(roundtrip::RoundtripArgs),
    /// Trains the tables that vq and xc need on samples of the model
    Train(train::TrainArgs),
    /// Checks a file with tables and tells what is in it
    Tables(tablefile::TablesArgs),
    /// Measures codecs on samples of a model: bits, errors of keys, values and attention, speed
    Eval(eval::EvalArgs),
}

/// Does it.
///
/// # Errors
/// What is wrong with the arguments or the files; the system's.
pub fn run(args: &CodecArgs) -> Result<(), Box<dyn Error>> {
    match &args.action {
        Action::List(args) => list::run(args),
        Action::Roundtrip(args) => roundtrip::run(args),
        Action::Train(args) => train::run(args),
        Action::Tables(args) => tablefile::describe(args),
        Action::Eval(args) => eval::run(args),
    }
}
