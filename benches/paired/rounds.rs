//! Paired measurement: in each round every variant runs one short slice, in shuffled order. A ratio
//! is that of two slices of the same round, so that what else the machine does hits both.

use crate::conn::Outcome;
use crate::server::Sample;

/// One way of doing the work of a case.
pub(crate) struct Variant<'a> {
    /// What the table calls it.
    pub(crate) name: &'static str,
    /// Runs one slice: prepares, measures, cleans up.
    pub(crate) slice: Box<dyn FnMut() -> Outcome<Sample> + 'a>,
}

/// What is promised about a ratio.
#[derive(Clone, Copy)]
pub(crate) enum Goal {
    /// Throughput against the base's.
    AtLeast(f64),
    /// The server's CPU time for an event against the base's: for what must cost nothing, where the
    /// wall would mostly show how busy the machine is.
    CpuAtLeast(f64),
    /// Latency against the base's.
    AtMost(f64),
    /// Latency, of which nothing is promised.
    Slower,
    /// Throughput, of which nothing is promised.
    None,
}

/// Two variants to compare.
pub(crate) struct Pair {
    /// The one that is judged.
    pub(crate) variant: &'static str,
    /// What it is judged by.
    pub(crate) base: &'static str,
    /// What is wanted.
    pub(crate) goal: Goal,
}

/// A question with its variants.
pub(crate) struct Case<'a> {
    /// What it is selected by.
    pub(crate) name: String,
    /// The variants.
    pub(crate) variants: Vec<Variant<'a>>,
    /// The comparisons.
    pub(crate) pairs: Vec<Pair>,
}

/// Median and quartiles over the rounds.
#[derive(Clone, Copy)]
pub(crate) struct Spread {
    /// A quarter of the rounds is below.
    pub(crate) low: f64,
    /// Half of them are.
    pub(crate) median: f64,
    /// Three quarters are.
    pub(crate) high: f64,
}

impl Spread {
    /// Of these values; zeros if there are none.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let at = |share| quantile(&values, share);
        Self { low: at(0.25), median: at(0.5), high: at(0.75) }
    }
}

/// The value below which this share of the sorted `values` lies.
pub(crate) fn quantile(values: &[f64], share: f64) -> f64 {
    let last = values.len().saturating_sub(1) as f64;
    values.get((last * share).round() as usize).copied().unwrap_or_default()
}

/// The samples of a case: one per round for each variant.
pub(crate) struct Measured {
    /// The case's name.
    pub(crate) case: String,
    /// Variants in the order of the case, with their samples in the order of the rounds.
    pub(crate) samples: Vec<(&'static str, Vec<Sample>)>,
    /// The comparisons.
    pub(crate) pairs: Vec<Pair>,
}

impl Measured {
    /// The samples of a variant.
    pub(crate) fn of(&self, variant: &str) -> &[Sample] {
        let found = self.samples.iter().find(|(name, _)| *name == variant);
        found.map_or(&[], |(_, samples)| samples)
    }

    /// The ratio of a pair by what `of` reads from a sample: how much faster the variant is, or
    /// for a latency how much longer.
    pub(crate) fn ratio(&self, pair: &Pair, of: impl Fn(&Sample) -> f64) -> Spread {
        let rounds = self.of(pair.variant).iter().zip(self.of(pair.base));
        Spread::of(rounds.map(|(variant, base)| match pair.goal {
            Goal::AtMost(_) | Goal::Slower => of(variant) / of(base),
            Goal::AtLeast(_) | Goal::CpuAtLeast(_) | Goal::None => of(base) / of(variant),
        }))
    }
}

/// A shuffle that a seed repeats.
pub(crate) struct Shuffle(pub(crate) u64);

impl Shuffle {
    fn next(&mut self) -> u64 {
        // xorshift64: any order will do, as long as none is preferred.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn order(&mut self, count: usize) -> Vec<usize> {
        let mut order: Vec<(u64, usize)> = (0..count).map(|n| (self.next(), n)).collect();
        order.sort_unstable();
        order.into_iter().map(|(_, n)| n).collect()
    }
}

/// Runs a case: one round to warm up, which does not count, then `rounds`.
pub(crate) fn run(case: Case<'_>, rounds: usize, shuffle: &mut Shuffle) -> Outcome<Measured> {
    let Case { name, mut variants, pairs } = case;
    let mut samples: Vec<_> = variants.iter().map(|v| (v.name, Vec::new())).collect();
    for round in 0..=rounds {
        for n in shuffle.order(variants.len()) {
            let (Some(variant), Some((_, samples))) = (variants.get_mut(n), samples.get_mut(n))
            else {
                continue;
            };
            let sample =
                (variant.slice)().map_err(|error| format!("{name}, {}: {error}", variant.name))?;
            if round > 0 {
                samples.push(sample);
            }
        }
    }
    Ok(Measured { case: name, samples, pairs })
}
