//! A codec with the memory that it works in.

use std::error::Error;

use kvcache::codec::{Isa, Plane, PlaneCodec, Scratch, Tables, code_bytes_max, scratch_bytes};
use kvcache::geometry::PlaneShape;
use kvcache::{ConfigError, Status};

use super::name::Codec;

/// Encodes and decodes planes of up to a given number of tokens.
pub struct Coder<'t> {
    codec: PlaneCodec<'t>,
    scratch: Vec<u8>,
    code: Vec<u8>,
}

impl<'t> Coder<'t> {
    /// For planes of this shape, or with fewer tokens.
    ///
    /// # Errors
    /// What the codec can't take, and what it can.
    pub fn new(codec: &Codec, shape: &PlaneShape, tables: Option<Tables<'t>>, isa: Isa) -> Result<Self, ConfigError> {
        Ok(Self {
            codec: PlaneCodec::new(codec.kind, &codec.choice, shape, tables, isa)?,
            scratch: vec![0xA5; scratch_bytes(codec.kind, shape) + 64],
            code: vec![0; code_bytes_max(codec.kind, shape)],
        })
    }

    /// The code of a plane.
    ///
    /// # Errors
    /// The codec's.
    pub fn encode(&mut self, plane: &Plane, input: &[u8]) -> Result<&[u8], Status> {
        let mut scratch = Scratch::new(&mut self.scratch);
        let bytes = self.codec.encode(plane, input, &mut self.code, &mut scratch)?;
        Ok(&self.code[..bytes])
    }

    /// The plane of a code.
    ///
    /// # Errors
    /// The codec's.
    pub fn decode(&mut self, plane: &Plane, code: &[u8], output: &mut [u8]) -> Result<(), Status> {
        let mut scratch = Scratch::new(&mut self.scratch);
        self.codec.decode(plane, code, output, &mut scratch)
    }
}

/// What a codec's refusal means to the one who called the program.
pub fn explained(codec: &Codec, error: ConfigError) -> Box<dyn Error> {
    match (error.field, error.status) {
        ("codec_tables", Status::Config) => format!(
            "{} needs tables that were trained on samples of the model: `kvcache codec train --out FILE SAMPLES` makes \
             them, `--tables FILE` takes them",
            codec.name
        )
        .into(),
        ("codec_tables", _) => format!("{}: {}", codec.name, error.reason).into(),
        _ => Box::new(error),
    }
}

/// What a codec's status means to the one who called the program.
pub fn failed(codec: &Codec, status: Status) -> String {
    match status {
        Status::Unsupported => format!("this build does not have the codec {}", codec.name),
        status => format!("{} failed: {status}", codec.name),
    }
}
