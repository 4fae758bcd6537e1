//! Which traces are recorded, by the standard's words.

use super::TraceId;

/// Which traces are recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampler {
    /// What the caller decided stands.
    follows: bool,
    /// Of 2^63 traces so many are recorded, by their ids.
    threshold: u64,
}

/// Of which a threshold is a part.
const ALL: u64 = 1 << 63;

impl Default for Sampler {
    /// Every trace, unless its caller decided otherwise.
    fn default() -> Self {
        Self { follows: true, threshold: ALL }
    }
}

impl Sampler {
    /// By the name and the argument that `OTEL_TRACES_SAMPLER` and `OTEL_TRACES_SAMPLER_ARG` give.
    pub fn named(name: &str, argument: Option<&str>) -> Result<Self, String> {
        let (follows, base) = match name.strip_prefix("parentbased_") {
            Some(base) => (true, base),
            None => (false, name),
        };
        let threshold = match base {
            "always_on" => ALL,
            "always_off" => 0,
            "traceidratio" => share(argument.unwrap_or("1"))?,
            _ => {
                return Err(format!(
                    "OTEL_TRACES_SAMPLER: {name:?} is not known; write always_on, always_off or traceidratio, or one of \
                     them after parentbased_"
                ));
            }
        };
        Ok(Self { follows, threshold })
    }

    /// Whether a trace is recorded of which a caller may have decided.
    pub fn samples(&self, trace: TraceId, decided: Option<bool>) -> bool {
        // The lower half of an id, of which the standard takes 63 bits.
        let low = u128::from_be_bytes(trace.0) & u128::from(u64::MAX);
        let by_id = (low >> 1) < u128::from(self.threshold);
        decided.filter(|_| self.follows).unwrap_or(by_id)
    }
}

fn share(argument: &str) -> Result<u64, String> {
    let ratio: f64 = argument.trim().parse().unwrap_or(f64::NAN);
    if !(0.0..=1.0).contains(&ratio) {
        return Err(format!("OTEL_TRACES_SAMPLER_ARG: {argument:?} is no share; write 0.0 to 1.0"));
    }
    // Below 2^63, and not negative.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a share of 2^63"
    )]
    let threshold = (ratio * ALL as f64) as u64;
    Ok(threshold)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_recorded_and_the_callers_word_stands() {
        let ids: Vec<_> = (0..4000_u64)
            .map(|it| super::super::SpanId::numbered(b"x", it).0)
            .map(|low| TraceId([[0; 8], low].concat().try_into().unwrap()))
            .collect();
        let count = |it: &Sampler, said| ids.iter().filter(|id| it.samples(**id, said)).count();
        let tenth = Sampler::named("parentbased_traceidratio", Some("0.1")).unwrap();
        assert!((300..500).contains(&count(&tenth, None)), "{}", count(&tenth, None));
        assert_eq!(count(&tenth, Some(true)), ids.len(), "the caller decided");
        let own = Sampler::named("traceidratio", Some("0.1")).unwrap();
        assert_eq!(count(&own, Some(true)), count(&tenth, None), "by the id alone");
        assert_eq!(count(&Sampler::default(), None), ids.len());
        assert_eq!(count(&Sampler::named("always_off", None).unwrap(), None), 0);
        assert!(Sampler::named("sometimes", None).unwrap_err().contains("traceidratio"));
        for bad in ["1.5", "-1", "x", "NaN"] {
            assert!(Sampler::named("traceidratio", Some(bad)).is_err(), "{bad}");
        }
    }
}
