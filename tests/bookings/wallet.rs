//! Bookings paid from the customer's wallet: money adds up, whoever is first.

use spacall::core::booking::Status;
use spacall::core::dispatch::EndReason;
use spacall::core::ids::{BookingId, UserId};
use spacall::core::money::Money;
use spacall::core::pricing::{self, Discount, Promo};
use spacall::store::bookings::{EndOutcome, TransitionOutcome};
use spacall::store::offers::{self, AcceptOutcome};

use super::world::{Therapist, World};

impl World {
    /// A customer with so much in his wallet, put there through the ledger.
    async fn wealthy(&self, centavos: i64) -> UserId {
        let customer = self.customer().await;
        sqlx::query(
            "WITH had AS (UPDATE wallets SET balance = balance + $2::bigint / 100.0 WHERE user_id = $1 RETURNING id, balance)
             INSERT INTO wallet_transactions (wallet_id, type, amount, balance_before, balance_after, description)
             SELECT id, 'credit', $2::bigint / 100.0, balance - $2::bigint / 100.0, balance, 'Top-up' FROM had",
        )
        .bind(customer.0)
        .bind(centavos)
        .execute(self.pool())
        .await
        .expect("a statement");
        customer
    }

    /// What he has, centavos: the balance, which must be the sum of its ledger, line by line and in all, and agree with the
    /// transactions of his bookings.
    async fn holds(&self, customer: UserId) -> i64 {
        let (balance, ledger, bookings, unbroken): (i64, i64, i64, bool) = sqlx::query_as(
            "SELECT (w.balance * 100)::bigint,
                    (SELECT COALESCE(sum(CASE type WHEN 'credit' THEN amount ELSE -amount END) * 100, 0)::bigint
                     FROM wallet_transactions WHERE wallet_id = w.id),
                    (SELECT COALESCE(sum(CASE type WHEN 'refund' THEN t.amount ELSE -t.amount END) * 100, 0)::bigint
                     FROM transactions t WHERE t.user_id = w.user_id),
                    (SELECT COALESCE(bool_and(l.balance_before = l.before), TRUE)
                     FROM (SELECT balance_before, COALESCE(lag(balance_after) OVER (ORDER BY id), 0) AS before
                           FROM wallet_transactions WHERE wallet_id = w.id) l)
             FROM wallets w WHERE w.user_id = $1",
        )
        .bind(customer.0)
        .fetch_one(self.pool())
        .await
        .expect("a wallet");
        assert_eq!(balance, ledger, "the balance is the sum of its ledger");
        assert!(unbroken, "each line begins where the one before it ended");
        let top_ups = self
            .one(
                "SELECT COALESCE(sum(amount) * 100, 0)::bigint FROM wallet_transactions l JOIN wallets w ON w.id = l.wallet_id
                 WHERE w.user_id = $1 AND l.reference_id IS NULL",
                customer.0,
            )
            .await;
        assert_eq!(balance, top_ups + bookings, "each line has its transaction");
        balance
    }

    async fn by_wallet(&self, customer: UserId) -> BookingId {
        let mut new = self.new_booking(customer).await;
        new.payment_method = "wallet".to_owned();
        self.create(&new).await
    }

    /// 915.00 with this therapist.
    async fn accepted_by(&self, booking: BookingId, therapist: Therapist) -> AcceptOutcome {
        let offer = self.offer(booking, therapist, 1).await;
        offers::accept(self.pool(), offer, therapist.provider).await.expect("a statement")
    }
}

