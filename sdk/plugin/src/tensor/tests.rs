use std::{
    ffi::c_void,
    ptr::NonNull,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use half::{bf16, f16};

use super::*;

const SIX: [f32; 6] = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0];

/// A view with strides of its own over `SIX`.
fn strided(shape: &[i64], strides: &[i64]) -> TensorView<'static> {
    static MEMORY: [f32; 6] = SIX;
    // SAFETY: the tests below stay within the six elements.
    unsafe {
        TensorView::from_raw_parts(
            MEMORY.as_ptr().cast(),
            DType::F32,
            Device::Cpu,
            shape,
            Some(strides),
        )
        .unwrap()
    }
}

#[test]
fn slices_become_views_and_back() {
    let view = TensorView::from_slice(&SIX, &[2, 3]).unwrap();
    assert_eq!(
        (view.shape(), view.strides(), view.dtype()),
        (&[2, 3][..], &[3, 1][..], DType::F32)
    );
    assert_eq!(view.as_slice::<f32>().unwrap(), SIX);
    assert_eq!(
        view.rows(1, 2).unwrap().as_slice::<f32>().unwrap(),
        [3.0, 4.0, 5.0]
    );
    let halves = SIX.map(bf16::from_f32);
    assert_eq!(
        TensorView::from_slice(&halves, &[6])
            .unwrap()
            .to_f32_vec()
            .unwrap(),
        SIX
    );
    let halves = SIX.map(f16::from_f32);
    assert_eq!(
        TensorView::from_slice(&halves, &[3, 2])
            .unwrap()
            .to_f32_vec()
            .unwrap(),
        SIX
    );
    let scalar = TensorView::from_slice(&SIX[4..5], &[]).unwrap();
    assert_eq!(scalar.as_slice::<f32>().unwrap(), [4.0]);
}

#[test]
fn strides_are_followed() {
    let transposed = strided(&[3, 2], &[1, 3]);
    assert!(!transposed.is_contiguous());
    assert_eq!(
        transposed.to_f32_vec().unwrap(),
        [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]
    );
    assert_eq!(
        transposed.rows(1, 3).unwrap().to_f32_vec().unwrap(),
        [1.0, 4.0, 2.0, 5.0]
    );
    let repeated = strided(&[2, 2], &[0, 1]);
    assert_eq!(repeated.to_f32_vec().unwrap(), [0.0, 1.0, 0.0, 1.0]);
    // A dimension of 1 may have any stride, and what is empty lies anywhere.
    assert!(strided(&[1, 6], &[77, 1]).is_contiguous());
    assert!(strided(&[0, 6], &[1, 1]).is_contiguous());
    assert!(
        strided(&[0, 6], &[1, 1])
            .as_slice::<f32>()
            .unwrap()
            .is_empty()
    );
}

#[test]
fn what_does_not_fit_is_an_error() {
    let view = TensorView::from_slice(&SIX, &[2, 3]).unwrap();
    let on_gpu = {
        // SAFETY: never read: it says that it is on a GPU.
        unsafe {
            TensorView::from_raw_parts(SIX.as_ptr().cast(), DType::F32, Device::Cuda(1), &[6], None)
                .unwrap()
        }
    };
    // SAFETY: refused before anything is read.
    let raw = |data: usize, shape: &[i64], strides: Option<&[i64]>| unsafe {
        TensorView::from_raw_parts(
            std::ptr::without_provenance(data),
            DType::F32,
            Device::Cpu,
            shape,
            strides,
        )
    };
    let messages: Vec<String> = [
        TensorView::from_slice(&SIX, &[2, 4]).unwrap_err(),
        TensorView::from_slice(&SIX, &[-2, -3]).unwrap_err(),
        TensorView::from_slice(&SIX, &[i64::MAX, i64::MAX]).unwrap_err(),
        TensorView::from_slice(&SIX, &[1; 9]).unwrap_err(),
        raw(0, &[2], None).unwrap_err(),
        raw(6, &[2], None).unwrap_err(),
        raw(8, &[2], Some(&[1, 1])).unwrap_err(),
        view.as_slice::<i64>().unwrap_err(),
        on_gpu.as_slice::<f32>().unwrap_err(),
        on_gpu.to_f32_vec().unwrap_err(),
        strided(&[3, 2], &[1, 3]).as_slice::<f32>().unwrap_err(),
        view.rows(1, 3).unwrap_err(),
        strided(&[6], &[1]).matrix_shape().unwrap_err(),
        TensorView::from_slice(&[1_i64], &[1])
            .unwrap()
            .to_f32_vec()
            .unwrap_err(),
        OwnedTensor::from_vec(vec![1_u8, 2], &[3]).unwrap_err(),
    ]
    .iter()
    .map(|error| format!("{error}\n"))
    .collect();
    let expected = "\
a shape of [2, 4] needs 8 elements, found 6
a shape of [-2, -3] is not possible
a shape of [9223372036854775807, 9223372036854775807] is not possible
a tensor has 9 dimensions; at most 8 are supported
the data pointer of a tensor of shape [2] is null or not aligned for f32
the data pointer of a tensor of shape [2] is null or not aligned for f32
a tensor of 1 dimensions comes with 2 strides
expected a tensor of i64, found f32
the tensor is on cuda:1; this needs it on the CPU
the tensor is on cuda:1; this needs it on the CPU
the tensor of shape [3, 2] and strides [1, 3] is not contiguous
rows 1..3 of a tensor of shape [2, 3]
expected a tensor of shape [T, D], found [6]
expected a tensor of f32, found i64
a shape of [3] needs 3 elements, found 2
";
    assert_eq!(messages.concat(), expected);
}

