//! Experts that are left out of an artifact: the others move up, and the router loses rows.

/// The number of an expert among those that are left; none where it is left out itself. `left_out`
/// ascends.
pub(crate) fn number(expert: u32, left_out: &[u32]) -> Option<u32> {
    match left_out.binary_search(&expert) {
        Ok(_) => None,
        Err(num_before) => Some(expert - num_before as u32),
    }
}

/// A layer's or tensor's name with another number of its expert: `mlp.experts.5.up_proj`.
pub(crate) fn renamed(name: &str, expert: u32, number: u32) -> String {
    name.replacen(&format!(".{expert}."), &format!(".{number}."), 1)
}

/// The experts that are left of `num_experts`.
pub(crate) fn kept(num_experts: u32, left_out: &[u32]) -> Vec<i64> {
    let experts = (0..num_experts).filter(|expert| left_out.binary_search(expert).is_err());
    experts.map(i64::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn experts_move_up() {
        let left_out = [1, 4];
        let numbers = (0..6).map(|expert| number(expert, &left_out));
        let expected = [Some(0), None, Some(1), Some(2), None, Some(3)];
        assert_eq!(numbers.collect::<Vec<_>>(), expected);
        assert_eq!(kept(6, &left_out), [0, 2, 3, 5]);
        let name = "model.layers.5.mlp.experts.5.up_proj.weight";
        let within = name.strip_prefix("model.layers.5.").unwrap();
        assert_eq!(renamed(within, 5, 3), "mlp.experts.3.up_proj.weight");
    }
}
