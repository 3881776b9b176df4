//! Arithmetic with PostgreSQL's rules for the scale of results (`numeric.c`).

use std::cmp::Ordering;
use std::ops::Neg;

use super::{DEC_DIGITS, MAX_DSCALE, NBASE, Numeric, Sign};
use crate::error::{TypeError, sqlstate};

/// Significant decimal digits that a quotient has at least (`NUMERIC_MIN_SIG_DIGITS`).
const MIN_SIG_DIGITS: i32 = 16;
/// Most decimals that a quotient shows (`NUMERIC_MAX_DISPLAY_SCALE`).
const MAX_DISPLAY_SCALE: i32 = 1000;

impl Numeric {
    fn signum(&self) -> i32 {
        match self.sign {
            Sign::Nan => 0,
            Sign::Positive => i32::from(!self.digits.is_empty()),
            Sign::PositiveInfinity => 1,
            Sign::Negative | Sign::NegativeInfinity => -1,
        }
    }

    fn signed_infinity(positive: bool) -> Numeric {
        if positive {
            Numeric::INFINITY
        } else {
            Numeric::NEG_INFINITY
        }
    }

    fn checked(self) -> Result<Numeric, TypeError> {
        self.check_range()?;
        Ok(self)
    }

    /// The number without its sign.
    #[must_use]
    pub fn abs(self) -> Numeric {
        if self.signum() < 0 { -self } else { self }
    }

    /// The sum, with the larger of the two scales.
    ///
    /// # Errors
    /// 22003 if the format cannot hold it.
    pub fn add(&self, other: &Numeric) -> Result<Numeric, TypeError> {
        if !self.is_finite() || !other.is_finite() {
            return Ok(match (self.sign, other.sign) {
                (Sign::Nan, _) | (_, Sign::Nan) => Numeric::NAN,
                (Sign::PositiveInfinity, Sign::NegativeInfinity)
                | (Sign::NegativeInfinity, Sign::PositiveInfinity) => Numeric::NAN,
                (Sign::PositiveInfinity | Sign::NegativeInfinity, _) => self.clone(),
                _ => other.clone(),
            });
        }
        let dscale = self.dscale.max(other.dscale);
        let negative = self.sign == Sign::Negative;
        let (negative, weight, digits) = if self.sign == other.sign {
            let (weight, digits) = add_magnitudes(self, other);
            (negative, weight, digits)
        } else {
            match self.cmp_magnitude(other) {
                Ordering::Equal => (false, 0, Vec::new()),
                Ordering::Greater => {
                    let (weight, digits) = subtract_magnitudes(self, other);
                    (negative, weight, digits)
                }
                Ordering::Less => {
                    let (weight, digits) = subtract_magnitudes(other, self);
                    (!negative, weight, digits)
                }
            }
        };
        Numeric::from_parts(negative, weight, dscale, digits).checked()
    }

    /// The difference, with the larger of the two scales.
    ///
    /// # Errors
    /// 22003 if the format cannot hold it.
    pub fn sub(&self, other: &Numeric) -> Result<Numeric, TypeError> {
        self.add(&-other.clone())
    }

    /// The exact product, its scale the sum of the two.
    ///
    /// # Errors
    /// 22003 if the format cannot hold it.
    pub fn mul(&self, other: &Numeric) -> Result<Numeric, TypeError> {
        if !self.is_finite() || !other.is_finite() {
            let sign = self.signum() * other.signum();
            // Zero times infinity is NaN.
            return Ok(if self.is_nan() || other.is_nan() || sign == 0 {
                Numeric::NAN
            } else {
                Numeric::signed_infinity(sign > 0)
            });
        }
        let mut sums = vec![0i64; self.digits.len() + other.digits.len()];
        // From the lowest row up, so that a row's last carry meets an empty place.
        for (i, &a) in self.digits.iter().enumerate().rev() {
            let mut carry = 0i64;
            for (j, &b) in other.digits.iter().enumerate().rev() {
                let sum = sums[i + j + 1] + i64::from(a) * i64::from(b) + carry;
                sums[i + j + 1] = sum % i64::from(NBASE);
                carry = sum / i64::from(NBASE);
            }
            sums[i] = carry;
        }
        let digits = sums.into_iter().map(|digit| digit as i16).collect();
        let negative = self.sign != other.sign;
        let weight = self.weight + other.weight + 1;
        let dscale = self.dscale + other.dscale;
        let mut product = Numeric::from_parts(negative, weight, dscale, digits);
        if dscale > MAX_DSCALE {
            product.round_to(MAX_DSCALE);
        }
        product.checked()
    }

