//! [`GgmlType`] across the boundary.

use abi_stable::StableAbi;

use crate::GgmlType;

/// The twin's variants and both conversions from one list.
macro_rules! twin {
    ($($name:ident),+) => {
        #[repr(u8)]
        #[derive(StableAbi, Clone, Copy)]
        #[allow(non_camel_case_types)]
        pub enum GgmlTypeTwin {
            $($name),+
        }

        impl From<GgmlType> for GgmlTypeTwin {
            fn from(plain: GgmlType) -> Self {
                match plain {
                    $(GgmlType::$name => Self::$name),+
                }
            }
        }

        impl From<GgmlTypeTwin> for GgmlType {
            fn from(twin: GgmlTypeTwin) -> Self {
                match twin {
                    $(GgmlTypeTwin::$name => Self::$name),+
                }
            }
        }
    };
}

twin!(
    F32, F16, Bf16, Q2_0, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2K, Q3K, Q4K, Q5K, Q6K, Iq4Nl, Iq4Xs
);
