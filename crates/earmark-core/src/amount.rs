//! Amounts: whole numbers from 0 to 2⁵³−1, with checked arithmetic (R1).
//!
//! Always holds: an [`Amount`] is in range. Money is an amount of micro-dollars. Signed
//! changes of a counter are plain `i64`: the sum of any two amounts fits.

use crate::bounds::AMOUNT_MAX;

/// How much of a meter: 0 to 2⁵³−1 (R1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Amount(i64);

impl Amount {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// The largest amount, 2⁵³−1.
    pub const MAX: Self = Self(AMOUNT_MAX);

    /// Returns the amount, or `None` outside 0 to 2⁵³−1.
    ///
    /// ```
    /// use earmark_core::Amount;
    /// assert_eq!(Amount::new(50).map(Amount::get), Some(50));
    /// assert_eq!(Amount::new(-1), None);
    /// assert_eq!(Amount::new(1 << 53), None);
    /// ```
    pub const fn new(value: i64) -> Option<Self> {
        if value >= 0 && value <= AMOUNT_MAX { Some(Self(value)) } else { None }
    }

    /// The number.
    pub const fn get(self) -> i64 {
        self.0
    }

    /// Whether it is nothing.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// The sum, or `None` past the top.
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        Self::new(self.0 + other.0)
    }

    /// What is left of `self` after `other`, at least 0.
    pub const fn saturating_sub(self, other: Self) -> Self {
        if self.0 > other.0 { Self(self.0 - other.0) } else { Self(0) }
    }

    /// Brings a sum of amounts back into range from both ends. For figures that are shown
    /// or compared, never for what is stored.
    pub(crate) fn clamped(value: i64) -> Self {
        Self(value.clamp(0, AMOUNT_MAX))
    }
}

impl std::fmt::Display for Amount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// How much a hold asks for: exactly `min` where both are equal, else the largest amount
/// between them that fits (R12).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AmountRange {
    min: Amount,
    max: Amount,
}

impl AmountRange {
    /// A range, or `None` when `min` is above `max`.
    pub fn new(min: Amount, max: Amount) -> Option<Self> {
        (min <= max).then_some(Self { min, max })
    }

    /// Exactly this much.
    pub const fn exactly(amount: Amount) -> Self {
        Self { min: amount, max: amount }
    }

    /// The least that is accepted; below it the hold is denied.
    pub const fn min(self) -> Amount {
        self.min
    }

    /// The most that is taken.
    pub const fn max(self) -> Amount {
        self.max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_checked_at_the_top() {
        assert_eq!(Amount::MAX.get(), 9_007_199_254_740_991);
        let one = Amount::new(1).unwrap();
        assert_eq!(Amount::MAX.checked_add(one), None);
        assert_eq!(Amount::MAX.saturating_sub(one).checked_add(one), Some(Amount::MAX));
        assert_eq!(one.saturating_sub(Amount::MAX), Amount::ZERO);
        assert_eq!(Amount::new(i64::MIN), None);
        assert_eq!(AmountRange::new(one, Amount::ZERO), None);
    }
}
