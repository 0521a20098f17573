//! The factor of the inverse second moment.

use evopress_plugin::{PluginError, TensorView};
use evopress_plugin_tch::{to_plugin_error, with_tensor};
use tch::{Kind, TchError, Tensor};

/// How often the damping is raised tenfold before a second moment is given up.
const NUM_RAISES: i32 = 3;
/// Damping to begin with when it has to be raised from 0.
const LEAST_DAMPING: f64 = 1e-6;

/// In which order the columns are fixed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// As they are.
    Natural,
    /// The inputs with the largest second moment first.
    FallingDiagonal,
}

/// `U` of `H⁻¹ = Uᵀ U`, each row divided by its diagonal.
#[derive(Debug)]
pub struct Factor {
    /// `[K, K]` f32, unit upper triangular: what column `k` takes over of an error of column `j`.
    /// Below the diagonal are zeros.
    pub spread: Tensor,
    /// `[K]`: `1 / U_jj²`, by which the square of a column's error counts; 0 for an input that is
    /// always 0.
    pub importance: Vec<f32>,
    /// `[K]` i64: the column that comes `j`-th, unless the order is natural.
    pub order: Option<Tensor>,
    /// By place in the order: whether the input is always 0.
    pub is_dead: Vec<bool>,
}

impl Factor {
    /// The factor of `H + damping · mean(diag H) · I`. Inputs that are always 0 get the mean on the
    /// diagonal, so they neither spread errors nor take any over.
    ///
    /// Where the matrix is not positive definite the damping is raised tenfold, three times at
    /// most.
    ///
    /// # Errors
    /// When the matrix is not square or finite, or not positive definite even so; the sentence says
    /// of which layers, by `names`.
    pub fn new(
        hessian: &TensorView<'_>,
        damping: f64,
        order: Order,
        names: &str,
    ) -> Result<Self, PluginError> {
        let fail = |what: String| PluginError::new(format!("inputs of {names}: {what}"));
        let torch = |error: TchError| fail(to_plugin_error(&error).message);
        let (rows, columns) = hessian
            .matrix_shape()
            .map_err(|error| fail(error.to_string()))?;
        if rows != columns || rows == 0 {
            return Err(fail(format!(
                "the second moment is {rows} × {columns}; expected a square matrix"
            )));
        }
        with_tensor(hessian, |hessian| {
            let moments = Moments::of(hessian).map_err(torch)?;
            if !moments.is_finite {
                return Err(fail("the second moment is not finite".to_owned()));
            }
            let order = match order {
                Order::Natural => None,
                Order::FallingDiagonal => Some(moments.falling_order(hessian)),
            };
            for raise in 0..=NUM_RAISES {
                let damping = match raise {
                    0 => damping,
                    _ => damping.max(LEAST_DAMPING) * 10_f64.powi(raise),
                };
                let upper = factorize(hessian, &moments, damping, order.as_ref()).map_err(torch)?;
                if let Some(upper) = upper {
                    return Self::of(&upper, &moments, order).map_err(torch);
                }
            }
            Err(fail(format!(
                "the second moment is not positive definite, not even with a damping of {} of its mean diagonal",
                damping.max(LEAST_DAMPING) * 10_f64.powi(NUM_RAISES)
            )))
        })?
    }

    /// Number of columns.
    pub fn num_columns(&self) -> usize {
        self.importance.len()
    }

    /// The columns of `by_column [K, …]` in the factor's order.
    ///
    /// # Errors
    /// When libtorch fails.
    pub fn in_order(&self, by_column: &Tensor) -> Result<Tensor, TchError> {
        match &self.order {
            None => Ok(by_column.shallow_clone()),
            Some(order) => by_column.f_index_select(0, order),
        }
    }

    /// The way back from [`Factor::in_order`].
    ///
    /// # Errors
    /// When libtorch fails.
    pub fn in_natural_order(&self, by_place: &Tensor) -> Result<Tensor, TchError> {
        match &self.order {
            None => Ok(by_place.shallow_clone()),
            Some(order) => by_place.f_index_select(0, &order.f_argsort(0, false)?),
        }
    }