#[tokio::test]
async fn the_accept_takes_what_it_costs_and_a_cancellation_gives_it_back_less_the_fee() {
    let w = World::new().await;
    // Cancelled so many minutes after the accept, by the customer or the therapist -> what is left of 1000.00
    for (minutes, by_customer, left) in [(0, true, 100_000), (6, true, 54_250), (6, false, 100_000)] {
        let (customer, therapist) = (w.wealthy(100_000).await, w.therapist().await);
        let booking = w.by_wallet(customer).await;
        assert_eq!(w.holds(customer).await, 100_000, "nothing is set aside");
        let won = w.accepted_by(booking, therapist).await;
        assert!(matches!(won, AcceptOutcome::Accepted(_)), "{won:?}");
        assert_eq!(w.holds(customer).await, 8_500);
        assert_eq!(
            w.one("SELECT (total_spent * 100)::bigint FROM wallets WHERE user_id = $1", customer.0).await,
            91_500
        );
        if minutes > 0 {
            w.run("UPDATE bookings SET accepted_at = accepted_at - interval '6 min' WHERE id = $1", booking.0).await;
        }
        w.moved(booking, if by_customer { customer } else { therapist.user }, Status::Cancelled).await;
        assert_eq!(w.holds(customer).await, left, "{minutes} {by_customer}");
    }
}

#[tokio::test]
async fn what_others_give_back_in_sql_is_paid_once_by_whoever_accepts_next_or_refunded_at_its_end() {
    let w = World::new().await;
    // Whether a therapist takes it again, and whether their SQL has released his offer too.
    for (taken_again, released) in [(true, false), (true, true), (false, false)] {
        let (customer, first, second) = (w.wealthy(100_000).await, w.therapist().await, w.therapist().await);
        let booking = w.by_wallet(customer).await;
        w.accepted_by(booking, first).await;
        w.run("UPDATE bookings SET status = 'pending' WHERE id = $1", booking.0).await;
        if released {
            let release = "UPDATE booking_offers SET status = 'released' WHERE booking_id = $1 AND status = 'accepted'";
            assert_eq!(w.run(release, booking.0).await, 1);
        }
        assert_eq!(w.holds(customer).await, 8_500, "the statement knew nothing of wallets");
        if taken_again {
            let mut offer = w.new_offer(booking, second, 1).await;
            offer.round = 2;
            let offer = match offers::persist(w.pool(), &offer).await.expect("a statement") {
                offers::PersistOutcome::Offered(persisted) => persisted.offer,
                other => panic!("{other:?}"),
            };
            let won = offers::accept(w.pool(), offer, second.provider).await.expect("a statement");
            assert!(matches!(won, AcceptOutcome::Accepted(_)), "{won:?}");
            assert_eq!(w.holds(customer).await, 8_500, "paid once");
            let released = "SELECT count(*) FROM booking_offers WHERE booking_id = $1 AND status = 'released'";
            assert_eq!(w.one(released, booking.0).await, 1);
        } else {
            w.make_overdue(booking).await;
            let ended = w.end(booking, EndReason::NoTherapistAvailable).await;
            assert!(matches!(ended, EndOutcome::Ended { .. }), "{ended:?}");
            assert_eq!(w.holds(customer).await, 100_000);
        }
    }
}

#[tokio::test]
async fn a_repeated_accept_pays_once_and_what_was_done_stays_paid() {
    let w = World::new().await;
    let (customer, therapist) = (w.wealthy(200_000).await, w.therapist().await);
    let booking = w.by_wallet(customer).await;
    let offer = w.offer(booking, therapist, 1).await;
    for _ in 0..3 {
        let won = offers::accept(w.pool(), offer, therapist.provider).await.expect("a statement");
        assert!(matches!(won, AcceptOutcome::Accepted(_)), "{won:?}");
    }
    for to in [Status::EnRoute, Status::Arrived, Status::InProgress, Status::Completed] {
        w.moved(booking, therapist.user, to).await;
    }
    assert_eq!(w.holds(customer).await, 108_500);
}