    /// The quotient, with at least 16 significant digits and no fewer decimals than the operands.
    ///
    /// # Errors
    /// 22012 for a divisor of zero, 22003 if the format cannot hold the quotient.
    pub fn div(&self, other: &Numeric) -> Result<Numeric, TypeError> {
        if self.is_nan() || other.is_nan() {
            return Ok(Numeric::NAN);
        }
        if !self.is_finite() {
            if !other.is_finite() {
                return Ok(Numeric::NAN);
            }
            return match self.signum() * other.signum() {
                0 => Err(TypeError::division_by_zero()),
                sign => Ok(Numeric::signed_infinity(sign > 0)),
            };
        }
        if !other.is_finite() {
            return Ok(Numeric::ZERO);
        }
        if other.digits.is_empty() {
            return Err(TypeError::division_by_zero());
        }
        let scale = division_scale(self, other);
        divide(self, other, scale, true).checked()
    }

    /// The quotient cut to an integer (`div()`).
    ///
    /// # Errors
    /// 22012 for a divisor of zero, 22003 if the format cannot hold the quotient.
    pub fn div_trunc(&self, other: &Numeric) -> Result<Numeric, TypeError> {
        if !self.is_finite() || !other.is_finite() {
            return self.div(other);
        }
        if other.digits.is_empty() {
            return Err(TypeError::division_by_zero());
        }
        divide(self, other, 0, false).checked()
    }

    /// The remainder with the dividend's sign and the larger of the two scales.
    ///
    /// # Errors
    /// 22012 for a divisor of zero.
    pub fn rem(&self, other: &Numeric) -> Result<Numeric, TypeError> {
        if self.is_nan() || other.is_nan() {
            return Ok(Numeric::NAN);
        }
        if !self.is_finite() {
            if other.is_zero() {
                return Err(TypeError::division_by_zero());
            }
            return Ok(Numeric::NAN);
        }
        if !other.is_finite() {
            return Ok(self.clone());
        }
        let quotient = self.div_trunc(other)?;
        let mut whole = quotient.mul(other)?;
        whole.dscale = other.dscale;
        self.sub(&whole)
    }

    /// Rounds half away from zero to `scale` decimals; below 0, before the point.
    ///
    /// # Errors
    /// 22003 if the format cannot hold it.
    pub fn round(&self, scale: i32) -> Result<Numeric, TypeError> {
        self.with_scale(scale, true)
    }

    /// Cuts the decimals behind `scale`; below 0, before the point.
    ///
    /// # Errors
    /// 22003 if the format cannot hold it.
    pub fn trunc(&self, scale: i32) -> Result<Numeric, TypeError> {
        self.with_scale(scale, false)
    }

    fn with_scale(&self, scale: i32, round: bool) -> Result<Numeric, TypeError> {
        if !self.is_finite() {
            return Ok(self.clone());
        }
        // PostgreSQL limits the argument to what can have an effect.
        let scale = scale.clamp(-(131_072 + 1), MAX_DSCALE);
        let mut result = self.clone();
        result.cut_to(scale, round);
        result.dscale = result.dscale.max(0);
        result.checked()
    }

    /// The nearest integer not below.
    ///
    /// # Errors
    /// 22003 if the format cannot hold it.
    pub fn ceil(&self) -> Result<Numeric, TypeError> {
        let cut = self.trunc(0)?;
        if self.is_finite() && *self > cut {
            cut.add(&Numeric::from(1i64))
        } else {
            Ok(cut)
        }
    }

    /// The nearest integer not above.
    ///
    /// # Errors
    /// 22003 if the format cannot hold it.
    pub fn floor(&self) -> Result<Numeric, TypeError> {
        let cut = self.trunc(0)?;
        if self.is_finite() && *self < cut {
            cut.sub(&Numeric::from(1i64))
        } else {
            Ok(cut)
        }
    }

