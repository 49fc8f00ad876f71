//! The values that windows stand for, as `scripts/trellis-tables.rs` trained them.
//!
//! A value is in units of 1/320 of a standard deviation, at most 1023, so that the butterflies of 32 channels stay
//! within 16 bits. The number of a value is its window, whose lowest bit is the first in the stream.

/// The values of all windows.
pub(super) type Levels = &'static [i16];

/// The values for `bits` bits a channel and windows of `window` bits.
pub(super) const fn levels(bits: usize, window: usize) -> Levels {
    match (bits, window) {
        (4, 8) => &T4_256,
        (3, 8) => &T3_256,
        (_, 8) => &T2_256,
        (4, _) => &T4_64,
        (3, _) => &T3_64,
        _ => &T2_64,
    }
}

/// The window of each state: its bits reversed.
pub(super) const fn windows<const STATES: usize>() -> [u8; STATES] {
    let mut windows = [0; STATES];
    let mut state = 0;
    while state < STATES {
        windows[state] = (state.reverse_bits() >> (usize::BITS - STATES.trailing_zeros())) as u8;
        state += 1;
    }
    windows
}

/// The square of each value; 0 behind the last window.
const fn squares<const STATES: usize>(levels: &[i16; STATES]) -> [u32; 256] {
    let mut squares = [0; 256];
    let mut window = 0;
    while window < STATES {
        squares[window] = (levels[window] as i32 * levels[window] as i32) as u32;
        window += 1;
    }
    squares
}

static SQUARES: [[u32; 256]; 6] = [
    squares(&T4_256),
    squares(&T3_256),
    squares(&T2_256),
    squares(&T4_64),
    squares(&T3_64),
    squares(&T2_64),
];

/// The square of the value of each window.
pub(super) const fn energies(bits: usize, window: usize) -> &'static [u32; 256] {
    match (bits, window) {
        (4, 8) => &SQUARES[0],
        (3, 8) => &SQUARES[1],
        (_, 8) => &SQUARES[2],
        (4, _) => &SQUARES[3],
        (3, _) => &SQUARES[4],
        _ => &SQUARES[5],
    }
}

/// What it costs that the value of a state stands for a channel: by the channel's number, which is its value in units
/// of 1/40 of a standard deviation from -128 on, and by state. The cost is the squared difference, `scale` to a
/// variance, and saturates.
const fn branches<const STATES: usize>(levels: &[i16; STATES], scale: u32) -> [[u8; STATES]; 256] {
    const VARIANCE: u32 = 320 * 320;
    let windows = windows::<STATES>();
    let mut branches = [[0; STATES]; 256];
    let mut x = 0;
    while x < 256 {
        let mut state = 0;
        while state < STATES {
            let difference = (8 * (x as i32 - 128) - levels[windows[state] as usize] as i32).unsigned_abs();
            let cost = (difference * difference / 8 * scale + VARIANCE / 16) / (VARIANCE / 8);
            branches[x][state] = if cost > 255 { 255 } else { cost as u8 };
            state += 1;
        }
        x += 1;
    }
    branches
}

// With fewer bits a channel differences are larger, and so are those between the costs of the states.
pub(super) static BRANCH_4_256: [[u8; 256]; 256] = branches(&T4_256, 400);
pub(super) static BRANCH_3_256: [[u8; 256]; 256] = branches(&T3_256, 160);
pub(super) static BRANCH_2_256: [[u8; 256]; 256] = branches(&T2_256, 60);
pub(super) static BRANCH_4_64: [[u8; 64]; 256] = branches(&T4_64, 400);
pub(super) static BRANCH_3_64: [[u8; 64]; 256] = branches(&T3_64, 160);
pub(super) static BRANCH_2_64: [[u8; 64]; 256] = branches(&T2_64, 60);

/// The sum (low half) and the difference (high half) of two neighbouring channels, by their common `bits` more bits
/// than a window: one look-up for two channels, with the first butterfly done.
#[cfg(all(target_arch = "x86_64", not(miri)))]
const fn pairs<const STATES: usize, const PAIRS: usize>(levels: &[i16; STATES]) -> [u32; PAIRS] {
    let bits = PAIRS.trailing_zeros() - STATES.trailing_zeros();
    let mut pairs = [0; PAIRS];
    let mut both = 0;
    while both < PAIRS {
        let (a, b) = (levels[both % STATES], levels[both >> bits]);
        pairs[both] = (a + b) as u16 as u32 | ((a - b) as u16 as u32) << 16;
        both += 1;
    }
    pairs
}

