//! A borrowed tensor: pointer, dtype, device, shape and strides, checked once when it is made.

use std::{ffi::c_void, fmt, marker::PhantomData};

use super::{DLTensor, DType, Device, Element, TensorError};

/// Highest number of dimensions.
pub const MAX_RANK: usize = 8;

/// A tensor that someone else owns for as long as `'a`. Cheap to copy; its elements do not change
/// while it lives.
#[derive(Clone, Copy)]
pub struct TensorView<'a> {
    data: *const c_void,
    dtype: DType,
    device: Device,
    rank: usize,
    shape: [i64; MAX_RANK],
    strides: [i64; MAX_RANK],
    memory: PhantomData<&'a [u8]>,
}

// SAFETY: a view is a shared borrow of plain numbers that nobody writes to while it lives.
unsafe impl Send for TensorView<'_> {}
// SAFETY: as above.
unsafe impl Sync for TensorView<'_> {}

impl<'a> TensorView<'a> {
    /// A view of a contiguous slice in main memory.
    ///
    /// # Errors
    /// When the shape does not hold as many elements as the slice.
    pub fn from_slice<T: Element>(elements: &'a [T], shape: &[i64]) -> Result<Self, TensorError> {
        let expected = num_elements(shape)?;
        if expected != elements.len() {
            return Err(TensorError::Length {
                shape: shape.to_vec(),
                expected,
                found: elements.len(),
            });
        }
        // SAFETY: the slice lives for 'a and holds all elements that the shape names, without gaps.
        unsafe {
            Self::from_raw_parts(elements.as_ptr().cast(), T::DTYPE, Device::Cpu, shape, None)
        }
    }

    /// A view of memory at `data`. Without strides it is contiguous.
    ///
    /// # Safety
    /// Every element that shape and strides reach is initialised, valid for `'a` and not written
    /// to, and `device` is where it is. The elements lie in one allocation, which starts no further
    /// than `isize::MAX` bytes before its end.
    ///
    /// # Errors
    /// When the shape is impossible, or the pointer null or misaligned.
    pub unsafe fn from_raw_parts(
        data: *const c_void,
        dtype: DType,
        device: Device,
        shape: &[i64],
        strides: Option<&[i64]>,
    ) -> Result<Self, TensorError> {
        let count = num_elements(shape)?;
        if let Some(strides) = strides.filter(|strides| strides.len() != shape.len()) {
            return Err(TensorError::Dims {
                rank: shape.len(),
                found: strides.len(),
                what: "strides",
            });
        }
        // CUDA pointers are checked for null only: they are never read here.
        let is_aligned = device != Device::Cpu || data.addr().is_multiple_of(dtype.size_bytes());
        if count > 0 && (data.is_null() || !is_aligned) {
            return Err(TensorError::Pointer {
                shape: shape.to_vec(),
                dtype,
            });
        }
        let mut view = TensorView {
            data,
            dtype,
            device,
            rank: shape.len(),
            shape: [0; MAX_RANK],
            strides: [0; MAX_RANK],
            memory: PhantomData,
        };
        view.shape[..shape.len()].copy_from_slice(shape);
        match strides {
            Some(strides) => view.strides[..strides.len()].copy_from_slice(strides),
            None => view.strides = contiguous_strides(shape),
        }
        Ok(view)
    }

