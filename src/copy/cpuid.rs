//! Has the processor the instructions, and does the operating system save the registers.
//!
//! Asked here rather than with the standard library's macro, so that an engine without one gets the same answer; a test
//! compares the two.
//!
//! # Soundness
//! The invariants are those of the parent module.

use core::arch::x86_64::{__cpuid, __cpuid_count, _xgetbv};

/// SSE and AVX state.
const STATE_AVX: u64 = 0b110;
/// Those, mask registers, the upper halves of the first 16 registers, the upper 16 registers.
const STATE_AVX512: u64 = 0b1110_0110;

const fn all(word: u32, bits: &[u32]) -> bool {
    let mut place = 0;
    while place < bits.len() {
        if word & 1 << bits[place] == 0 {
            return false;
        }
        place += 1;
    }
    true
}

/// AVX2 may be used.
pub(crate) fn avx2() -> bool {
    leaf_7().0 & 1 << 5 != 0 && state() & STATE_AVX == STATE_AVX
}

/// AVX-512F may be used.
pub(crate) fn avx512() -> bool {
    leaf_7().0 & 1 << 16 != 0 && state() & STATE_AVX512 == STATE_AVX512
}

/// AVX2, FMA, F16C and BMI2 may be used.
pub(crate) fn avx2_f16c() -> bool {
    const FMA: u32 = 12;
    const F16C: u32 = 29;
    const BMI2: u32 = 8;
    avx2() && all(__cpuid(1).ecx, &[FMA, F16C]) && all(leaf_7().0, &[BMI2])
}

/// Those, and AVX-512 F, BW, CD, DQ, VL and VBMI may be used.
pub(crate) fn avx512_vbmi() -> bool {
    const DQ: u32 = 17;
    const CD: u32 = 28;
    const BW: u32 = 30;
    const VL: u32 = 31;
    const VBMI: u32 = 1;
    let (ebx, ecx) = leaf_7();
    avx512() && avx2_f16c() && all(ebx, &[DQ, CD, BW, VL]) && all(ecx, &[VBMI])
}

fn leaf_7() -> (u32, u32) {
    if __cpuid(0).eax >= 7 {
        let leaf = __cpuid_count(7, 0);
        (leaf.ebx, leaf.ecx)
    } else {
        (0, 0)
    }
}

/// Which registers the operating system saves, 0 where it does not say.
fn state() -> u64 {
    #[target_feature(enable = "xsave")]
    fn state_xsave() -> u64 {
        // SAFETY: register 0 exists wherever the instruction does.
        unsafe { _xgetbv(0) }
    }
    // Bits 27 and 28: the operating system has enabled XGETBV, the processor has AVX.
    let ecx = __cpuid(1).ecx;
    if ecx & (0b11 << 27) == 0b11 << 27 {
        // SAFETY: bit 27 was just seen to be set, which is what the instruction needs.
        unsafe { state_xsave() }
    } else {
        0
    }
}
