//! Logarithms of the gamma and beta functions, for mixtures of binomial likelihoods. The standard library has none that is stable.

/// Logarithm of the beta function.
pub(super) fn ln_beta(one: f64, other: f64) -> f64 {
    ln_gamma(one) + ln_gamma(other) - ln_gamma(one + other)
}

/// Logarithm of gamma by Stirling's series, after enough steps of `gamma(x + 1) = x gamma(x)` that its fourth term is
/// too small for a float.
pub(super) fn ln_gamma(at: f64) -> f64 {
    let (mut at, mut steps) = (at, 1.0);
    while at < 16.0 {
        steps *= at;
        at += 1.0;
    }
    let square = at * at;
    let series =
        (1.0 / 12.0 - (1.0 / 360.0 - (1.0 / 1_260.0 - 1.0 / 1_680.0 / square) / square) / square) / at;
    (at - 0.5) * at.ln() - at + 0.5 * std::f64::consts::TAU.ln() + series - f64::ln(steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_logarithm_of_gamma_is_exact_to_twelve_digits() {
        let mut factorial = 0.0;
        for n in 1..=170_u32 {
            assert!((ln_gamma(f64::from(n)) - factorial).abs() <= 1e-12 * (1.0 + factorial), "{n}");
            factorial += f64::from(n).ln();
        }
        assert!((ln_gamma(0.5) - std::f64::consts::PI.sqrt().ln()).abs() < 1e-12);
        assert!((ln_gamma(0.1) - 2.252_712_651_734_206).abs() < 1e-12);
    }
}