#[tokio::test]
async fn a_booking_given_back_is_paid_back_and_paid_anew_by_the_next_accept() {
    let w = World::new().await;
    let (customer, first, second) = (w.wealthy(100_000).await, w.therapist().await, w.therapist().await);
    w.run("UPDATE provider_services SET price = 500 WHERE provider_id = $1", second.provider.0).await;
    let booking = w.by_wallet(customer).await;
    w.accepted_by(booking, first).await;
    w.moved(booking, first.user, Status::Pending).await;
    assert_eq!(w.holds(customer).await, 100_000);
    let mut offer = w.new_offer(booking, second, 1).await;
    offer.round = 2;
    let offers::PersistOutcome::Offered(offer) = offers::persist(w.pool(), &offer).await.expect("a statement") else {
        panic!("not offered")
    };
    offers::accept(w.pool(), offer.offer, second.provider).await.expect("a statement");
    assert_eq!(w.holds(customer).await, 48_500);
    // The second payment is given back once, and not the first again.
    w.moved(booking, second.user, Status::Cancelled).await;
    assert_eq!(w.holds(customer).await, 100_000);
}

#[tokio::test]
async fn too_little_at_the_accept_ends_the_booking_and_leaves_nobody_with_a_share() {
    let w = World::new().await;
    let (customer, therapist, other) = (w.wealthy(91_499).await, w.therapist().await, w.therapist().await);
    let booking = w.by_wallet(customer).await;
    let rival = w.offer(booking, other, 2).await;
    let AcceptOutcome::Unpaid { view, closed } = w.accepted_by(booking, therapist).await else { panic!("paid") };
    assert_eq!((view.booking.status.as_str(), view.booking.cancelled_by.as_deref()), ("cancelled", None));
    assert_eq!(view.booking.cancellation_reason.as_deref(), Some("insufficient_balance"));
    assert_eq!(closed.len(), 2, "both who were asked are told");
    assert_eq!(w.offer_status(rival).await, "withdrawn");
    assert_eq!(
        w.one("SELECT count(*) FROM booking_offers WHERE booking_id = $1 AND status = 'accepted'", booking.0).await,
        0
    );
    assert_eq!(w.holds(customer).await, 91_499);
    // He is as free as before.
    let cash = w.booking().await;
    assert!(matches!(w.accepted_by(cash, therapist).await, AcceptOutcome::Accepted(_)));
}

#[tokio::test]
async fn a_wallet_that_is_switched_off_pays_nothing_but_gets_its_due() {
    let w = World::new().await;
    let (customer, therapist) = (w.wealthy(200_000).await, w.therapist().await);
    let booking = w.by_wallet(customer).await;
    w.accepted_by(booking, therapist).await;
    let late = w.by_wallet(customer).await;
    w.run("UPDATE wallets SET is_active = FALSE WHERE user_id = $1", customer.0).await;
    w.moved(booking, therapist.user, Status::Cancelled).await;
    assert_eq!(w.holds(customer).await, 200_000);
    let outcome = w.accepted_by(late, therapist).await;
    assert!(matches!(outcome, AcceptOutcome::Unpaid { .. }), "{outcome:?}");
}