#[test]
fn foreign_structures_are_checked() {
    let view = TensorView::from_slice(&SIX, &[2, 3]).unwrap();
    let good = view.to_dlpack();
    // SAFETY: shape, strides and elements are those of `view`; only harmless fields are changed.
    let read = |tensor: DLTensor| unsafe {
        TensorView::from_dlpack(&tensor).map(|view| view.to_f32_vec().unwrap())
    };
    assert_eq!(read(good).unwrap(), SIX);
    assert_eq!(
        read(DLTensor {
            strides: std::ptr::null_mut(),
            ..good
        })
        .unwrap(),
        SIX
    );
    let mut half = [1_i64, 3];
    assert_eq!(
        read(DLTensor {
            byte_offset: 12,
            shape: half.as_mut_ptr(),
            ..good
        })
        .unwrap(),
        SIX[3..]
    );
    let messages: Vec<String> = [
        DLTensor { ndim: -1, ..good },
        DLTensor { ndim: 9, ..good },
        DLTensor {
            shape: std::ptr::null_mut(),
            ..good
        },
        DLTensor {
            dtype: DLDataType {
                code: 2,
                bits: 64,
                lanes: 1,
            },
            ..good
        },
        DLTensor {
            dtype: DLDataType {
                code: 2,
                bits: 32,
                lanes: 4,
            },
            ..good
        },
        DLTensor {
            device: DLDevice {
                device_type: 10,
                device_id: 0,
            },
            ..good
        },
        DLTensor {
            data: std::ptr::null_mut(),
            ..good
        },
    ]
    .into_iter()
    .map(|tensor| format!("{}\n", read(tensor).unwrap_err()))
    .collect();
    let expected = "\
a tensor has -1 dimensions; at most 8 are supported
a tensor has 9 dimensions; at most 8 are supported
a tensor of 2 dimensions comes with 0 sizes
unsupported dtype: DLPack code 2, 64 bits, 1 lanes; allowed are f32, f16, bf16, i64 and u8
unsupported dtype: DLPack code 2, 32 bits, 4 lanes; allowed are f32, f16, bf16, i64 and u8
unsupported device: DLPack type 10; allowed are the CPU (1) and CUDA (2)
the data pointer of a tensor of shape [2, 3] is null or not aligned for f32
";
    assert_eq!(messages.concat(), expected);
}

#[test]
fn owned_tensors_are_freed_once() {
    struct Keeper(Vec<f32>, Arc<AtomicUsize>);
    impl Drop for Keeper {
        fn drop(&mut self) {
            self.1.fetch_add(1, Ordering::SeqCst);
        }
    }
    let num_drops = Arc::new(AtomicUsize::new(0));
    let make = || {
        let keeper = Keeper(SIX.to_vec(), num_drops.clone());
        let data = keeper.0.as_ptr().cast::<c_void>();
        // SAFETY: the vector's heap memory stays where it is when the keeper moves.
        unsafe {
            OwnedTensor::from_keeper(keeper, data, DType::F32, Device::Cpu, &[3, 2], None).unwrap()
        }
    };
    let tensor = make();
    let tensor = std::thread::spawn(move || tensor).join().unwrap();
    assert_eq!(tensor.view().as_slice::<f32>().unwrap(), SIX);
    // Across the boundary and back.
    let managed = tensor.into_dlpack();
    assert_eq!(num_drops.load(Ordering::SeqCst), 0);
    // SAFETY: just given away.
    let tensor = unsafe { OwnedTensor::from_dlpack(managed).unwrap() };
    assert_eq!(tensor.view().shape(), [3, 2]);
    drop(tensor);
    assert_eq!(num_drops.load(Ordering::SeqCst), 1);
    // A foreign tensor that is refused is freed too.
    let mut managed = make().into_dlpack();
    // SAFETY: just given away, with a dtype that is not supported.
    let refused = unsafe {
        managed.as_mut().dl_tensor.dtype.bits = 8;
        OwnedTensor::from_dlpack(managed)
    };
    assert!(refused.is_err());
    assert_eq!(num_drops.load(Ordering::SeqCst), 2);
}

#[test]
fn tensors_without_a_deleter_are_left_alone() {
    let mut shape = [6_i64];
    let view = TensorView::from_slice(&SIX, &[6]).unwrap();
    let mut managed = DLManagedTensor {
        dl_tensor: DLTensor {
            shape: shape.as_mut_ptr(),
            strides: std::ptr::null_mut(),
            ..view.to_dlpack()
        },
        manager_ctx: std::ptr::null_mut(),
        deleter: None,
    };
    // SAFETY: lives until the end of the test.
    let tensor = unsafe { OwnedTensor::from_dlpack(NonNull::from(&mut managed)).unwrap() };
    assert_eq!(tensor.view().as_slice::<f32>().unwrap(), SIX);
}

#[test]
fn tensors_without_elements_may_have_any_shape() {
    let none: [f32; 0] = [];
    let view = TensorView::from_slice(&none, &[0, i64::MAX, i64::MAX]).unwrap();
    assert!(view.is_contiguous());
    assert!(view.as_slice::<f32>().unwrap().is_empty());
    // SAFETY: there are no elements.
    let view = unsafe {
        let nowhere = std::ptr::null();
        let strides = Some(&[i64::MAX, 1][..]);
        TensorView::from_raw_parts(nowhere, DType::F32, Device::Cpu, &[5, 0], strides).unwrap()
    };
    assert!(view.rows(2, 5).unwrap().to_f32_vec().unwrap().is_empty());
}
