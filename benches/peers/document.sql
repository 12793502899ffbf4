\set i random(1, 1000)
SELECT latitude, longitude FROM bench_places WHERE id = :i \gset
-- The schema document's query 6.1, from a customer's place.
SELECT p.id, u.first_name, u.last_name, tp.specializations, p.average_rating,
       ST_Distance(tp.base_location, ST_SetSRID(ST_MakePoint(:longitude, :latitude), 4326)::geography) / 1000 AS distance_km
FROM providers p
JOIN users u ON p.user_id = u.id
JOIN therapist_profiles tp ON p.id = tp.provider_id
WHERE p.type = 'therapist' AND p.is_available = TRUE AND p.verification_status = 'verified'
  AND ST_DWithin(tp.base_location, ST_SetSRID(ST_MakePoint(:longitude, :latitude), 4326)::geography, 5000)
ORDER BY distance_km ASC
LIMIT 10;
