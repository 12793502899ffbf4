-- A booking that names a code takes a use of it, also while the code takes nothing off: what it takes off is computed anew at the
-- accept, where no limit is asked any more.
ALTER TABLE promo_code_usages DROP CONSTRAINT promo_code_usages_discount_amount_check,
    ADD CONSTRAINT promo_code_usages_discount_amount_check CHECK (discount_amount >= 0);