#[tokio::test]
async fn a_store_is_paid_by_wallet_too() {
    let w = World::new().await;
    let (store, customer) = (w.store(9).await, w.wealthy(100_000).await);
    let mut new = w.visit(customer, store, None).await;
    new.payment_method = "wallet".to_owned();
    let (booking, beyond) = (w.create(&new).await, w.create(&new).await);
    w.moved(booking, store.owner, Status::Accepted).await;
    assert_eq!(w.holds(customer).await, 30_000);
    let outcome = w.wish(beyond, store.owner, Status::Accepted).await;
    assert!(matches!(&outcome, TransitionOutcome::Unpaid(ended) if ended.to == Status::Cancelled), "{outcome:?}");
    assert_eq!(w.booking_status(beyond).await, "cancelled");
    w.run("UPDATE bookings SET accepted_at = accepted_at - interval '6 min' WHERE id = $1", booking.0).await;
    w.moved(booking, store.owner, Status::NoShow).await;
    assert_eq!(w.holds(customer).await, 65_000, "all but the fee");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_accepts_with_money_for_one_the_other_booking_ends() {
    let w = World::new().await;
    for _ in 0..16 {
        let customer = w.wealthy(100_000).await;
        let (one, other) = (w.by_wallet(customer).await, w.by_wallet(customer).await);
        let (first, second) = (w.therapist().await, w.therapist().await);
        let (a, b) = tokio::join!(w.accepted_by(one, first), w.accepted_by(other, second));
        match (&a, &b) {
            (AcceptOutcome::Accepted(_), AcceptOutcome::Unpaid { .. })
            | (AcceptOutcome::Unpaid { .. }, AcceptOutcome::Accepted(_)) => {}
            both => panic!("{both:?}"),
        }
        assert_eq!(w.holds(customer).await, 8_500);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_accept_and_a_cancel_at_once_never_lose_money() {
    let w = World::new().await;
    for _ in 0..24 {
        let (customer, therapist) = (w.wealthy(100_000).await, w.therapist().await);
        let booking = w.by_wallet(customer).await;
        let (_, cancelled) =
            tokio::join!(w.accepted_by_or_gone(booking, therapist), w.wish(booking, customer, Status::Cancelled));
        assert!(matches!(cancelled, TransitionOutcome::Moved(_)), "{cancelled:?}");
        assert_eq!(w.holds(customer).await, 100_000, "free within five minutes, whoever came first");
    }
}

impl World {
    /// The same when the booking may be gone already.
    async fn accepted_by_or_gone(&self, booking: BookingId, therapist: Therapist) {
        if let offers::PersistOutcome::Offered(offer) = self.persist(booking, therapist, 1).await {
            offers::accept(self.pool(), offer.offer, therapist.provider).await.expect("a statement");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_accept_and_cancels_at_once_leave_the_wallet_and_the_promo_right() {
    let w = World::new().await;
    let code = w
        .one(
            "INSERT INTO promo_codes (code, discount_type, discount_value, valid_from, valid_until, per_user_limit)
             VALUES ('RACE', 'fixed_amount', 100, now() - interval '1 day', now() + interval '1 day', NULL) RETURNING id",
            0,
        )
        .await;
    let terms = Promo { discount: Discount::FixedAmount(Money::centavos(10_000)), max_discount: None };
    let with_promo = async |customer| {
        let mut new = w.new_booking(customer).await;
        new.payment_method = "wallet".to_owned();
        new.promo_code = Some(code);
        new.price = pricing::price(Money::centavos(80_000), Money::ZERO, 15.into(), Some(&terms));
        w.create(&new).await
    };
    let counted = "SELECT usage_count::bigint FROM promo_codes WHERE id = $1";
    let (mut kept, mut called_off) = (0, 0);
    for round in 0..24 {
        let (customer, therapist) = (w.wealthy(200_000).await, w.therapist().await);
        let (one, other) = (with_promo(customer).await, with_promo(customer).await);
        let offer = w.offer(one, therapist, 1).await;
        let accept = async { offers::accept(w.pool(), offer, therapist.provider).await.expect("a statement") };
        // In turns the booking that is accepted is called off at the same moment, and only the other.
        let again = async { if round % 2 == 0 { Some(w.wish(one, customer, Status::Cancelled).await) } else { None } };
        let (won, cancelled, beside) = tokio::join!(accept, again, w.wish(other, customer, Status::Cancelled));
        assert!(matches!(beside, TransitionOutcome::Moved(_)), "{beside:?}");
        if let Some(cancelled) = cancelled {
            assert!(matches!(cancelled, TransitionOutcome::Moved(_)), "{cancelled:?}");
            called_off += 1;
            assert_eq!(w.holds(customer).await, 200_000, "free within five minutes, whoever came first");
        } else {
            assert!(matches!(won, AcceptOutcome::Accepted(_)), "{won:?}");
            kept += 1;
            assert_eq!(w.holds(customer).await, 200_000 - 81_500, "915.00 less the promo");
        }
        assert_eq!(w.one(counted, code).await, kept, "only what is accepted uses the code");
        let used = "SELECT count(*) FROM promo_code_usages WHERE promo_code_id = $1";
        assert_eq!(w.one(used, code).await, kept, "and each use has its row");
    }
    assert_eq!((kept, called_off), (12, 12));
}