    /// The square root, with at least 16 significant digits (`sqrt_var`).
    ///
    /// # Errors
    /// 2201F for a negative number.
    pub fn sqrt(&self) -> Result<Numeric, TypeError> {
        if self.signum() < 0 {
            return Err(TypeError::new(
                sqlstate::INVALID_ARGUMENT_FOR_POWER_FUNCTION,
                "cannot take square root of a negative number",
            ));
        }
        if !self.is_finite() {
            return Ok(self.clone());
        }
        let result_weight = if self.weight >= 0 {
            self.weight * DEC_DIGITS / 2 + 1
        } else {
            1 - (1 - self.weight * DEC_DIGITS) / 2
        };
        let scale = (MIN_SIG_DIGITS - result_weight)
            .max(self.dscale)
            .clamp(0, MAX_DISPLAY_SCALE);
        if self.digits.is_empty() {
            return Ok(Numeric {
                dscale: scale,
                ..Numeric::ZERO
            });
        }
        // Newton's iteration on the integer self * 10^(2 * digits), with two decimals to round.
        let work_scale = scale + 2;
        let two = Numeric::from(2i64);
        let guess_exponent = (self.weight + 1) * DEC_DIGITS / 2 + 1;
        let mut guess = Numeric::parse(&format!("1e{guess_exponent}"))?;
        loop {
            let quotient = divide(self, &guess, work_scale, false);
            let sum = guess.add(&quotient)?;
            let next = divide(&sum, &two, work_scale, false);
            if next >= guess {
                break;
            }
            guess = next;
        }
        guess.round_to(scale);
        guess.checked()
    }
}

impl Neg for Numeric {
    type Output = Numeric;

    fn neg(mut self) -> Numeric {
        self.sign = match self.sign {
            Sign::Positive if self.digits.is_empty() => Sign::Positive,
            Sign::Positive => Sign::Negative,
            Sign::Negative => Sign::Positive,
            Sign::PositiveInfinity => Sign::NegativeInfinity,
            Sign::NegativeInfinity => Sign::PositiveInfinity,
            Sign::Nan => Sign::Nan,
        };
        self
    }
}

/// Decimals of a quotient (`select_div_scale`).
fn division_scale(dividend: &Numeric, divisor: &Numeric) -> i32 {
    let first = |number: &Numeric| number.digits.first().copied().unwrap_or(0);
    let mut weight = dividend.weight - divisor.weight;
    if first(dividend) <= first(divisor) {
        weight -= 1;
    }
    (MIN_SIG_DIGITS - weight * DEC_DIGITS)
        .max(dividend.dscale)
        .max(divisor.dscale)
        .clamp(0, MAX_DISPLAY_SCALE)
}

fn add_magnitudes(a: &Numeric, b: &Numeric) -> (i32, Vec<i16>) {
    let high = a.weight.max(b.weight) + 1;
    let low = (a.weight - a.digits.len() as i32).min(b.weight - b.digits.len() as i32) + 1;
    let mut digits = vec![0i16; (high - low + 1).max(0) as usize];
    let mut carry = 0;
    for (slot, weight) in digits.iter_mut().rev().zip(low..) {
        let sum = i32::from(a.digit_at(weight)) + i32::from(b.digit_at(weight)) + carry;
        carry = i32::from(sum >= NBASE);
        *slot = (sum - carry * NBASE) as i16;
    }
    (high, digits)
}

/// `a - b`, where `a` is not below `b`.
fn subtract_magnitudes(a: &Numeric, b: &Numeric) -> (i32, Vec<i16>) {
    let high = a.weight.max(b.weight);
    let low = (a.weight - a.digits.len() as i32).min(b.weight - b.digits.len() as i32) + 1;
    let mut digits = vec![0i16; (high - low + 1).max(0) as usize];
    let mut borrow = 0;
    for (slot, weight) in digits.iter_mut().rev().zip(low..) {
        let difference = i32::from(a.digit_at(weight)) - i32::from(b.digit_at(weight)) - borrow;
        borrow = i32::from(difference < 0);
        *slot = (difference + borrow * NBASE) as i16;
    }
    (high, digits)
}