/// For AVX2 and AVX-512.
#[cfg(all(target_arch = "x86_64", not(miri)))]
pub(super) mod paired {
    use super::*;

    pub(in super::super) static PAIRS_4_256: [u32; 4096] = pairs(&T4_256);
    pub(in super::super) static PAIRS_3_256: [u32; 2048] = pairs(&T3_256);
    pub(in super::super) static PAIRS_2_256: [u32; 1024] = pairs(&T2_256);
    pub(in super::super) static PAIRS_4_64: [u32; 1024] = pairs(&T4_64);
    pub(in super::super) static PAIRS_3_64: [u32; 512] = pairs(&T3_64);
    pub(in super::super) static PAIRS_2_64: [u32; 256] = pairs(&T2_64);
}

/// 4 bits, 256 states: mean squared error 0.00531.
static T4_256: [i16; 256] = [
    196, 309, 62, 7, -380, 133, -30, -456, -118, -287, 617, -702, -184, 247, -552, -65, 57, -85, -192, 112, 212, -283,
    450, -137, 312, -444, 263, -353, -40, 165, 369, -3, -416, 614, -108, -58, 335, -895, 243, 28, -286, -228, -15,
    -167, 146, 75, -482, -341, -215, -153, -446, 63, -566, -368, 135, -78, -1, 315, -311, 239, -245, -669, -801, 389,
    -68, 182, -758, 1023, 1, 252, 534, 700, 52, -173, 129, 85, -286, 344, -641, -420, 488, 414, 126, -139, -977, -448,
    -588, 223, 896, -367, -210, -38, 28, -292, -85, 312, -84, 46, 278, -278, -327, -546, -172, -211, -38, 486, 150,
    662, 218, 559, -139, 429, 127, 350, -257, 189, -458, 43, -328, -390, 424, 264, -49, -105, 85, -841, 629, -183, 650,
    978, -594, 802, -241, -172, 22, -37, -757, 217, -117, 398, 165, -384, 505, 99, -517, 153, -18, 584, 100, 432, -85,
    -270, -405, -129, 211, 308, -339, -1023, -205, 47, -279, 98, 410, -200, 717, -111, 186, -536, 526, 363, 472, 16,
    283, 845, -379, 589, -166, -16, 351, 270, -122, -64, -489, -327, -611, 38, -716, 195, -414, -214, 113, -265, -343,
    226, 466, -634, 528, 0, -254, 301, -185, -53, 71, 131, 380, -495, 760, -119, -145, 511, -335, 356, -497, -232, 288,
    424, 202, 90, 32, 154, -616, -77, -24, 683, 566, -315, 199, -391, -59, 744, 379, 86, -501, 149, 315, -237, 470,
    -142, 23, 250, -22, -234, 555, -454, -687, 326, 74, 157, 114, -553, 387, 23, -117, 458, 256, 186,
];

/// 3 bits, 256 states: mean squared error 0.01922.
static T3_256: [i16; 256] = [
    289, 127, 21, -486, -334, -226, -119, 522, -44, -434, 432, -673, 160, 657, -175, -1023, 135, 230, 41, -137, -339,
    -182, 355, -41, -418, 98, -289, -165, -693, 309, -32, 556, 181, -252, -106, 360, 88, 269, -425, -23, 55, 320, 154,
    -203, 775, 456, 228, -68, -12, -558, 234, 376, -168, -263, 97, -369, -770, 339, -395, -42, -148, -258, 79, -520,
    85, 384, -319, 558, -24, -520, 189, -157, 616, 132, -100, 276, -414, -202, 408, 263, -568, 396, -877, 196, -122,
    -377, -5, 73, -553, 485, -196, 71, -56, 1012, 175, 710, 454, 884, 240, 114, -181, -62, -304, 20, 252, -269, -423,
    -104, 404, -19, 630, 90, -26, 783, -265, 524, -688, 309, -453, 183, 68, -216, -597, 336, -450, 192, -320, -88,
    -105, -430, 330, -240, 502, 29, -635, 164, 162, 53, -53, -327, 309, -701, -492, -197, 423, -165, 115, -288, 257,
    660, -77, -491, -121, -371, 368, -527, 48, 618, 213, -237, -2, -113, 479, -847, 270, 130, 849, -276, -397, -118,
    -234, 534, -3, 297, 112, -632, -142, -375, 709, 0, 40, 169, 491, -246, 206, -53, -115, -313, 319, 84, 487, 26,
    -620, 21, -216, 145, -91, -354, 281, 379, -184, -30, 273, 61, 562, 148, -321, 402, 261, 601, -26, -401, 126, 440,
    -252, -136, -17, 242, -754, 480, -292, -470, -158, 128, -258, 266, 142, -57, -551, -132, 43, -408, 391, -131, 57,
    -495, -216, -360, -26, 192, -309, 68, -152, -558, 613, -23, 213, 352, -293, -163, 57, 220, 150, -69, 321, 428,
];

