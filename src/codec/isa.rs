//! Which instructions a codec may use, found out once.
//!
//! # Soundness
//! - **I1** A value of [`Isa`] other than `Portable` exists only where the processor and the operating system support
//!   all instructions named at its variant: [`Isa::detect`] and [`Isa::all`] are the only ways to one, and the variants
//!   carry a proof that nobody else can make. A function with those target features may be called by whoever has it.

#[cfg(target_arch = "x86_64")]
use crate::copy::cpuid;

/// The proof that a set of instructions may be used (I1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proof(());

/// A set of instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isa {
    /// What every processor has: the definition of what each codec does.
    Portable,
    /// AVX2, FMA, F16C, BMI2.
    Avx2(Proof),
    /// In addition AVX-512 F, BW, CD, DQ, VL and VBMI.
    Avx512(Proof),
}

impl Isa {
    /// The best that this machine has. Asks the processor: call it once, at open.
    pub fn detect() -> Self {
        Self::all().last().unwrap_or(Self::Portable)
    }

    /// Everything that this machine has, the portable version first: what tests compare.
    pub fn all() -> impl Iterator<Item = Self> {
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        let found = [
            Some(Self::Portable),
            cpuid::avx2_f16c().then_some(Self::Avx2(Proof(()))),
            cpuid::avx512_vbmi().then_some(Self::Avx512(Proof(()))),
        ];
        #[cfg(not(all(target_arch = "x86_64", not(miri))))]
        let found = [Some(Self::Portable)];
        found.into_iter().flatten()
    }

    /// A short name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Avx2(_) => "avx2",
            Self::Avx512(_) => "avx512",
        }
    }
}
