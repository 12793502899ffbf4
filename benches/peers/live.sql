\set i random(1, 1000)
SELECT latitude, longitude FROM bench_places WHERE id = :i \gset
-- The same with what the document left out: newest fix of the last ten minutes, own radius, service, not busy, no offer.
SELECT p.id, u.first_name, u.last_name, tp.specializations, p.average_rating, ps.price,
       round((d.m / 1000)::numeric, 2) AS distance_km, l.created_at IS NOT NULL AS live
FROM providers p
JOIN users u ON u.id = p.user_id AND u.is_active AND u.deleted_at IS NULL
JOIN therapist_profiles tp ON tp.provider_id = p.id
JOIN provider_services ps ON ps.provider_id = p.id AND ps.service_id = (SELECT id FROM services WHERE slug = 'swedish-massage') AND ps.is_available AND ps.home_service_enabled
LEFT JOIN LATERAL (SELECT pl.location, pl.created_at FROM provider_locations pl
                   WHERE pl.provider_id = p.id AND pl.created_at > now() - interval '10 minutes' AND pl.created_at <= now()
                   ORDER BY pl.created_at DESC LIMIT 1) l ON TRUE
CROSS JOIN LATERAL (SELECT ST_Distance(COALESCE(l.location, tp.base_location),
                           ST_SetSRID(ST_MakePoint(:longitude, :latitude), 4326)::geography) AS m) d
WHERE p.type = 'therapist' AND p.is_available AND p.is_active AND p.deleted_at IS NULL
  AND p.verification_status = 'verified' AND p.accepts_home_service
  AND d.m <= LEAST(5000, tp.service_radius_km * 1000, ps.max_travel_distance_km * 1000)
  AND NOT EXISTS (SELECT 1 FROM bookings b WHERE b.provider_id = p.id
                  AND (b.status IN ('en_route','arrived','in_progress') OR (b.status = 'accepted' AND b.booking_type = 'now')))
  AND NOT EXISTS (SELECT 1 FROM booking_offers o WHERE o.provider_id = p.id AND o.status = 'offered' AND o.expires_at > now())
ORDER BY d.m, p.average_rating DESC, p.id
LIMIT 10;
