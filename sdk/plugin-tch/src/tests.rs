use tch::{Device, Kind, Tensor};

use super::{Buffer, into_owned, view, with_tensor};
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
    with_tensor(&seen, |back| {
        assert_eq!(back.data_ptr(), tensor.data_ptr());
        assert_eq!(floats(back), floats(&tensor));
    })
    .unwrap();
    // A transposed tensor crosses with its strides.
    let transposed = tensor.transpose(0, 1);
    let seen = view(&transposed).unwrap();
    assert!(!seen.is_contiguous());
    assert_eq!(seen.to_f32_vec().unwrap(), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    assert_eq!(
        with_tensor(&seen, floats).unwrap(),
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
        let back = with_tensor(&seen, |back| (back.kind(), floats(back)));
        assert_eq!(back.unwrap(), (kind, vec![1.0, 2.0, 3.0]));
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
fn owned_tensors_have_no_aliases() {
    let mut tensor = Tensor::from_slice(&[1_f32, 2.0, 3.0]);
    let alias = into_owned(tensor.shallow_clone()).unwrap();
    let part = into_owned(tensor.narrow(0, 1, 2)).unwrap();
    let _ = tensor.fill_(9.0);
    assert_eq!(alias.view().as_slice::<f32>().unwrap(), [1.0, 2.0, 3.0]);
    assert_eq!(part.view().as_slice::<f32>().unwrap(), [2.0, 3.0]);
    // The last handle is given away without a copy.
    let address = tensor.data_ptr().addr();
    let whole = into_owned(tensor).unwrap();
    assert_eq!(whole.view().data().addr(), address);
}

#[test]
fn aliases_outlive_the_borrowed_memory() {
    let memory =
        OwnedTensor::from_vec((0..6).map(|value| value as f32).collect(), &[2, 3]).unwrap();
    let address = memory.view().data();
    let [clone, row, same_kind] = with_tensor(&memory.view(), |lent| {
        let row = lent.get(1);
        assert_eq!(row.data_ptr().addr(), address.addr() + 12);
        [lent.shallow_clone(), row, lent.to_kind(Kind::Float)]
    })
    .unwrap();
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
fn aliases_outlive_the_borrowed_memory_after_a_panic() {
    let memory = OwnedTensor::from_vec(vec![1_f32, 2.0], &[2]).unwrap();
    let address = memory.view().data();
    let kept = std::sync::Mutex::new(None);
    let work = |lent: &Tensor| -> () {
        *kept.lock().unwrap() = Some(lent.shallow_clone());
        panic!("in the closure");
    };
    let view = memory.view();
    let caught =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| with_tensor(&view, work)));
    assert!(caught.is_err());
    let clone = kept.into_inner().unwrap_or_else(|error| error.into_inner());
    let clone = clone.unwrap();
    assert_ne!(clone.data_ptr().cast_const(), address);
    assert_eq!(floats(&clone), [1.0, 2.0]);
}

#[test]
#[should_panic(expected = "was written to")]
fn writing_to_lent_memory_panics() {
    let memory = OwnedTensor::from_vec(vec![1_f32, 2.0], &[2]).unwrap();
    let write = |lent: &Tensor| lent.narrow(0, 0, 1).fill_(7.0);
    let _ = with_tensor(&memory.view(), write);
}

#[test]
fn buffers_are_written_by_one_at_a_time() {
    let mut buffer = Buffer::zeros(&[2, 2]).unwrap();
    buffer.as_mut_slice().unwrap()[2] = 5.0;
    let _ = buffer.narrow(1, 1, 1).fill_(3.0);
    assert_eq!(buffer.as_mut_slice().unwrap(), [0.0, 3.0, 5.0, 3.0]);
    for alias in [buffer.shallow_clone(), buffer.get(0), buffer.detach()] {
        let refused = buffer.as_mut_slice().unwrap_err().message;
        assert_eq!(
            refused,
            "a buffer has aliases while its elements are written"
        );
        drop(alias);
    }
    assert!(buffer.as_mut_slice().is_ok());
    *buffer = buffer.tr();
    assert!(buffer.as_mut_slice().is_err(), "not contiguous");
    let mut empty = Buffer::zeros(&[0, 4]).unwrap();
    assert!(empty.as_mut_slice().unwrap().is_empty());
}

#[test]
fn empty_tensors_cross() {
    let none: [f32; 0] = [];
    let seen = TensorView::from_slice(&none, &[0, 4]).unwrap();
    assert_eq!(with_tensor(&seen, Tensor::size).unwrap(), [0, 4]);
    assert_eq!(
        view(&Tensor::zeros([0, 4], (Kind::Float, Device::Cpu)))
            .unwrap()
            .shape(),
        [0, 4]
    );
}
