use super::GgmlType;

#[test]
fn numbers_and_names_are_ggmls() {
    for it in GgmlType::ALL {
        assert_eq!(GgmlType::from_id(it.id()), Some(it));
        assert_eq!(GgmlType::from_name(it.name()), Some(it));
    }
    assert_eq!(GgmlType::from_id(15), None);
    assert_eq!(GgmlType::from_name("IQ3_S"), None);
    assert_eq!(GgmlType::Q4K.bits_per_weight(), 4.5);
    assert_eq!(GgmlType::Q6K.size_bytes(512), 420);
}

/// One hand-made block of each shape; all types but `Q2_0` are held against gguf-py in the engine's
/// tests.
#[test]
fn blocks_become_weights() {
    let mut weights = [0.0; 32];
    let mut block = vec![0x00, 0x38]; // d = 0.5
    block.extend([0x18; 16]); // low nibbles 8, high nibbles 1
    GgmlType::Q4_0.dequantize(&block, &mut weights);
    assert_eq!((weights[0], weights[31]), (0.0, -3.5));
    block.extend([0xF8; 16]);
    GgmlType::Q8_0.dequantize(&block, &mut weights);
    assert_eq!((weights[0], weights[31]), (12.0, -4.0));
    let mut weights = [0.0; 64];
    block.truncate(2);
    block.extend([0b1110_0100; 16]); // −1, 0, 1, 2
    GgmlType::Q2_0.dequantize(&block, &mut weights);
    assert_eq!(weights[..5], [-0.5, 0.0, 0.5, 1.0, -0.5]);
    let mut floats = [0.0; 2];
    GgmlType::Bf16.dequantize(&[0x80, 0x3F, 0x00, 0xC0], &mut floats);
    assert_eq!(floats, [1.0, -2.0]);
}

#[test]
#[should_panic(expected = "17 bytes of Q4_0 blocks for 32 weights")]
fn blocks_that_are_cut_off_are_refused() {
    GgmlType::Q4_0.dequantize(&[0; 17], &mut [0.0; 32]);
}

/// With every other byte at its largest a weight is finite; with a scale that is infinite, none is.
#[test]
fn scales_are_where_they_are_said_to_be() {
    for it in GgmlType::ALL.into_iter().filter(|it| it.is_quantized()) {
        let weights = |scale: [u8; 2], at: usize| {
            let mut block = vec![0xFF; it.block_bytes()];
            for &offset in it.scale_offsets() {
                let scale = if offset == at { scale } else { [0x00, 0x3C] };
                block[offset..][..2].copy_from_slice(&scale);
            }
            let mut weights = vec![0.0_f32; it.block_len()];
            it.dequantize(&block, &mut weights);
            weights
        };
        for &at in it.scale_offsets() {
            let is_finite = |it: &f32| it.is_finite();
            assert!(weights([0xFF, 0x7B], at).iter().all(is_finite), "{it}");
            let infinite = weights([0x00, 0x7C], at);
            assert!(!infinite.iter().any(is_finite), "{it} at {at}");
        }
        assert!(!it.scale_offsets().is_empty(), "{it}");
    }
}