    fn of(upper: &Tensor, moments: &Moments, order: Option<Tensor>) -> Result<Self, TchError> {
        let diagonal = upper.f_diagonal(0, 0, 1)?;
        let spread = upper.f_div(&diagonal.f_unsqueeze(1)?)?;
        let is_dead: Vec<bool> = match &order {
            None => moments.is_dead.clone(),
            Some(order) => {
                let order: Vec<i64> = Vec::try_from(order)?;
                let dead = order.iter().map(|&column| moments.is_dead[column as usize]);
                dead.collect()
            }
        };
        let importance: Vec<f64> = Vec::try_from(
            &diagonal
                .f_to_kind(Kind::Double)?
                .f_square()?
                .f_reciprocal()?,
        )?;
        let importance = importance.into_iter().zip(&is_dead);
        let importance = importance.map(|(value, dead)| if *dead { 0.0 } else { value as f32 });
        Ok(Factor {
            spread: spread.f_contiguous()?,
            importance: importance.collect(),
            order,
            is_dead,
        })
    }
}

/// What the diagonal says.
struct Moments {
    is_finite: bool,
    is_dead: Vec<bool>,
    /// Mean over the inputs that are not always 0; 1 if all are.
    mean: f64,
}

impl Moments {
    fn of(hessian: &Tensor) -> Result<Self, TchError> {
        // A sum of finite f32 is finite in f64.
        let sum = hessian.f_sum(Kind::Double)?.f_double_value(&[])?;
        let diagonal: Vec<f64> =
            Vec::try_from(&hessian.f_diagonal(0, 0, 1)?.f_to_kind(Kind::Double)?)?;
        let is_dead: Vec<bool> = diagonal.iter().map(|moment| *moment <= 0.0).collect();
        let num_alive = is_dead.iter().filter(|dead| !**dead).count();
        let mean = diagonal.iter().filter(|moment| **moment > 0.0).sum::<f64>() / num_alive as f64;
        Ok(Moments {
            is_finite: sum.is_finite(),
            is_dead,
            mean: if num_alive == 0 { 1.0 } else { mean },
        })
    }

    /// The columns by falling moment, earlier ones first among equals.
    fn falling_order(&self, hessian: &Tensor) -> Tensor {
        let diagonal = hessian.diagonal(0, 0, 1).to_kind(Kind::Float);
        let diagonal: Vec<f32> = Vec::try_from(&diagonal).unwrap_or_default();
        let mut order: Vec<i64> = (0..diagonal.len() as i64).collect();
        order.sort_by(|&a, &b| diagonal[b as usize].total_cmp(&diagonal[a as usize]));
        Tensor::from_slice(&order).to_device(hessian.device())
    }
}

/// `U`, or nothing where the damped matrix is not positive definite.
///
/// With `J` reversing the order, `J A J = L Lᵀ` gives `A⁻¹ = Uᵀ U` with `U = J L⁻¹ J`: no inverse
/// is formed.
fn factorize(
    hessian: &Tensor,
    moments: &Moments,
    damping: f64,
    order: Option<&Tensor>,
) -> Result<Option<Tensor>, TchError> {
    let damped = hessian.f_to_kind(Kind::Double)?;
    let on_diagonal: Vec<f64> = moments
        .is_dead
        .iter()
        .map(|dead| moments.mean * (damping + f64::from(u8::from(*dead))))
        .collect();
    let on_diagonal = Tensor::f_from_slice(&on_diagonal)?.f_to_device(hessian.device())?;
    let _ = damped.f_diagonal(0, 0, 1)?.f_add_(&on_diagonal)?;
    let damped = match order {
        None => damped,
        Some(order) => damped.f_index_select(0, order)?.f_index_select(1, order)?,
    };
    let (lower, info) = damped.f_flip([0, 1])?.f_linalg_cholesky_ex(false, false)?;
    if info.f_int64_value(&[])? != 0 {
        return Ok(None);
    }
    // The square root of a damped matrix is conditioned well enough for f32, which takes half the
    // time.
    let lower = lower.f_to_kind(Kind::Float)?;
    let identity = Tensor::f_eye(lower.size()[0], (Kind::Float, hessian.device()))?;
    let inverse = lower.f_linalg_solve_triangular(&identity, false, true, false)?;
    let sum = inverse.f_sum(Kind::Double)?.f_double_value(&[])?;
    let is_finite = sum.is_finite();
    Ok(if is_finite {
        Some(inverse.f_flip([0, 1])?)
    } else {
        None
    })
}
