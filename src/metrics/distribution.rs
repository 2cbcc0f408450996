//! A histogram in five numbers, for people and for machines that draw them.

use hdrhistogram::Histogram as Hdr;

/// What a histogram shows, in the unit of what was recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Distribution {
    /// Values recorded.
    pub count: u64,
    /// Their mean.
    pub mean: f64,
    /// Their median.
    pub p50: u64,
    /// 99 of 100 are at most this.
    pub p99: u64,
    /// The largest.
    pub max: u64,
}

impl Distribution {
    pub(super) fn of(hdr: &Hdr<u64>) -> Distribution {
        Distribution {
            count: hdr.len(),
            mean: hdr.mean(),
            p50: hdr.value_at_quantile(0.50),
            p99: hdr.value_at_quantile(0.99),
            max: hdr.max(),
        }
    }
}
