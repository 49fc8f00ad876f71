//! Element types.

use core::fmt;

/// The type of one element of a key or value vector. The number is that of `kvc_geometry_t` and of file headers and
/// never changes meaning; 0 is no type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Dtype {
    /// IEEE 754 binary32.
    F32 = 1,
    /// IEEE 754 binary16.
    F16 = 2,
    /// The upper half of a binary32.
    Bf16 = 3,
    /// 8 bits: 4 of exponent, 3 of mantissa, no infinity (OCP E4M3, what engines mean by `fp8`).
    F8E4m3 = 4,
    /// 8 bits: 5 of exponent, 2 of mantissa (OCP E5M2).
    F8E5m2 = 5,
    /// Signed integer of 8 bits.
    I8 = 6,
    /// Unsigned integer of 8 bits, or bytes that only the engine understands.
    U8 = 7,
}

impl Dtype {
    /// Every type there is, by number.
    pub const ALL: &'static [Dtype] = &[
        Self::F32,
        Self::F16,
        Self::Bf16,
        Self::F8E4m3,
        Self::F8E5m2,
        Self::I8,
        Self::U8,
    ];

    /// Bytes of one element.
    pub const fn bytes(self) -> u64 {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
            Self::F8E4m3 | Self::F8E5m2 | Self::I8 | Self::U8 => 1,
        }
    }

    /// The number that crosses the C boundary and goes into headers.
    pub const fn code(self) -> u64 {
        self as u64
    }

    /// The type of a number, or `None` for a number that means nothing.
    pub fn from_code(code: u64) -> Option<Self> {
        Self::ALL.iter().copied().find(|dtype| dtype.code() == code)
    }

    /// A short name: `f16`, `bf16`, `f8_e4m3`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::F8E4m3 => "f8_e4m3",
            Self::F8E5m2 => "f8_e5m2",
            Self::I8 => "i8",
            Self::U8 => "u8",
        }
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_found_by_its_number() {
        for (place, &dtype) in Dtype::ALL.iter().enumerate() {
            assert_eq!(dtype.code(), place as u64 + 1);
            assert_eq!(Dtype::from_code(dtype.code()), Some(dtype));
        }
        assert_eq!(Dtype::from_code(0), None);
        assert_eq!(Dtype::from_code(8), None);
    }
}
