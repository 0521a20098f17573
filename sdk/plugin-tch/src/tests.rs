use tch::{Device, Kind, Tensor};

use super::{borrow, into_owned, view};
use evopress_plugin::{DType, OwnedTensor, TensorView};

fn floats(tensor: &Tensor) -> Vec<f32> {
    Vec::try_from(tensor.flatten(0, -1).to_kind(Kind::Float)).unwrap()
}

#[test]
fn views_and_tensors_share_memory() {
    let tensor = Tensor::from_slice(&[1_f32, 2.0, 3.0, 4.0, 5.0, 6.0]).reshape([2, 3]);
    let seen = view(&tensor).unwrap();
    assert_eq!((seen.shape(), seen.dtype()), (&[2, 3][..], DType::F32));
    assert_eq!(
        seen.as_slice::<f32>().unwrap(),
        [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    );
    let back = borrow(&seen).unwrap();
    assert_eq!(back.data_ptr(), tensor.data_ptr());
    assert_eq!(floats(&back), floats(&tensor));
    // A transposed tensor crosses with its strides.
    let transposed = tensor.transpose(0, 1);
    let seen = view(&transposed).unwrap();
    assert!(!seen.is_contiguous());
    assert_eq!(seen.to_f32_vec().unwrap(), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    assert_eq!(
        floats(&borrow(&seen).unwrap()),
        [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]
    );
}

#[test]
fn every_dtype_crosses() {
    for kind in [
        Kind::Float,
        Kind::Half,
        Kind::BFloat16,
        Kind::Int64,
        Kind::Uint8,
    ] {
        let tensor = Tensor::from_slice(&[1_i64, 2, 3]).to_kind(kind);
        let seen = view(&tensor).unwrap();
        let back = borrow(&seen).unwrap();
        assert_eq!((back.kind(), floats(&back)), (kind, vec![1.0, 2.0, 3.0]));
    }
    let double = Tensor::from_slice(&[1_f64]);
    assert_eq!(
        view(&double).unwrap_err().message,
        "a tensor of Double; allowed are Float, Half, BFloat16, Int64 and Uint8"
    );
}

#[test]
fn owned_tensors_keep_their_storage() {
    let owned = into_owned(Tensor::from_slice(&[1_f32, 2.0, 3.0]).narrow(0, 1, 2)).unwrap();
    // Something else takes the memory that would have been freed.
    let noise: Vec<Tensor> = (0..64)
        .map(|_| Tensor::full([3], 7.0, (Kind::Float, Device::Cpu)))
        .collect();
    let moved = std::thread::spawn(move || owned).join().unwrap();
    assert_eq!(moved.view().as_slice::<f32>().unwrap(), [2.0, 3.0]);
    drop(noise);
}

#[test]
fn aliases_outlive_the_borrowed_memory() {
    let memory =
        OwnedTensor::from_vec((0..6).map(|value| value as f32).collect(), &[2, 3]).unwrap();
    let address = memory.view().data();
    let borrowed = borrow(&memory.view()).unwrap();
    let clone = borrowed.shallow_clone();
    let row = borrowed.get(1);
    let same_kind = borrowed.to_kind(Kind::Float);
    assert_eq!(row.data_ptr().addr(), address.addr() + 12);
    drop(borrowed);
    assert_ne!(clone.data_ptr().cast_const(), address);
    // They still alias one another, in memory of their own.
    assert_eq!(row.data_ptr().addr(), clone.data_ptr().addr() + 12);
    drop(memory);
    let _noise: Vec<Vec<f32>> = (0..64).map(|_| vec![9.0; 6]).collect();
    assert_eq!(floats(&clone), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    assert_eq!(floats(&row), [3.0, 4.0, 5.0]);
    assert_eq!(floats(&same_kind), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
}

#[test]
fn empty_tensors_cross() {
    let none: [f32; 0] = [];
    let seen = TensorView::from_slice(&none, &[0, 4]).unwrap();
    assert_eq!(borrow(&seen).unwrap().size(), [0, 4]);
    assert_eq!(
        view(&Tensor::zeros([0, 4], (Kind::Float, Device::Cpu)))
            .unwrap()
            .shape(),
        [0, 4]
    );
}