    /// A view of what a DLPack tensor describes.
    ///
    /// # Safety
    /// `tensor`'s shape and strides are valid now, and its elements for `'a`, as for
    /// [`TensorView::from_raw_parts`].
    ///
    /// # Errors
    /// When dtype, device, rank or shape is not supported.
    pub unsafe fn from_dlpack(tensor: &DLTensor) -> Result<Self, TensorError> {
        let dtype = DType::from_dlpack(tensor.dtype)?;
        let device = Device::from_dlpack(tensor.device)?;
        let rank = usize::try_from(tensor.ndim)
            .ok()
            .filter(|rank| *rank <= MAX_RANK);
        let rank = rank.ok_or(TensorError::Rank {
            rank: tensor.ndim.into(),
        })?;
        // SAFETY: the caller vouches for `ndim` sizes, and for as many strides where there are any.
        let (shape, strides) = unsafe { (dims(tensor.shape, rank), dims(tensor.strides, rank)) };
        let shape = match shape {
            None if rank > 0 => {
                return Err(TensorError::Dims {
                    rank,
                    found: 0,
                    what: "sizes",
                });
            }
            shape => shape.unwrap_or_default(),
        };
        let offset = usize::try_from(tensor.byte_offset).map_err(|_| TensorError::Shape {
            shape: shape.to_vec(),
        })?;
        let data = tensor.data.cast_const().wrapping_byte_add(offset);
        // SAFETY: the caller vouches for the elements.
        unsafe { Self::from_raw_parts(data, dtype, device, shape, strides) }
    }

    /// The view as a DLPack tensor, which points into `self` for its shape and strides.
    pub fn to_dlpack(&self) -> DLTensor {
        DLTensor {
            data: self.data.cast_mut(),
            device: self.device.to_dlpack(),
            ndim: self.rank as i32,
            dtype: self.dtype.to_dlpack(),
            shape: self.shape.as_ptr().cast_mut(),
            strides: self.strides.as_ptr().cast_mut(),
            byte_offset: 0,
        }
    }

    /// Sizes of the dimensions.
    pub fn shape(&self) -> &[i64] {
        &self.shape[..self.rank]
    }

    /// Strides of the dimensions, in elements.
    pub fn strides(&self) -> &[i64] {
        &self.strides[..self.rank]
    }

    /// Type of the elements.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Where the elements are.
    pub fn device(&self) -> Device {
        self.device
    }

    /// The first element's address.
    pub fn data(&self) -> *const c_void {
        self.data
    }

    /// Number of elements.
    pub fn num_elements(&self) -> usize {
        self.shape().iter().product::<i64>() as usize
    }

    /// Whether the elements lie one after another in row-major order.
    pub fn is_contiguous(&self) -> bool {
        let expected = contiguous_strides(self.shape());
        let is_empty = self.num_elements() == 0;
        is_empty
            || (0..self.rank).all(|dim| self.shape[dim] == 1 || self.strides[dim] == expected[dim])
    }

    /// The two sizes of a matrix.
    ///
    /// # Errors
    /// When the tensor is not a matrix.
    pub fn matrix_shape(&self) -> Result<(usize, usize), TensorError> {
        match self.shape() {
            [rows, columns] => Ok((*rows as usize, *columns as usize)),
            found => Err(TensorError::WrongShape {
                expected: "[T, D]".to_owned(),
                found: found.to_vec(),
            }),
        }
    }

