//! What a booking costs, who gets what, and what a cancellation costs. Every amount is rounded to centavos, half away
//! from zero, where it arises; sums are of rounded amounts, so that they add up in the books.

use std::time::Duration;

use rust_decimal::Decimal;

use super::geo::{Meters, km_2};
use super::ids::ServiceId;
use super::money::Money;
use super::settings::CancellationPolicy;
use super::time::Timestamp;

/// The most that commission, surcharge, discount or fee of a booking can be: the columns' width. Prices within it, and ways that
/// cost what people pay, stay within it whatever the percentages.
pub const MOST: Money = Money::centavos(99_999_999);

/// The most that a booking can come to, tips included: the column's width.
pub const MOST_TOTAL: Money = Money::centavos(9_999_999_999);

/// One service as one therapist offers it: a row of `provider_services` that is available.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Offering {
    /// Which service.
    pub service: ServiceId,
    /// The therapist's own price.
    pub price: Money,
    /// Up to here the way is free, km.
    pub base_distance_km: u32,
    /// Each kilometre beyond costs this.
    pub per_km_surcharge: Money,
    /// The therapist does not travel farther for this service, km.
    pub max_travel_km: u32,
    /// Offered at the customer's home.
    pub home: bool,
    /// Offered in the store.
    pub store: bool,
}

/// For the way: `per_km_surcharge` x max(0, km - `base_distance_km`), km straight line to two decimals.
pub fn surcharge(offering: &Offering, distance: Meters) -> Money {
    // What is no farther rounds to no farther.
    if distance <= Meters::from_km(f64::from(offering.base_distance_km)) {
        return Money::ZERO;
    }
    let beyond = (km_2(distance) - Decimal::from(offering.base_distance_km)).max(Decimal::ZERO);
    Money::rounded(offering.per_km_surcharge.decimal() * beyond)
}

/// What a promo code takes off, of service price and surcharge together. Whether the code may be used at all (time,
/// limits, minimum, services) is asked where it is redeemed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Promo {
    /// `discount_type` and `discount_value`.
    pub discount: Discount,
    /// `max_discount_amount`; caps either kind.
    pub max_discount: Option<Money>,
}

/// `promo_codes.discount_type` with its value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Discount {
    /// Percent, 0 to 100.
    Percentage(Decimal),
    /// An amount.
    FixedAmount(Money),
}

impl Promo {
    /// What it takes off `amount`: never more than the amount or [`MOST`], never less than nothing.
    pub fn discount_on(&self, amount: Money) -> Money {
        let discount = match self.discount {
            Discount::Percentage(percent) => amount.percent(percent),
            Discount::FixedAmount(fixed) => fixed,
        };
        let discount = self.max_discount.map_or(discount, |max| discount.min(max));
        discount.min(amount).min(MOST).max(Money::ZERO)
    }
}

/// The price columns of `bookings`; [`price`] makes them satisfy the table's CHECKs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Price {
    /// The therapist's own price, or the service's base price in an estimate.
    pub service_price: Money,
    /// For the way.
    pub distance_surcharge: Money,
    /// Of the platform.
    pub platform_fee: Money,
    /// Given by the customer; added later, never part of the commission.
    pub tip_amount: Money,
    /// Taken off by the promo code; borne by the platform.
    pub promo_discount: Money,
    /// What the customer pays: price + surcharge + fee + tip - promo.
    pub total_amount: Money,
    /// What the provider gets, without the tip: price + surcharge - commission.
    pub provider_earnings: Money,
    /// (price + surcharge) x rate / 100, rounded.
    pub commission_amount: Money,
    /// Percent, 0 to 100.
    pub commission_rate: Decimal,
}

impl Price {
    /// The same with the platform's fee on top: it is no part of commission or discount.
    #[must_use]
    pub fn with_platform_fee(self, fee: Money) -> Self {
        let total_amount = self.total_amount - self.platform_fee + fee;
        Self { platform_fee: fee, total_amount, ..self }
    }

    /// The same with what the customer gives on top.
    #[must_use]
    pub fn with_tip(self, tip: Money) -> Self {
        let total_amount = self.total_amount - self.tip_amount + tip;
        Self { tip_amount: tip, total_amount, ..self }
    }

    /// Whether a booking can hold it: prices that others wrote may be larger than any that is read here.
    pub fn fits(&self) -> bool {
        [self.distance_surcharge, self.commission_amount, self.platform_fee].iter().all(|part| *part <= MOST)
            && self.service_price + self.distance_surcharge + self.platform_fee + self.tip_amount <= MOST_TOTAL
    }
}

