-- The log of decisions is read by time (replay) and pruned by time; it is written in that order, which is all that such an
-- index needs: it stays a few pages long.
CREATE INDEX idx_dispatch_decisions_decided ON dispatch_decisions USING brin (decided_at) WITH (pages_per_range = 16);