/// The quotient to `scale` decimals, rounded half away from zero or cut. Long division in base
/// 10000 (Knuth, The Art of Computer Programming 4.3.1, algorithm D).
fn divide(dividend: &Numeric, divisor: &Numeric, scale: i32, round: bool) -> Numeric {
    let negative = dividend.sign != divisor.sign;
    if dividend.digits.is_empty() {
        return Numeric {
            dscale: scale,
            ..Numeric::ZERO
        };
    }
    let weight = dividend.weight - divisor.weight;
    // Enough digits for the scale, and one to round by.
    let count = (weight + 1 + scale.div_euclid(DEC_DIGITS) + 2).max(1) as usize;
    let base = i64::from(NBASE);
    let n = divisor.digits.len();
    // The scaling makes the divisor's first digit large, so that guesses are off by two at most.
    let factor = base / (i64::from(divisor.digits[0]) + 1);
    let scale_up = |digits: &[i16], out: &mut Vec<i64>| {
        let start = out.len();
        out.extend(digits.iter().map(|&digit| i64::from(digit) * factor));
        for index in (start..out.len()).rev() {
            let carry = out[index] / base;
            out[index] %= base;
            if index > 0 {
                out[index - 1] += carry;
            }
        }
    };
    let mut v = Vec::with_capacity(n);
    scale_up(&divisor.digits, &mut v);
    let mut u = Vec::with_capacity(count + n + 1);
    u.push(0);
    scale_up(&dividend.digits, &mut u);
    // Digits past those needed only matter by whether the rest is zero, and not even that when
    // rounding half up on the next digit.
    u.resize(u.len().max(count + n + 1), 0);
    let mut quotient = Vec::with_capacity(count);
    for j in 0..count {
        let top = u[j] * base + u[j + 1];
        let mut guess = top / v[0];
        let mut rest = top % v[0];
        while guess >= base
            || (n > 1 && guess * v[1] > rest * base + u.get(j + 2).copied().unwrap_or(0))
        {
            guess -= 1;
            rest += v[0];
            if rest >= base {
                break;
            }
        }
        let mut borrow = 0;
        for i in (0..n).rev() {
            let mut difference = u[j + 1 + i] - guess * v[i] - borrow;
            borrow = 0;
            if difference < 0 {
                borrow = (-difference + base - 1) / base;
                difference += borrow * base;
            }
            u[j + 1 + i] = difference;
        }
        u[j] -= borrow;
        if u[j] < 0 {
            guess -= 1;
            let mut carry = 0;
            for i in (0..n).rev() {
                let sum = u[j + 1 + i] + v[i] + carry;
                carry = sum / base;
                u[j + 1 + i] = sum % base;
            }
            u[j] += carry;
        }
        quotient.push(guess as i16);
    }
    let mut result = Numeric::from_parts(negative, weight, scale, quotient);
    result.cut_to(scale, round);
    if result.digits.is_empty() {
        result.sign = Sign::Positive;
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Numeric {
        text.parse().unwrap()
    }

    #[test]
    fn quotients_times_divisors_come_back() {
        let mut state = 88_172_645_463_325_252u64;
        let mut random = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        for _ in 0..2000 {
            let a = (u128::from(random()) << 50 | u128::from(random() >> 20)) >> (random() % 100);
            let b = ((u128::from(random()) << 30 | u128::from(random())) >> (random() % 80)) | 1;
            let (a, b) = (a as i128 & i128::MAX, b as i128 & i128::MAX);
            let quotient = Numeric::from_i128(a, 0)
                .div_trunc(&Numeric::from_i128(b, 0))
                .unwrap();
            assert_eq!(quotient.to_i128(0), Some(a / b), "{a} / {b}");
            let rest = Numeric::from_i128(a, 0)
                .rem(&Numeric::from_i128(b, 0))
                .unwrap();
            assert_eq!(rest.to_i128(0), Some(a % b), "{a} % {b}");
        }
    }

    #[test]
    fn scales_of_quotients() {
        assert_eq!(
            number("1").div(&number("3")).unwrap().to_string(),
            "0.33333333333333333333"
        );
        assert_eq!(
            number("10").div(&number("2")).unwrap().to_string(),
            "5.0000000000000000"
        );
        assert_eq!(number("1").div(&number("0")).unwrap_err().sqlstate, "22012");
    }

    #[test]
    fn floor_and_ceiling() {
        assert_eq!(number("-1.5").floor().unwrap().to_string(), "-2");
        assert_eq!(number("-1.5").ceil().unwrap().to_string(), "-1");
        assert_eq!(number("1.00").ceil().unwrap().to_string(), "1");
    }
}
