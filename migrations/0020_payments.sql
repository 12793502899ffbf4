-- What was paid out, so that nothing is twice, and what a provider says to a review.

-- Which payout paid a booking's earnings; NULL: none has, or the one that did has failed. A tip is paid by a payout of its own
-- time, so that one that comes late is not lost; the row of type 'payout' is the payment itself.
ALTER TABLE bookings ADD COLUMN payout_id BIGINT REFERENCES payouts (id) ON DELETE RESTRICT;
CREATE INDEX idx_bookings_payout ON bookings (payout_id) WHERE payout_id IS NOT NULL;
ALTER TABLE transactions ADD COLUMN payout_id BIGINT REFERENCES payouts (id) ON DELETE RESTRICT,
    ADD CONSTRAINT transactions_payout CHECK (payout_id IS NULL OR type IN ('tip', 'payout'));
CREATE INDEX idx_transactions_payout ON transactions (payout_id) WHERE payout_id IS NOT NULL;
CREATE UNIQUE INDEX uq_transactions_one_payment_per_payout ON transactions (payout_id) WHERE type = 'payout';

-- What earlier payouts left owed: below 0 when more cash was collected than earned.
ALTER TABLE payouts ADD COLUMN carried_over DECIMAL(12, 2) NOT NULL DEFAULT 0.00,
    DROP CONSTRAINT payouts_net,
    ADD CONSTRAINT payouts_net CHECK (net_payout = gross_earnings - commission_amount - cash_collected + carried_over);

ALTER TABLE reviews ADD COLUMN response TEXT CHECK (btrim(response) <> ''),
    ADD COLUMN responded_at TIMESTAMPTZ,
    ADD CONSTRAINT reviews_responded_at CHECK ((response IS NULL) = (responded_at IS NULL));