/// The price of a booking before fee and tip. `service_price` and `surcharge` are not negative, `commission_rate` is a
/// percentage (0 to 100, two decimals); then every CHECK of the bookings table on prices holds.
pub fn price(service_price: Money, surcharge: Money, commission_rate: Decimal, promo: Option<&Promo>) -> Price {
    let gross = service_price + surcharge;
    let commission_amount = gross.percent(commission_rate);
    let promo_discount = promo.map_or(Money::ZERO, |promo| promo.discount_on(gross));
    Price {
        service_price,
        distance_surcharge: surcharge,
        platform_fee: Money::ZERO,
        tip_amount: Money::ZERO,
        promo_discount,
        total_amount: gross - promo_discount,
        provider_earnings: gross - commission_amount,
        commission_amount,
        commission_rate,
    }
}

/// Who ends a booking.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CancelledBy {
    /// The customer.
    Customer,
    /// The therapist or the store.
    Provider,
    /// The therapist, at the door, with nobody there (`customer_absent`).
    ProviderCustomerAbsent,
    /// An admin.
    Admin,
    /// The service itself.
    System,
}

/// A booking that is about to be cancelled, as far as the fee asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cancellation {
    /// By whom.
    pub by: CancelledBy,
    /// `total_amount`
    pub total: Money,
    /// `tip_amount`
    pub tip: Money,
    /// `None` while pending.
    pub accepted_at: Option<Timestamp>,
    /// `None` for a `now` booking.
    pub scheduled_at: Option<Timestamp>,
}