/// 2 bits, 256 states: mean squared error 0.07067.
static T2_256: [i16; 256] = [
    348, -139, 25, -466, -282, -683, 572, 126, 30, -175, 345, -404, 225, 18, -300, -801, -81, -301, 428, 167, -343,
    -41, 488, 202, -124, 73, -301, 216, -625, -312, -105, 184, -446, -166, 82, 334, 147, -46, -99, 388, -54, 362, 97,
    -288, 549, 178, -203, -521, 215, -339, -77, 610, 80, -346, 298, -92, -471, 350, -173, 70, -187, -558, 280, 41,
    -258, 388, 150, -31, -154, 233, 2, -393, 558, 179, -455, -103, -459, -146, 446, 129, -599, 233, -262, -22, -78,
    -333, 167, 542, -450, 413, 121, -80, -215, 315, 67, 906, -171, 834, 317, 80, 3, 449, -287, -730, 230, -434, -218,
    -3, 183, -395, 573, -69, -215, -17, -499, 241, -584, 27, -231, 367, -141, 57, -434, 334, 236, 516, 25, -232, 8,
    120, 409, -237, 174, -59, -352, 427, 274, -449, -135, 76, 534, -379, 145, -118, 421, -38, 124, -261, 68, 268, -78,
    -314, 280, -606, 703, -251, -11, 717, 290, -345, 66, 356, -154, -443, 337, -274, 471, 28, -928, 73, -152, 257, -19,
    9, 251, -267, -57, 184, 467, -15, -161, 223, 711, -377, 454, -709, 182, -202, -3, -191, -503, 228, -730, -441,
    -188, 220, 56, -290, 284, -101, -279, -29, 132, 402, -8, 250, -117, 593, 155, 594, -82, -568, 295, 685, -343, -46,
    75, -211, -658, 519, 287, 46, -370, -100, 307, 60, -437, -158, -156, 177, 111, -301, 694, -124, 368, -616, -330,
    -135, 44, 211, -500, 451, 114, -222, 394, -174, -5, 135, 194, -270, -6, -20, -464, 112, -164, 430,
];

/// 4 bits, 64 states: mean squared error 0.00622.
static T4_64: [i16; 64] = [
    -831, -450, -41, 138, -510, -168, -655, 611, 58, 396, -353, 310, -283, 203, 485, 1012, -85, 557, -148, 202, -223,
    -324, 152, -438, -12, -564, 28, 465, 361, 282, 829, 86, 288, 29, 229, 392, 729, -92, 87, -38, 533, -388, -203,
    -324, 142, -252, -507, -134, -609, -730, 338, -218, -152, 660, -281, 30, 200, -32, -405, 259, 442, 111, -92, -993,
];

/// 3 bits, 64 states: mean squared error 0.02183.
static T3_64: [i16; 64] = [
    -735, -290, -39, 188, -179, 74, -445, 350, 6, 292, -646, -182, -344, 165, 432, 551, 195, 635, 73, 393, -538, -348,
    -61, -150, -254, -481, -116, 273, 63, 411, 922, 184, 328, -17, 189, 541, 762, -138, 64, -299, 488, -141, -261, 72,
    266, -36, 154, -447, -379, -897, 328, -535, -68, 649, -222, 55, -120, 127, -400, -21, 469, -242, 273, -634,
];

/// 2 bits, 64 states: mean squared error 0.07762.
static T2_64: [i16; 64] = [
    -148, -374, 347, 74, -55, -441, 339, -813, -650, -314, -19, 277, -234, 108, -560, 490, -413, -94, 83, 336, -395,
    183, -101, 321, 580, 96, -316, -151, 163, 505, -229, -54, 196, 540, -151, -516, 232, -194, -467, 12, -212, 310,
    679, 43, 386, -98, 100, -379, 33, 223, -608, -200, 512, -32, 140, -282, 80, -142, 274, 807, -46, -326, 405, 154,
];