    /// The elements of a contiguous tensor in main memory.
    ///
    /// # Errors
    /// When the dtype is another, the tensor is on a GPU, or it is not contiguous.
    pub fn as_slice<T: Element>(&self) -> Result<&'a [T], TensorError> {
        if self.dtype != T::DTYPE {
            return Err(TensorError::DType {
                expected: T::DTYPE,
                found: self.dtype,
            });
        }
        self.check_on_cpu()?;
        if !self.is_contiguous() {
            return Err(TensorError::NotContiguous {
                shape: self.shape().to_vec(),
                strides: self.strides().to_vec(),
            });
        }
        if self.num_elements() == 0 {
            return Ok(&[]);
        }
        // SAFETY: checked above and in the constructor: T's dtype, main memory, aligned, not null,
        // without gaps, valid for 'a.
        Ok(unsafe { std::slice::from_raw_parts(self.data.cast(), self.num_elements()) })
    }

    /// All elements of a float tensor in main memory as f32, in row-major order, whatever the
    /// strides.
    ///
    /// # Errors
    /// When the dtype is not a float or the tensor is on a GPU.
    pub fn to_f32_vec(&self) -> Result<Vec<f32>, TensorError> {
        self.check_on_cpu()?;
        match self.dtype {
            DType::F32 => Ok(self.gather::<f32>()),
            DType::F16 => Ok(self
                .gather::<half::f16>()
                .into_iter()
                .map(f32::from)
                .collect()),
            DType::Bf16 => Ok(self
                .gather::<half::bf16>()
                .into_iter()
                .map(f32::from)
                .collect()),
            found => Err(TensorError::DType {
                expected: DType::F32,
                found,
            }),
        }
    }

    /// Rows `start..end`, that is, a range of the first dimension.
    ///
    /// # Errors
    /// When there are no such rows.
    pub fn rows(&self, start: usize, end: usize) -> Result<TensorView<'a>, TensorError> {
        let num_rows = self.shape().first().map_or(0, |rows| *rows as usize);
        if self.rank == 0 || start > end || end > num_rows {
            return Err(TensorError::Rows {
                start,
                end,
                shape: self.shape().to_vec(),
            });
        }
        let mut rows = *self;
        rows.shape[0] = (end - start) as i64;
        // Of a tensor without elements the strides may be anything.
        let offset = (start as isize)
            .wrapping_mul(self.strides[0] as isize)
            .wrapping_mul(self.dtype.size_bytes() as isize);
        rows.data = self.data.wrapping_byte_offset(offset);
        Ok(rows)
    }

    fn check_on_cpu(&self) -> Result<(), TensorError> {
        match self.device {
            Device::Cpu => Ok(()),
            device => Err(TensorError::NotOnCpu { device }),
        }
    }

    /// Elements in row-major order. The dtype and device have been checked.
    fn gather<T: Element>(&self) -> Vec<T> {
        let count = self.num_elements();
        let mut elements = Vec::with_capacity(count);
        let mut index = [0_i64; MAX_RANK];
        for _ in 0..count {
            let offset: i64 = index
                .iter()
                .zip(&self.strides)
                .map(|(i, stride)| i * stride)
                .sum();
            // SAFETY: the index is within the shape, so the constructor's caller vouched for this
            // element.
            elements.push(unsafe { self.data.cast::<T>().offset(offset as isize).read() });
            for dim in (0..self.rank).rev() {
                index[dim] += 1;
                if index[dim] < self.shape[dim] {
                    break;
                }
                index[dim] = 0;
            }
        }
        elements
    }
}

impl fmt::Debug for TensorView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "TensorView({}{:?} on {})",
            self.dtype,
            self.shape(),
            self.device
        )
    }
}

/// `rank` sizes or strides at `pointer`, if there are any.
///
/// # Safety
/// `pointer` is null or valid for `rank` values.
unsafe fn dims<'a>(pointer: *const i64, rank: usize) -> Option<&'a [i64]> {
    (!pointer.is_null()).then(|| match rank {
        // The pointer may be anything where nothing is behind it.
        0 => &[][..],
        // SAFETY: the caller's promise.
        _ => unsafe { std::slice::from_raw_parts(pointer, rank) },
    })
}

/// Number of elements of a shape that fits into memory.
pub(super) fn num_elements(shape: &[i64]) -> Result<usize, TensorError> {
    if shape.len() > MAX_RANK {
        return Err(TensorError::Rank {
            rank: shape.len() as i64,
        });
    }
    let impossible = || TensorError::Shape {
        shape: shape.to_vec(),
    };
    let mut count = 1_i64;
    for size in shape {
        count = count
            .checked_mul(*size)
            .filter(|_| *size >= 0)
            .ok_or_else(impossible)?;
    }
    // No element is larger than 8 bytes, and no object larger than isize::MAX.
    usize::try_from(count)
        .ok()
        .filter(|count| *count <= isize::MAX as usize / 8)
        .ok_or_else(impossible)
}

/// Row-major strides.
pub(super) fn contiguous_strides(shape: &[i64]) -> [i64; MAX_RANK] {
    let mut strides = [0; MAX_RANK];
    let mut stride = 1_i64;
    for dim in (0..shape.len()).rev() {
        strides[dim] = stride;
        // Of a tensor without elements the other dimensions may be of any size.
        stride = stride.wrapping_mul(shape[dim].max(1));
    }
    strides
}