/// What a cancellation at `now` costs the customer: nothing while pending, when provider or system cancel, early enough
/// before a scheduled booking, or soon after the accept of a `now` booking; else a percentage of the total without tip.
/// Both limits include their last instant; no fee is above [`MOST`]. A customer who is absent at the door always pays.
pub fn cancellation_fee(policy: &CancellationPolicy, booking: &Cancellation, now: Timestamp) -> Money {
    let Some(accepted_at) = booking.accepted_at else { return Money::ZERO };
    let free = match (booking.by, booking.scheduled_at) {
        (CancelledBy::ProviderCustomerAbsent, _) => false,
        (CancelledBy::Provider | CancelledBy::System, _) => true,
        (_, Some(at)) => now <= at.minus(Duration::from_secs(u64::from(policy.free_before_hours) * 3_600)),
        (_, None) => now.since(accepted_at) <= Duration::from_secs(u64::from(policy.free_after_accept_s)),
    };
    if free { Money::ZERO } else { (booking.total - booking.tip).percent(policy.fee_percentage).min(MOST) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::core::settings::Settings;

    fn offering(price: i64, base_km: u32, per_km: i64) -> Offering {
        Offering {
            service: ServiceId(1),
            price: Money::centavos(price),
            base_distance_km: base_km,
            per_km_surcharge: Money::centavos(per_km),
            max_travel_km: 10,
            home: true,
            store: false,
        }
    }

    #[test]
    fn the_surcharge_begins_beyond_the_base_distance_and_is_rounded_half_up() {
        let o = offering(80_000, 5, 1_550);
        for (metres, expect) in
            [(0.0, "0.00"), (5_004.9, "0.00"), (5_005.0, "0.16"), (7_500.0, "38.75"), (7_512.0, "38.91")]
        {
            assert_eq!(surcharge(&o, Meters::new(metres)).to_string(), expect, "{metres} m");
        }
    }

    #[test]
    fn what_no_column_can_hold_is_no_price_and_caps_discount_and_fee() {
        let huge = Money::centavos(5_000_000_000);
        let all = Promo { discount: Discount::Percentage(Decimal::ONE_HUNDRED), max_discount: None };
        let of = |service, way, rate: i64| price(service, way, Decimal::from(rate), Some(&all));
        assert!(of(MOST, Money::ZERO, 100).fits() && of(huge, MOST, 1).fits());
        assert!(!of(MOST, Money::centavos(1), 100).fits(), "the commission");
        assert!(!of(Money::ZERO, MOST + Money::centavos(1), 0).fits(), "the way");
        assert!(!of(Money::centavos(9_999_999_999), Money::centavos(1), 0).fits(), "the total");
        assert_eq!(of(huge, Money::ZERO, 1).promo_discount, MOST);
        let mut policy = Settings::default().cancellation_policy;
        policy.fee_percentage = Decimal::ONE_HUNDRED;
        let booking = Cancellation {
            by: CancelledBy::Customer,
            total: huge,
            tip: Money::ZERO,
            accepted_at: Some(Timestamp::from_secs(0)),
            scheduled_at: None,
        };
        assert_eq!(cancellation_fee(&policy, &booking, Timestamp::from_secs(86_400)), MOST);
    }

    #[test]
    fn a_promo_is_capped_by_its_maximum_and_by_the_price() {
        let take = |discount, max: Option<i64>| {
            Promo { discount, max_discount: max.map(Money::centavos) }.discount_on(Money::centavos(10_001)).to_string()
        };
        assert_eq!(take(Discount::Percentage(Decimal::new(125, 1)), None), "12.50");
        assert_eq!(take(Discount::Percentage(Decimal::from(50)), None), "50.01", "50.005 is rounded away from zero");
        assert_eq!(take(Discount::Percentage(Decimal::from(50)), Some(2_000)), "20.00");
        assert_eq!(take(Discount::FixedAmount(Money::centavos(15_000)), None), "100.01");
        assert_eq!(take(Discount::FixedAmount(Money::centavos(15_000)), Some(5_000)), "50.00");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        #[test]
        fn every_price_satisfies_the_checks_of_the_bookings_table(
            service in 0i64..10_000_000, way in 0i64..1_000_000, rate in 0i64..=10_000,
            percentage in any::<bool>(), value in 1i64..=10_000, max in proptest::option::of(1i64..1_000_000),
            fee in 0i64..100_000, tip in 0i64..100_000,
        ) {
            let promo = Promo {
                discount: if percentage { Discount::Percentage(Decimal::new(value, 2)) } else { Discount::FixedAmount(Money::centavos(value * 500)) },
                max_discount: max.map(Money::centavos),
            };
            for promo in [None, Some(&promo)] {
                let before = price(Money::centavos(service), Money::centavos(way), Decimal::new(rate, 2), promo);
                let (fee, tip) = (Money::centavos(fee), Money::centavos(tip));
                let p = before.clone().with_platform_fee(fee).with_tip(tip);
                prop_assert_eq!(p.total_amount, before.total_amount + fee + tip);
                prop_assert_eq!(&p, &p.clone().with_tip(tip).with_platform_fee(fee), "neither counts twice");
                // The CHECKs, in centavos: another arithmetic than the code's. rate is in 1/100 %, hence 10,000.
                let commission = ((service + way) * rate * 2 + 10_000) / 20_000;
                prop_assert_eq!(p.commission_amount, Money::centavos(commission));
                prop_assert_eq!(p.provider_earnings, Money::centavos(service + way - commission));
                prop_assert_eq!(p.total_amount, p.service_price + p.distance_surcharge + p.platform_fee + p.tip_amount - p.promo_discount);
                prop_assert!(p.promo_discount >= Money::ZERO && p.promo_discount <= p.service_price + p.distance_surcharge + p.platform_fee);
                prop_assert!(max.is_none_or(|max| p.promo_discount <= Money::centavos(max)));
                prop_assert!(p.total_amount >= Money::ZERO && p.provider_earnings >= Money::ZERO);
                prop_assert!(promo.is_some() || p.promo_discount == Money::ZERO);
            }
        }
    }

    #[test]
    fn cancelling_costs_half_the_total_without_tip_unless_a_reason_makes_it_free() {
        use CancelledBy::{Admin, Customer, Provider, ProviderCustomerAbsent, System};
        let policy = Settings::default().cancellation_policy;
        let minute = |m: i64| Timestamp::from_secs(m * 60);
        let day = 24 * 60;
        // by, accepted at, scheduled for, cancelled at (minutes) -> fee
        for (by, accepted, scheduled, at, fee) in [
            (Customer, None, None, 100, "0.00"),
            (Customer, None, Some(200), 199, "0.00"),
            (Customer, Some(0), None, 5, "0.00"),
            (Customer, Some(0), None, 6, "450.01"),
            (Customer, Some(0), Some(3 * day), 2 * day, "0.00"),
            (Customer, Some(0), Some(3 * day), 2 * day + 1, "450.01"),
            (Customer, Some(0), Some(100), 1, "450.01"),
            (Provider, Some(0), None, 60, "0.00"),
            (System, Some(0), None, 60, "0.00"),
            (Admin, Some(0), None, 60, "450.01"),
            (ProviderCustomerAbsent, Some(0), None, 30, "450.01"),
            (ProviderCustomerAbsent, Some(0), Some(3 * day), 30, "450.01"),
        ] {
            let booking = Cancellation {
                by,
                total: Money::centavos(100_001),
                tip: Money::centavos(10_000),
                accepted_at: accepted.map(minute),
                scheduled_at: scheduled.map(minute),
            };
            let got = cancellation_fee(&policy, &booking, minute(at));
            assert_eq!(got.to_string(), fee, "{by:?}, accepted {accepted:?}, scheduled {scheduled:?}, at {at}");
        }
    }
}
