//! What an error of a weight costs.

/// What an error of a weight costs, by its column, from the mean square of each input. A feature
/// that was always zero keeps a trace of importance, so that its weights stay near what they were.
pub(crate) fn importance(squares: impl Iterator<Item = f64> + Clone) -> Vec<f32> {
    const TRACE: f32 = 1e-4;
    // In units of the greatest, so that no sum is out of range.
    let greatest = squares.clone().fold(0.0, f64::max);
    let unit = if greatest > 0.0 { greatest } else { 1.0 };
    let shares: Vec<f32> = squares.map(|square| (square / unit) as f32).collect();
    let trace = match greatest > 0.0 {
        true => TRACE * shares.iter().sum::<f32>() / shares.len() as f32,
        false => 1.0,
    };
    shares.iter().map(|share| share + trace).collect()
}
