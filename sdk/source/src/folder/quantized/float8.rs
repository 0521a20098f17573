//! Floats of eight bits: sign, four bits of exponent with bias 7, three of mantissa; no infinity,
//! and NaN where all but the sign is set.

/// The value of each code.
pub(super) static E4M3: [f32; 256] = {
    let mut values = [0.0; 256];
    let mut code = 0;
    while code < 256 {
        values[code] = value(code as u32);
        code += 1;
    }
    values
};

const fn value(code: u32) -> f32 {
    let (sign, exponent, mantissa) = (code >> 7 << 31, code >> 3 & 0xf, code & 7);
    if code & 0x7f == 0x7f {
        return f32::NAN;
    }
    if exponent > 0 {
        return f32::from_bits(sign | (exponent + 120) << 23 | mantissa << 20);
    }
    // Subnormal: so many steps of 2^-9.
    let magnitude = mantissa as f32 / 512.0;
    f32::from_bits(sign | magnitude.to_bits())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_codes() {
        let check = |code: usize, expected: f32| {
            assert_eq!(E4M3[code].to_bits(), expected.to_bits(), "{code:#x}");
        };
        check(0x00, 0.0);
        check(0x80, -0.0);
        check(0x01, 2.0_f32.powi(-9));
        check(0x07, 7.0 * 2.0_f32.powi(-9));
        check(0x08, 2.0_f32.powi(-6));
        check(0x38, 1.0);
        check(0xb9, -1.125);
        check(0x7e, 448.0);
        check(0xfe, -448.0);
        assert!(E4M3[0x7f].is_nan() && E4M3[0xff].is_nan());
    }
}
