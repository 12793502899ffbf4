\set i random(1, 1000)
SELECT latitude, longitude FROM bench_places WHERE id = :i \gset
-- Query 6.1 in the form that PostGIS answers best: the GiST index walked from near to far.
SELECT p.id, u.first_name, u.last_name, tp.specializations, p.average_rating,
       ST_Distance(tp.base_location, ST_SetSRID(ST_MakePoint(:longitude, :latitude), 4326)::geography) / 1000 AS distance_km
FROM therapist_profiles tp
JOIN providers p ON p.id = tp.provider_id
JOIN users u ON u.id = p.user_id
WHERE p.type = 'therapist' AND p.is_available AND p.verification_status = 'verified'
  AND ST_DWithin(tp.base_location, ST_SetSRID(ST_MakePoint(:longitude, :latitude), 4326)::geography, 5000)
ORDER BY tp.base_location <-> ST_SetSRID(ST_MakePoint(:longitude, :latitude), 4326)::geography
LIMIT 10;
